"""Numbers as people read them, and a build's progress."""

import logging

import pytest

from index_builder.embedding import Progress
from index_builder.progress_display import ProgressDisplay, progress_line
from index_builder.screens.text import (
    area_text,
    lines,
    sides_text,
    size_text,
    table,
    time_text,
    wrapped,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.00 kB"), (12_345_678, "12.3 MB"),
     (999_600_000, "1000 MB"), (4.2e12, "4.20 TB"), (5e15, "5000 TB")],
)  # fmt: skip
def test_bytes(count, text):
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0.4 s"), (89, "89 s"), (600, "10 min"), (7200, "2.0 h"), (3e5, "3.5 days")],
)  # fmt: skip
def test_durations(seconds, text):
    assert time_text(seconds) == text


def test_ground_and_sides():
    assert (area_text(0.00423), area_text(12.34), area_text(12345.6)) == (
        "0.00423 km2", "12.3 km2", "12,346 km2",
    )  # fmt: skip
    assert sides_text([48.0, 96.5]) == "48 m, 96.5 m"
    assert sides_text(list(range(1, 9))) == "1 to 8 m (8 sizes)"


def test_labels_stand_beside_their_lines_and_empty_ones_go():
    text = lines([("one", "a\nb"), ("none", ""), ("two", "c")])
    assert text == "one       a\n          b\ntwo       c"


def test_columns_are_aligned():
    text = table(("name", "tiles"), [("a", "1,000"), ("long name", "7")])
    assert text.splitlines() == ["name       tiles", "a          1,000", "long name      7"]


def test_lists_break_between_items_only():
    text = wrapped(f"file{i}.parquet {i} MB" for i in range(20))
    assert all(line.startswith("file") for line in text.splitlines())
    assert max(map(len, text.splitlines())) <= 90


def test_progress_is_a_line_with_rate_and_time_left():
    line = progress_line(Progress(done=1500, total=6000, tiles_per_s=12.34, eta_s=3661))
    assert line == "1,500 of 6,000 tiles (25%), 12.3 tiles/s, 1:01:01 left"
    assert progress_line(Progress(0, 0, 0.0, None)) == "0 of 0 tiles (100%), 0.0 tiles/s"


def test_elsewhere_than_on_a_terminal_lines_come_now_and_then(monkeypatch, caplog):
    now = [100.0]
    monkeypatch.setattr("index_builder.progress_display.time.monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO, logger="index_builder"), ProgressDisplay() as display:
        for second in range(12):
            now[0] = 100.0 + second
            display(Progress(second, 12, 1.0, 12.0 - second))
        display.step("embedded")
        display.step("synced")
    assert [record.getMessage().split(" tiles")[0] for record in caplog.records] == [
        "5 of 12", "10 of 12", "all",
    ]  # fmt: skip


def test_a_narrow_terminal_gets_the_rate_and_the_time_left(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    with ProgressDisplay() as display:
        display(Progress(137, 625, 547.65, 1.0))
    shown = capsys.readouterr().err
    assert "left" in shown
    assert max(len(line) for line in shown.replace("\r", "\n").splitlines()) <= 40


def test_a_terminal_gets_a_bar_that_leaves_resumed_tiles_out_of_the_rate(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with ProgressDisplay() as display:
        display(Progress(600, 1000, 10.0, 40.0, resumed=500))
        display(Progress(1000, 1000, 10.0, 0.0, resumed=500))
    assert "1000/1000 tiles" in capsys.readouterr().err
