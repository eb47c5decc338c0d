"""The four verbs on a real tiny snapshot: stage times, batching, deadlines, cancellation."""

import asyncio
import json
import threading
import time

import numpy as np
import pytest

from crossfix.encoder import Encoder
from crossfix.errors import UnknownView, UnreadableImage
from crossfix.images import decode
from service.errors import DeadlineExceeded, NotReady, Overloaded
from service.galleries.snapshot import Snapshot, load_snapshot
from service.localizer import Localizer
from service.observing.metrics import POOLS, Metrics, PoolMetrics
from service.photos.localization import STAGES, PhotoQuery
from tests.service_world import World, jpeg, make_world, publish_gallery
from tests.tiny_encoder import write_tiny_encoder


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def world(tmp_path):
    return make_world(tmp_path)


class Bench:
    """A localizer whose encoder can be held up, and which remembers its batches."""

    def __init__(self, world, monkeypatch, **settings) -> None:
        self.settings = world.settings(**{"encode_workers": 1, **settings})
        self.snapshot = load_snapshot(self.settings)
        self.metrics = Metrics()
        self.localizer = Localizer(
            self.settings,
            "CPUExecutionProvider",
            {pool: PoolMetrics(self.metrics, pool) for pool in POOLS},
        )
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[tuple[str, int]] = []
        encode = self.snapshot.encoder.encode

        def observed(tensors, view):
            self.batches.append((view, len(tensors)))
            assert self.gate.wait(10)
            return encode(tensors, view)

        monkeypatch.setattr(self.snapshot.encoder, "encode", observed)

    def ask(self, seed: int = 1, view: str = "drone", k: int = 5, snapshot: Snapshot | None = None):
        return self.localizer.localize(snapshot or self.snapshot, PhotoQuery(jpeg(seed), view, k))

    async def until(self, condition) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.005)

    def has_room(self) -> bool:
        try:
            self.localizer.require_room()
        except Overloaded:
            return False
        return True

    def depth(self) -> float:
        return (
            self.metrics.registry.get_sample_value("crossfix_queue_depth", {"pool": "encode"})
            or 0.0
        )


@pytest.fixture
def make(world, monkeypatch):
    benches = []

    def build(**settings) -> Bench:
        benches.append(Bench(world, monkeypatch, **settings))
        return benches[-1]

    yield build
    for bench in benches:
        bench.gate.set()
        bench.localizer.close()


@pytest.mark.anyio
async def test_the_answer_is_the_same_as_doing_it_by_hand(make) -> None:
    bench = make()
    found = await bench.ask(seed=6, k=3)
    assert found.rows[0] == 6
    assert len(found.rows) == len(found.scores) == 3
    assert np.all(np.diff(found.scores) <= 0)
    assert found.margin == pytest.approx(float(found.scores[0] - found.scores[1]))
    assert tuple(found.stage_s) == STAGES
    assert found.estimate is not None


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, "encode_queue decode prepare encode search estimate"),
        (
            {"max_batch": 4},
            "decode_queue decode prepare encode_queue encode search_queue search estimate",
        ),
        (
            {"encode_threads": 2},
            "decode_queue decode prepare encode_queue encode search_queue search estimate",
        ),
    ],
)
async def test_the_timeline_has_no_gaps_and_adds_up_to_the_stages(make, settings, names) -> None:
    before = time.monotonic()
    found = await make(**settings).ask()
    assert [name for name, _, _ in found.timeline] == names.split()
    edges = [edge for _, start, end in found.timeline for edge in (start, end)]
    assert edges == sorted(edges)
    assert edges[1:-1:2] == edges[2::2]
    assert before <= edges[0]
    assert edges[-1] <= time.monotonic()
    assert sum(found.stage_s.values()) == pytest.approx(edges[-1] - edges[0])


@pytest.mark.anyio
async def test_a_photo_whose_caller_left_while_it_was_decoded_is_not_encoded(
    make, monkeypatch
) -> None:
    bench = make()
    decoding, go_on = threading.Event(), threading.Event()

    def slow_decode(*arguments, **options):
        decoding.set()
        assert go_on.wait(10)
        return decode(*arguments, **options)

    monkeypatch.setattr("service.localizer.decode", slow_decode)
    task = asyncio.create_task(bench.ask(1))
    await bench.until(decoding.is_set)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    go_on.set()
    assert (await bench.ask(2)).rows[0] == 2
    assert len(bench.batches) == 1


