"""The Ray engine without Ray: what workers answer, what is told when something is wrong."""

import json
import socket
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import crossfix
from crossfix.errors import InvalidParameter, PublishError, SourceError
from index_builder.embedding.part_file import PartContent, PartResult, write_part
from index_builder.embedding.parts import Part
from index_builder.embedding.task import EmbeddingTask
from index_builder.engines import ray_engine
from index_builder.engines.ray_cluster import connected, import_ray, shape_workers
from index_builder.engines.ray_engine import RayEngine, _Run
from index_builder.engines.ray_worker import MAX_TRIES, PartStage, WorkOrder

ONE_TILE = (SimpleNamespace(tile_id="tile-7"),)
EMPTY = PartContent(records=[], embeddings=np.empty((0, 4), np.float16), jpegs=[], left_out=[])


def task_in(folder):
    return EmbeddingTask(
        encoder_dir=folder / "encoder", sources=(), tile_px=64, parts_directory=folder,
        device="cpu", threads=1, readers=1, batch_size=1, skip_unreadable=False, reuse_from=(),
    )  # fmt: skip


def part(number):
    return Part(number, 0, ONE_TILE)


def result(number):
    return PartResult(number, 1, 0, ("tile x: gone",), 0, 0.5, 1.0)


class Writes:
    """A worker that leaves an empty part."""

    def __init__(self, task):
        self.directory = task.parts_directory

    def run(self, part):
        write_part(self.directory, result(part.number), EMPTY)
        return result(part.number)


class CannotOpen:
    def __init__(self, _task):
        raise SourceError("raster /images/a.tif does not exist", hint="check the path")


class Breaks(Writes):
    def run(self, _part):
        raise ZeroDivisionError("oh")


def order(folder, make_worker=Writes, version=crossfix.__version__):
    token = folder / ".shared-1"
    token.touch()
    return WorkOrder(task_in(folder), make_worker, token, version)


def failure_of(answer):
    assert answer["result"] == ""
    return json.loads(answer["failure"])


def test_a_stage_opens_one_worker_and_answers_in_rows(tmp_path):
    opened = []

    def make(task):
        opened.append(task)
        return Writes(task)

    stage = PartStage(order(tmp_path, make))
    answers = [stage({"part": part(number)}) for number in (3, 4)]
    assert [answer["number"] for answer in answers] == [3, 4]
    assert [answer["failure"] for answer in answers] == ["", ""]
    assert len(opened) == 1
    assert [path.name for path in tmp_path.glob(".shared*")] == [".shared-1"]


def test_a_node_without_the_shared_directory_says_so(tmp_path):
    instruction = order(tmp_path)
    instruction.token.unlink()
    told = failure_of(PartStage(instruction)({"part": part(0)}))
    assert told["error"] == "PublishError"
    assert f"directory {tmp_path} is not that of the builder's machine" in told["text"]
    assert "share one file system" in told["hint"]


def test_a_node_of_another_version_says_so(tmp_path):
    told = failure_of(PartStage(order(tmp_path, version="9.9"))({"part": part(0)}))
    assert "not 9.9" in told["text"]


def test_what_a_worker_raises_comes_back_as_one_sentence(tmp_path):
    told = failure_of(PartStage(order(tmp_path, CannotOpen))({"part": part(0)}))
    raised = ray_engine._failure(told, "node-7")
    assert isinstance(raised, SourceError)
    assert str(raised) == "on node node-7: raster /images/a.tif does not exist"
    assert raised.hint == "check the path"
    told = failure_of(PartStage(order(tmp_path, Breaks))({"part": part(5)}))
    raised = ray_engine._failure(told, "node-7")
    assert isinstance(raised, PublishError)
    assert "part 5 failed with ZeroDivisionError: oh" in str(raised)


def test_a_part_that_ends_its_workers_is_given_up(tmp_path):
    class Ends(Writes):
        def run(self, _part):
            raise SystemExit  # like a SIGKILL, nothing here catches it

    instruction = order(tmp_path, Ends)
    marks = instruction.token.with_name(f"{instruction.token.name}-2")
    for tries in range(1, MAX_TRIES + 1):
        marks.write_bytes(b"x" * (tries - 1))  # a killed worker leaves its mark
        with pytest.raises(SystemExit):
            PartStage(instruction)({"part": part(2)})
    marks.write_bytes(b"x" * MAX_TRIES)
    told = failure_of(PartStage(instruction)({"part": part(2)}))
    assert f"part 2 (from tile tile-7 on) has ended {MAX_TRIES} workers" in told["text"]


