import os

import pytest

from crossfix.errors import DataError
from sample_world.farm import run_all


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_order_whatever_the_number_of_workers(workers):
    offset = 10  # a closure is inherited, not pickled
    results = run_all(lambda task: task + offset, range(7), workers=workers, label="test")
    assert list(results) == list(range(10, 17))


def test_a_worker_that_dies_is_reported_instead_of_waited_for():
    with pytest.raises(DataError, match="killed"):
        list(run_all(os._exit, [3, 3], workers=2, label="test"))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_task_reaches_the_caller(workers):
    with pytest.raises(ZeroDivisionError):
        list(run_all(lambda task: 1 // task, [1, 0], workers=workers, label="test"))