@pytest.mark.anyio
async def test_closing_answers_those_who_wait(make) -> None:
    bench = make()
    bench.gate.clear()
    tasks = [asyncio.create_task(bench.ask(seed)) for seed in (1, 2)]
    await bench.until(lambda: bench.depth() == 1)
    bench.localizer.close()
    for task in tasks:
        with pytest.raises(NotReady):
            await task


@pytest.mark.anyio
async def test_the_estimate_does_not_depend_on_k(make) -> None:
    bench = make()
    few, many = await bench.ask(seed=6, k=1), await bench.ask(seed=6, k=16)
    assert few.estimate == many.estimate
    assert few.margin == many.margin


@pytest.mark.anyio
async def test_waiting_photos_share_a_batch_of_their_view(make) -> None:
    bench = make(max_batch=8)
    bench.gate.clear()
    first = asyncio.create_task(bench.ask())
    await bench.until(lambda: bench.batches)
    rest = [
        asyncio.create_task(bench.ask(seed, view))
        for seed, view in ((2, "drone"), (3, "ground"), (4, "drone"))
    ]
    await bench.until(lambda: bench.depth() == 3)
    bench.gate.set()
    answers = await asyncio.gather(first, *rest)
    assert [a.rows[0] for a in (answers[0], answers[1], answers[3])] == [1, 2, 4]
    assert sorted(bench.batches) == [("drone", 1), ("drone", 2), ("ground", 1)]
    assert answers[3].stage_s["queue"] > 0


@pytest.mark.anyio
async def test_photos_of_two_snapshots_never_share_a_batch(make) -> None:
    bench = make(max_batch=8)
    second = Snapshot(bench.snapshot.encoder, bench.snapshot.gallery, "v2")
    bench.gate.clear()
    first = asyncio.create_task(bench.ask())
    await bench.until(lambda: bench.batches)
    rest = [
        asyncio.create_task(bench.ask(seed, snapshot=s))
        for seed, s in ((2, bench.snapshot), (3, second), (4, bench.snapshot))
    ]
    await bench.until(lambda: bench.depth() == 3)
    bench.gate.set()
    answers = await asyncio.gather(first, *rest)
    assert [size for _, size in bench.batches] == [1, 2, 1] or [
        size for _, size in bench.batches
    ] == [1, 1, 2]
    assert [a.snapshot.version for a in answers] == ["v1", "v1", "v2", "v1"]


@pytest.mark.anyio
async def test_a_stuck_encoder_ends_in_a_deadline_and_drops_what_waits(make) -> None:
    bench = make(deadline_s=0.3)
    bench.gate.clear()
    results = await asyncio.gather(bench.ask(1), bench.ask(2), return_exceptions=True)
    assert [type(result) for result in results] == [DeadlineExceeded] * 2
    bench.gate.set()
    await bench.until(bench.has_room)
    assert (await bench.ask(3)).rows[0] == 3
    assert len(bench.batches) == 2


@pytest.mark.anyio
async def test_a_full_queue_refuses(make) -> None:
    bench = make(queue_limit=1)
    bench.gate.clear()
    tasks = [asyncio.create_task(bench.ask(1))]
    await bench.until(lambda: bench.batches)
    tasks.append(asyncio.create_task(bench.ask(2)))
    await bench.until(lambda: bench.depth() == 1)
    with pytest.raises(Overloaded):
        await bench.ask(3)
    bench.gate.set()
    assert [(await task).rows[0] for task in tasks] == [1, 2]


@pytest.mark.anyio
async def test_a_bad_photo_or_view_fails_alone(make) -> None:
    bench = make()
    broken = bench.localizer.localize(
        bench.snapshot, PhotoQuery(jpeg(1, 300, 300)[:2000], "drone", 3)
    )
    odd = bench.localizer.localize(bench.snapshot, PhotoQuery(jpeg(1), "submarine", 3))
    results = await asyncio.gather(bench.ask(5), broken, odd, return_exceptions=True)
    assert results[0].rows[0] == 5
    assert isinstance(results[1], UnreadableImage)
    assert isinstance(results[2], UnknownView)


def test_an_encoder_without_calibration_gives_no_estimate(tmp_path, monkeypatch) -> None:
    path = write_tiny_encoder(tmp_path / "plain" / "encoder")
    manifest = json.loads((path / "encoder.json").read_text())
    (path / "encoder.json").write_text(json.dumps({**manifest, "calibration": {}}))
    encoder = Encoder.load(path, device="cpu")
    publish_gallery(tmp_path / "gallery", encoder, "v1")
    bench = Bench(World(path, tmp_path / "gallery", encoder), monkeypatch)
    found = asyncio.run(bench.ask(4))
    bench.localizer.close()
    assert found.rows[0] == 4
    assert found.estimate is None
