"""A release is an encoder and the gallery it embedded in one folder; a link names the live one."""

import os
import time
from pathlib import Path

import httpx
import pytest

from benchmarks.swap_load import Clients, service_process
from crossfix.encoder import Encoder
from tests.service_world import jpeg
from tests.swap_world import mixed, publish_marked
from tests.tiny_encoder import write_tiny_encoder

PATIENCE_S = 20.0
RELEASES = {"first": 2, "second": 3}  # folder -> number of its version and seed of its encoder


@pytest.fixture(scope="module")
def releases(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("releases")
    for name, number in RELEASES.items():
        path = write_tiny_encoder(root / name / "encoder", seed=number, name=f"tiny-{number}")
        publish_marked(root / name / "gallery", Encoder.load(path, device="cpu"), number)
    return root


def switch(root: Path, name: str) -> None:
    """Replaces the link by one rename, as `ln -sfn` and `mv -T` do."""
    (root / "next").symlink_to(name)
    os.replace(root / "next", root / "current")


def disagreement(answer: dict) -> str:
    number = answer["gallery"]["version"].removeprefix("v")
    if answer["encoder"]["name"] != f"tiny-{number}":
        return f"v{number} is answered with {answer['encoder']['name']}"
    return mixed(answer)


def await_encoder(url: str, name: str) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while httpx.get(f"{url}/encoder").json()["name"] != name:
        assert time.monotonic() < give_up, f"{name} was never live"
        time.sleep(0.05)


def test_one_link_switches_encoder_and_gallery_under_load_and_back(releases, tmp_path) -> None:
    switch(releases, "first")
    photos = [jpeg(seed, 200, 150) for seed in range(4)]
    live = releases / "current"
    flags = ("--reload-interval-s", "0.2", "--max-wait-s", "30")
    with service_process(live / "encoder", live / "gallery", log=tmp_path / "log", flags=flags) as (
        url,
        _,
    ):
        clients = Clients(url, photos, view="drone", count=3, check=disagreement)
        with clients:
            for name in ("second", "first"):
                switch(releases, name)
                await_encoder(url, f"tiny-{RELEASES[name]}")
        answers = clients.take()
        metrics = httpx.get(f"{url}/metrics").text
    assert answers.failed == []
    assert answers.mixed == []
    assert set(answers.by_version) == {"v2", "v3"}
    assert 'crossfix_reload_results_total{result="ok"} 2.0' in metrics


def test_a_service_started_at_any_moment_finds_a_pair_that_fits(releases, tmp_path) -> None:
    for name in ("second", "first"):
        switch(releases, name)
        live = releases / "current"
        with service_process(live / "encoder", live / "gallery", log=tmp_path / f"log-{name}") as (
            url,
            _,
        ):
            answer = httpx.get(f"{url}/readyz").json()
            assert answer["gallery_version"] == f"v{RELEASES[name]}"
