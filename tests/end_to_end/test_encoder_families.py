"""An encoder of each family: two steps of training, export, a gallery, a photo found by HTTP."""

import json
from pathlib import Path

import httpx
import numpy as np
import pytest

import training
from crossfix.encoder import Encoder
from index_builder.__main__ import main as index_main
from service.settings import Settings
from tests.service_world import serve
from tests.tiny_towns import write_town
from training.__main__ import main as training_main

RECIPE = str(Path(training.__file__).parent / "recipes" / "tiny.yaml")
SIZE = "height_px: 56, width_px: 112"
COMMON = ("data.tile_px=64", "data.ground_height_px=56", "data.ground_width_px=112",
          "sampling.strategy=random", "sampling.batch_size=10", "schedule.epochs=2",
          "runtime.evaluate_every=0", "runtime.pictured_queries=0")  # fmt: skip
SOFT_MARGIN = ("loss={kind: soft_margin, directions: both, alpha: 10.0, hard_fractions: "
               "[{epochs: null, fraction: 1.0}]}")  # fmt: skip
SAFA = ("model.sharing=none", "model.shared_head=false", "model.embedding_dim=null",
        "model.aggregation={kind: safa, masks: 2, reduce: max}", "data.query_views=[ground]",
        SOFT_MARGIN)  # fmt: skip
LARGE = "height_px: 64, width_px: 128"  # AlexNet sees nothing in less
ALEXNET = ("model.name=alexnet", "model.kwargs={}", "model.orientation_maps=false",
           "data.ground_height_px=64", "data.ground_width_px=128")  # fmt: skip
SHARED = ("model.sharing=all", "model.shared_head=true", "model.orientation_maps=false",
          "data.query_views=[ground]")  # fmt: skip
HINGE = "loss={kind: hinge, directions: both, normalise: true, margin: 0.6}"
FAMILIES = {
    "her": ("ground",
            ("model.sharing=satellite_drone", "model.shared_head=false",
             "model.aggregation={kind: gem, power: 3.0}", "data.query_views=[drone, ground]",
             "loss={kind: her, directions: query_to_tile, normalise: true, feature_scale: 5.0, "
             "margin_share: 0.15, pruned_weight: 0.1, detach_weights: false, "
             "orientation_weight: 0.5}"),
            ["ground.onnx", "satellite_drone.onnx"]),
    "instance": ("drone",
                 ("data.query_views=[drone]", "model.name=resnet18", "model.kwargs={}",
                  "model.sharing=none", "model.shared_head=true", "model.embedding_norm=true",
                  "model.feature_level=2", "model.aggregation={kind: average}",
                  "loss={kind: instance, dropout: 0.5, plus: {kind: batch_hard, directions: both, "
                  "normalise: true, margin: 0.3}}"),
                 ["drone.onnx", "satellite.onnx"]),
    "polar": ("ground",
              (*SAFA, f"model.tile_transform={{kind: polar, {SIZE}, stretch: false}}"),
              ["ground.onnx", "satellite.onnx"]),
    "stacked": ("ground",
                (*SAFA, f"model.tile_transform={{kind: stacked_affine_stn, {SIZE}}}"),
                ["ground.onnx", "satellite.onnx"]),
    "tps": ("ground",
            (*SAFA, f"model.tile_transform={{kind: tps_stn, {SIZE}, guide_weight: 1.0, "
             "lattice_rows: 6, lattice_columns: 10, bounded: false}"),
            ["ground.onnx", "satellite.onnx"]),
    "tps without guide": ("ground",
                          (*SAFA, *ALEXNET, f"model.tile_transform={{kind: tps_stn, {LARGE}, "
                           "guide_weight: 0.0, lattice_rows: 4, lattice_columns: 5, "
                           "bounded: true}"),
                          ["ground.onnx", "satellite.onnx"]),
    "affine": ("ground",
               (*SAFA, "model.name=resnet10t", "model.kwargs={}", "model.feature_level=3",
                f"model.tile_transform={{kind: affine_stn, {SIZE}, guide_weight: 0.0}}"),
               ["ground.onnx", "satellite.onnx"]),
    "similarity": ("ground",
                   (*SHARED, "model.name=vgg11", "model.kwargs={}", HINGE,
                    "model.aggregation={kind: gem, power: 3.0}",
                    f"model.tile_transform={{kind: similarity_stn, {SIZE}, guide_weight: 0.5}}"),
                   ["ground.onnx", "satellite.onnx"]),
    "no transform": ("ground",
                     (*SHARED, "model.name=densenet121", "model.aggregation={kind: network}",
                      "model.kwargs={growth_rate: 8, block_config: [2, 2, 2, 2]}", SOFT_MARGIN),
                     ["encoder.onnx"]),
}  # fmt: skip
THOROUGH = ("tps without guide", "affine", "similarity", "no transform")  # other names, same ways

WITH_VARIANTS = ("her", "tps")  # two files of several views; sampling and einsums


@pytest.fixture(scope="module")
def towns(tmp_path_factory):
    root = tmp_path_factory.mktemp("towns")
    for seed, part in enumerate(("train", "val")):
        write_town(root / part / f"town-{seed}", seed=seed, drone=20, panoramas=20, street=0)
    return root


def call(program, *words):
    assert program([str(word) for word in words]) == 0, words


@pytest.mark.parametrize("family", [
    pytest.param(name, marks=pytest.mark.slow) if name in THOROUGH else name for name in FAMILIES
])  # fmt: skip
def test_every_family_trains_exports_builds_and_localises(family, towns, tmp_path):
    view, changes, files = FAMILIES[family]
    run, encoder, gallery = (tmp_path / name for name in ("run", "encoder", "gallery"))
    call(training_main, "train", "--recipe", RECIPE, "--data", towns / "train", "--val",
         towns / "val", "--out", run, "--set", *COMMON, *changes)  # fmt: skip
    logged = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in logged if row["kind"] == "train"]
    assert len(losses) >= 2
    assert np.isfinite(losses).all()
    variants = ["fp16", "int8"] if family in WITH_VARIANTS else []
    asked = ["--variants", *variants, "--recall-gate", 1] if variants else []
    call(training_main, "export", "--checkpoint", run, "--out", encoder, *asked)
    loaded = Encoder.load(encoder, device="cpu")
    for precision in variants:
        Encoder.load(encoder, device="cpu", precision=precision)
    assert sorted(loaded.manifest.model_names()) == files
    assert {row["weights"] for row in loaded.manifest.evaluation} == {"trained", "random"}
    town = towns / "val" / "town-1"
    call(index_main, "build", "--encoder", encoder, "--source", town / "satellite.tif",
         "--tile-size-m", 64, "--overlap", 0.5, "--out", gallery)  # fmt: skip
    photo = (town / ("drone" if view == "drone" else "panorama") / "0003.jpg").read_bytes()
    settings = Settings(encoder=encoder, gallery=gallery, port=0, device="cpu")
    with serve(settings) as base:
        response = httpx.post(
            f"{base}/localize", content=photo, headers={"Content-Type": "image/jpeg"},
            params={"view": view, "k": 3}, timeout=60,
        )  # fmt: skip
    assert response.status_code == 200, response.text
    answer = response.json()
    assert len(answer["matches"]) == 3
    assert answer["encoder"]["name"] == "crossfix-tiny"
    scores = [match["score"] for match in answer["matches"]]
    assert scores == sorted(scores, reverse=True)
    assert -1 <= scores[-1] <= scores[0] <= 1
