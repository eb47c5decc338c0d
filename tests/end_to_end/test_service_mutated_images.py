"""300 spoiled photos of every format: refused or answered, never a failure of ours."""

import concurrent.futures
from collections import Counter

import httpx
import pytest

from benchmarks.image_mutations import mutated, mutated_form, seeds
from tests.service_world import jpeg, make_world, serve

IMAGES = 300
FORMS = 200
ALLOWED = {200, 400, 413, 415, 422, 503}


def test_spoiled_photos_are_refused_or_answered_and_the_service_goes_on(tmp_path) -> None:
    files = seeds()
    world = make_world(tmp_path)
    statuses: Counter[int] = Counter()
    with (
        serve(world.settings()) as base,
        httpx.Client(timeout=30) as client,
        concurrent.futures.ThreadPoolExecutor(4) as pool,
    ):

        def send(number: int) -> tuple[str, httpx.Response]:
            what, data = mutated(number, files, seed=1)
            view = ("drone", "ground")[number % 2]
            return what, client.post(f"{base}/localize", params={"view": view}, content=data)

        for what, answer in pool.map(send, range(IMAGES)):
            assert answer.status_code in ALLOWED, (what, answer.text)
            statuses[answer.status_code] += 1
            if answer.status_code != 200:
                assert set(answer.json()) == {"error"}, what
        good = client.post(f"{base}/localize", params={"view": "drone"}, content=jpeg(5))
    assert good.json()["matches"][0]["tile_id"] == "made-up/5"
    assert statuses[200] > 20
    assert statuses[422] > 100


def test_spoiled_forms_are_refused_or_answered_in_any_charset(tmp_path) -> None:
    files = seeds()
    statuses: Counter[int] = Counter()
    with serve(make_world(tmp_path).settings()) as base, httpx.Client(timeout=30) as client:
        for number in range(FORMS):
            what, kind, body = mutated_form(number, files, seed=1)
            path = ("localize", "localize/batch")[number % 2]
            answer = client.post(f"{base}/{path}", content=body, headers={"Content-Type": kind})
            assert answer.status_code in ALLOWED, (number, what, answer.text)
            statuses[answer.status_code] += 1
    assert statuses[200] > 20
    assert statuses[400] > 20
    assert statuses[422] > 20


@pytest.mark.parametrize("number", [0, 7, 123, 4567])
def test_a_mutated_image_is_the_same_whenever_asked_for(number) -> None:
    assert mutated(number, seeds()) == mutated(number, seeds())
    assert mutated_form(number, seeds()) == mutated_form(number, seeds())
