"""A batch beside single requests: few photos at once, patient, failing alone, cancelled whole."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from service.errors import Overloaded
from service.observing.metrics import Metrics
from service.photos.photo_body import SentPhoto
from service.photos.schemas import LocalizeQuery
from service.routes.batch import slots_of_batch
from service.routes.batch_run import BatchRun
from service.settings import Settings


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Localizer:
    """Does what `behave` says with each photo, and remembers what it was asked."""

    def __init__(self, behave) -> None:
        self.behave = behave
        self.running = self.most = self.cancelled = 0
        self.snapshots: list[object] = []

    async def localize(self, snapshot, query):
        self.snapshots.append(snapshot)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await self.behave(query.data)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


class Holder:
    """Another snapshot every time."""

    def __init__(self) -> None:
        self.count = 0

    def current(self):
        self.count += 1
        return SimpleNamespace(version=f"v{self.count}", encoder=None, gallery=[])


def batch_run(behave, deadline_s: float = 5.0) -> tuple[BatchRun, Localizer]:
    localizer = Localizer(behave)
    settings = Settings(encoder=Path("e"), gallery=Path("g"), deadline_s=deadline_s)
    runtime = SimpleNamespace(
        settings=settings,
        metrics=Metrics(),
        holder=Holder(),
        localizer=localizer,
        kept_images=None,
    )
    return BatchRun(runtime, request_id="id", root_path=""), localizer


def photos(count: int) -> list[tuple[SentPhoto, LocalizeQuery]]:
    return [(SentPhoto(bytes([i]), f"{i}.jpg"), LocalizeQuery()) for i in range(count)]


async def fail(_data: bytes):
    await asyncio.sleep(0)
    raise Overloaded("full", reason="decode_queue_full", retry_after_s=0.001)


@pytest.mark.anyio
async def test_no_more_than_allowed_run_at_once_and_all_on_one_snapshot() -> None:
    async def behave(data: bytes):
        await asyncio.sleep(0.001)
        raise ValueError(f"unforeseen {data!r} in /srv/secret")

    run, localizer = batch_run(behave)
    await run.localize(photos(20), at_once=3)
    assert localizer.most == 3
    assert {snapshot.version for snapshot in localizer.snapshots} == {"v1"}
    assert [one.index for one in run.results] == list(range(20))
    assert {one.status for one in run.results} == {500}
    assert "secret" not in str(run.results)
    registry = run._runtime.metrics.registry
    assert registry.get_sample_value("crossfix_errors_total", {"code": "internal_error"}) == 20


@pytest.mark.anyio
async def test_a_full_service_is_tried_again_until_the_deadline() -> None:
    run, localizer = batch_run(fail, deadline_s=0.2)
    await run.localize(photos(1), at_once=1)
    assert len(localizer.snapshots) > 2
    assert [one.status for one in run.results] == [503]
    assert run.results[0].error.code == "overloaded"


@pytest.mark.anyio
async def test_what_the_deadline_cuts_off_is_told_for_each_photo() -> None:
    async def behave(data: bytes):
        if data == b"\0":
            raise ValueError
        await asyncio.sleep(60)

    run, _ = batch_run(behave, deadline_s=0.05)
    await run.localize(photos(3), at_once=3)
    assert [one.status for one in run.results] == [500, 504, 504]


@pytest.mark.anyio
async def test_cancelling_a_batch_cancels_every_photo() -> None:
    async def behave(_data: bytes):
        await asyncio.sleep(60)

    run, localizer = batch_run(behave)
    task = asyncio.create_task(run.localize(photos(9), at_once=4))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (localizer.cancelled, localizer.running, len(localizer.snapshots)) == (4, 0, 4)


@pytest.mark.anyio
async def test_photos_are_let_go_as_they_are_answered() -> None:
    given = photos(4)
    run, _ = batch_run(fail, deadline_s=0.01)
    await run.localize(given, at_once=1)
    assert given == []


@pytest.mark.parametrize(
    ("body", "batch_body", "in_flight", "slots"),
    [
        (25_000_000, 100_000_000, 128, 4),
        (25_000_000, 101_000_000, 128, 5),
        (25_000_000, 25_000_000, 128, 1),
        (2_000, 100_000_000, 128, 64),
        (2_000, 100_000_000, 1, 1),
    ],
)
def test_a_batch_counts_as_many_photos_as_its_body_may_hold(
    body, batch_body, in_flight, slots
) -> None:
    settings = Settings(
        encoder=Path("e"),
        gallery=Path("g"),
        max_body_bytes=body,
        max_batch_body_bytes=batch_body,
        max_in_flight=in_flight,
    )
    assert slots_of_batch(settings) == slots
