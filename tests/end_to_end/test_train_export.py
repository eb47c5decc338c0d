"""Train a tiny encoder on tiny towns, stop, resume, evaluate, export, load with the contract."""

import json
from pathlib import Path

import numpy as np
import pytest

import training
from crossfix.encoder import Encoder
from crossfix.images import decode
from crossfix.preprocess import prepare
from tests.tiny_towns import write_town
from training.__main__ import main

RECIPE = str(Path(training.__file__).parent / "recipes" / "tiny.yaml")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    for seed in range(4):
        write_town(root / ("train" if seed < 2 else "val") / f"town-{seed}", seed=seed)
    arguments = ["train", "--recipe", RECIPE, "--data", str(root / "train"), "--val",
                 str(root / "val"), "--out", str(root / "run")]  # fmt: skip
    assert main([*arguments, "--set", "schedule.epochs=1"]) == 0
    assert main([*arguments, "--resume"]) == 0
    assert main(["export", "--checkpoint", str(root / "run"), "--out",
                 str(root / "encoder")]) == 0  # fmt: skip
    return root


def test_resumed_run_has_all_epochs_and_a_log(world):
    rows = [json.loads(line) for line in (world / "run" / "log.jsonl").read_text().splitlines()]
    validation = [row for row in rows if row["kind"] == "validation"]
    assert validation[-1]["epoch"] == 3
    assert 0 <= validation[-1]["drone_all_recall_at_10"] <= 1
    assert 0 <= validation[-1]["selection"] <= 1
    record = json.loads((world / "run" / "recipe.json").read_text())
    assert record["recipe"]["schedule"]["epochs"] == 3
    assert record["libraries"]["torch"]


def test_queries_with_their_best_tiles_are_drawn_at_every_evaluation(world):
    names = [path.name for path in (world / "run" / "pictures").glob("*.png")]
    steps = {name.partition("-")[0] for name in names}
    assert len(steps) == 3
    assert len(names) == 3 * 2 * 2, "a picture per evaluation, town and view"


def test_a_run_is_not_overwritten_by_accident(world, capsys):
    code = main(["train", "--recipe", RECIPE, "--data", str(world / "train"), "--out",
                 str(world / "run")])  # fmt: skip
    assert code == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_exported_encoder_loads_and_encodes_photos(world):
    encoder = Encoder.load(world / "encoder", device="cpu")
    assert set(encoder.manifest.views) == {"satellite", "ground", "drone"}
    photo = decode((world / "val" / "town-2" / "drone" / "0000.jpg").read_bytes())
    tensor = prepare(photo, encoder.view("drone")).tensor
    embeddings = encoder.encode(np.stack([tensor, tensor]), "drone")
    assert embeddings.shape == (2, encoder.embedding_dim)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


def test_exported_encoder_is_calibrated_and_measured_beside_random_weights(world):
    manifest = Encoder.load(world / "encoder", device="cpu").manifest
    assert set(manifest.calibration) == {"ground", "drone"}
    assert "town-2" in manifest.calibration["drone"].data
    assert {row["weights"] for row in manifest.evaluation} == {"trained", "random"}
    assert {row["kind"] for row in manifest.evaluation} == {"panorama", "street", "all"}
    assert len(manifest.golden) == 6


def test_evaluate_prints_a_table_and_writes_json(world, capsys):
    code = main(["evaluate", "--checkpoint", str(world / "run"), "--data", str(world / "val"),
                 "--weights", "random", "--pictures",
                 str(world / "pictures")])  # fmt: skip
    assert code == 0
    assert "chance" in capsys.readouterr().out
    written = json.loads((world / "run" / "evaluation-random.json").read_text())
    assert set(written["splits"]) == {"town-2", "town-3"}
    assert len(list((world / "pictures").glob("*.png"))) == 4


def test_too_large_an_artifact_is_not_written(world, capsys):
    code = main(["export", "--checkpoint", str(world / "run"), "--out", str(world / "other"),
                 "--calibrate-on", str(world / "val"), "--max-bytes", "1000"])  # fmt: skip
    assert code == 1
    assert "1000" in capsys.readouterr().err
    assert not (world / "other").exists()


def test_the_artifact_tells_nothing_about_the_machine_it_was_made_on(world):
    here = str(Path(training.__file__).parent.parent).encode()
    files = [path for path in (world / "encoder").rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert here not in path.read_bytes(), f"{path.name} names a folder of this machine"
