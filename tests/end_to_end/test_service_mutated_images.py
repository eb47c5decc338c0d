"""300 spoiled photos of every format: refused or answered, never a failure of ours."""

import concurrent.futures
from collections import Counter

import httpx
import pytest

from benchmarks.image_mutations import mutated, seeds
from tests.service_world import jpeg, make_world, serve

IMAGES = 300
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


@pytest.mark.parametrize("number", [0, 7, 123, 4567])
def test_a_mutated_image_is_the_same_whenever_asked_for(number) -> None:
    assert mutated(number, seeds()) == mutated(number, seeds())