def test_without_ray_the_way_to_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InvalidParameter, match="engine `ray` needs a package") as caught:
        import_ray()
    assert "pip install 'ray[data]'" in caught.value.hint


def test_an_address_that_nobody_answers_is_told_at_once(monkeypatch):
    fake = SimpleNamespace(is_initialized=lambda: False)
    monkeypatch.setattr("index_builder.engines.ray_cluster.import_ray", lambda: fake)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(PublishError, match=f"no Ray cluster answers at {address}"):
            connected(address).__enter__()


def nodes(*resources):
    return SimpleNamespace(
        nodes=lambda: (
            [{"Alive": True, "Resources": one} for one in resources]
            + [{"Alive": False, "Resources": {"CPU": 99.0}}]
        )
    )


def test_workers_fill_the_nodes():
    two = nodes({"CPU": 3.0}, {"CPU": 5.0, "GPU": 2.0})
    shape = shape_workers(two, "cpu", threads=1, workers=0)
    assert (shape.num_cpus, shape.num_gpus, shape.at_first, shape.at_most) == (1, 0, 8, 8)
    assert shape_workers(two, "cpu", threads=2, workers=0).at_most == 3
    assert shape_workers(two, "cuda", threads=1, workers=0).at_most == 2
    more = shape_workers(two, "cpu", threads=1, workers=20)  # a cluster that grows
    assert (more.at_first, more.at_most) == (8, 20)
    with pytest.raises(PublishError, match="no room for a worker of 1 CPUs and 1 GPUs"):
        shape_workers(nodes({"CPU": 4.0}), "cuda", threads=1, workers=0)


class FakeFeed:
    """Hands out all parts at once."""

    def __init__(self, _ray, parts, on_fed):
        self.parts = []
        for one in parts:
            on_fed(one)
            self.parts.append(one)

    def stop(self):
        pass


def run_with(tmp_path, monkeypatch, numbers, loses=lambda _number, _round: False):
    """A whole run whose Ray is a loop in this process that may lose parts."""
    rounds, told = [], []

    def execute(self, feed):
        rounds.append([one.number for one in feed.parts])
        stage = PartStage(self._order)
        for one in feed.parts:
            if not loses(one.number, len(rounds)):
                yield {**stage({"part": one}), "node": "n"}

    monkeypatch.setattr(ray_engine, "PartFeed", FakeFeed)
    monkeypatch.setattr(_Run, "_execute", execute)
    parts = iter([part(number) for number in numbers])
    _Run(None, order(tmp_path), 0, parts, told.append).finish()
    return rounds, told


def test_lost_parts_are_done_in_the_next_round(tmp_path, monkeypatch, caplog):
    rounds, told = run_with(
        tmp_path, monkeypatch, range(5), loses=lambda number, turn: number in (1, 3) and turn == 1
    )
    assert rounds == [[0, 1, 2, 3, 4], [1, 3]]
    assert sorted(told, key=lambda one: one.number) == [result(number) for number in range(5)]
    assert "2 parts were lost" in caplog.text


def test_rounds_are_bounded_and_finished_parts_are_not_sent(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_engine, "ROUND_PARTS", 2)
    write_part(tmp_path, result(1), EMPTY)
    rounds, told = run_with(tmp_path, monkeypatch, range(6))
    assert rounds == [[0, 2], [3, 4], [5]]
    assert sorted(one.number for one in told) == list(range(6))


def test_parts_that_are_always_lost_end_the_build(tmp_path, monkeypatch):
    with pytest.raises(PublishError, match="part 3 and 0 more could not be embedded"):
        run_with(tmp_path, monkeypatch, range(4), loses=lambda number, _turn: number == 3)


def test_a_file_that_does_not_arrive_names_the_node(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_engine, "_SEEN_WITHIN_S", 0.0)
    run = _Run(None, order(tmp_path), 0, iter([]), print)
    row = {"number": 8, "node": "n9", "failure": "", "result": json.dumps(vars(result(8)))}
    with pytest.raises(PublishError, match="node n9 has made part 8"):
        run._take(row)


def test_the_token_and_what_workers_left_beside_it_go(tmp_path):
    with ray_engine._token(tmp_path / "parts") as token:
        token.with_name(f"{token.name}-5").write_bytes(b"x")
    assert list((tmp_path / "parts").iterdir()) == []


def test_the_engine_is_made_without_ray():
    assert RayEngine("10.0.0.1:6379", workers=3).workers == 3
