"""Every data set through the command line: train, evaluate by its own protocol, export."""

import json
from pathlib import Path

import pytest
from PIL import Image

import training
from crossfix.encoder import Encoder
from tests.tiny_datasets import write_cvact, write_cvusa, write_university, write_vigor
from training.__main__ import main

RECIPES = Path(training.__file__).parent / "recipes"
SMALL = """
extends: {recipe}
model: {{name: convnext_atto, pretrained: false, embedding_dim: 16, kwargs: {kwargs}}}
data: {{tile_px: 32, ground_height_px: 32, ground_width_px: 64, drone_px: 32, {data}}}
sampling: {{batch_size: 4, neighbour_select: 2, neighbour_range: 4, refresh_every: 1}}
schedule: {{epochs: 2}}
runtime: {{device: cpu, threads: 1, workers: 0, precision: fp32, evaluate_every: 1,
          pictured_queries: 2, collapse_after_steps: 0, log_every_steps: 1}}
"""
KWARGS = "{depths: [1, 1, 1, 1], dims: [8, 8, 16, 16], kernel_sizes: 3}"


def small_recipe(folder, name, data=""):
    path = folder / f"{name}.yaml"
    path.write_text(SMALL.format(recipe=RECIPES / f"{name}.yaml", kwargs=KWARGS, data=data))
    return str(path)


def train(folder, name, data="validation_share: 0.3", extra=()):
    recipe = small_recipe(folder, name, data)
    code = main(["train", "--recipe", recipe, "--data", str(folder / "data"), "--out",
                 str(folder / "run"), *extra])  # fmt: skip
    return code, folder / "run"


def evaluate(folder, *extra):
    code = main(["evaluate", "--checkpoint", str(folder / "run"), "--data", str(folder / "data"),
                 *extra])  # fmt: skip
    assert code == 0
    protocol = f"-{extra[1]}" if extra else ""
    return json.loads((folder / "run" / f"evaluation-best{protocol}.json").read_text())["rows"]


WRITERS = {
    "cvusa": lambda root: write_cvusa(root, train=14, val=6),
    "cvact": lambda root: write_cvact(root, train=14, val=4, test=6),
    "vigor_same": lambda root: write_vigor(root, corrected=True),
    "vigor_cross": lambda root: write_vigor(root, rearranged=True),
    "university1652": write_university,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_data_set_is_trained_on_and_evaluated_by_its_protocol(tmp_path, name):
    WRITERS[name](tmp_path / "data")
    small = {"university1652": "validation_share: 0.2", "cvusa": "validation_share: 0.1"}
    data = small.get(name, "validation_share: 0.0")  # the others lie too close to be parted
    extra = ["--set", "sampling.batch_size=2"] if name == "university1652" else []
    code, run = train(tmp_path, name, data, extra)
    assert code == 0
    losses = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert losses
    (row,) = evaluate(tmp_path)
    assert row["split"].startswith(name.split("_")[0])
    assert 0 <= row["recall_at_1"] <= row["recall_at_10"] <= 1
    assert ("hit_rate" in row) == name.startswith("vigor")
    assert ("median_error_m" in row) == (name != "university1652")


def test_paper_mode_selects_on_the_test_split_and_correct_mode_never_does(tmp_path):
    for mode in ("cvusa", "cvusa_paper"):
        folder = tmp_path / mode
        write_cvusa(folder / "data", train=14, val=6)
        data = "validation_share: 0.1" if mode == "cvusa" else ""
        code, run = train(folder, mode, data)
        assert code == 0
        pictures = {path.name for path in (run / "pictures").iterdir()}
        on_test = any("val" in name and "held" not in name for name in pictures)
        assert on_test == (mode == "cvusa_paper"), pictures
        assert (run / "best.pt").exists()


def test_university_distractors_compete_unless_the_paper_is_reproduced(tmp_path):
    galleries = {}
    for name in ("university1652", "university1652_paper"):
        folder = tmp_path / name
        write_university(folder / "data")
        code, _ = train(folder, name, "validation_share: 0.0",
                        ["--set", "sampling.batch_size=2"])  # fmt: skip
        assert code == 0
        (row,) = evaluate(folder, "--protocol", "drone-to-satellite")
        galleries[name] = row["gallery"]
    assert galleries == {"university1652": 4, "university1652_paper": 2}


def test_a_damaged_image_stops_a_run_unless_told_to_leave_such_out(tmp_path, capsys):
    write_cvusa(tmp_path / "data", train=14, val=6)
    damaged = next(iter(sorted((tmp_path / "data" / "streetview" / "panos").iterdir())))
    damaged.write_bytes(damaged.read_bytes()[:200])
    code, _ = train(tmp_path, "cvusa")
    assert code == 1
    assert damaged.name in capsys.readouterr().err
    code, run = train(tmp_path, "cvusa", extra=["--skip-unreadable", "--resume"])
    assert code == 0
    assert (run / "unreadable.txt").read_text().split() == [f"streetview/panos/{damaged.name}"]


def test_what_a_run_left_out_its_export_leaves_out(tmp_path):
    write_cvusa(tmp_path / "data", train=14, val=6)
    damaged = sorted((tmp_path / "data" / "streetview" / "panos").iterdir())[0]
    damaged.write_bytes(b"")
    assert train(tmp_path, "cvusa", "validation_share: 0.1", ["--skip-unreadable"])[0] == 0
    code = main(["export", "--checkpoint", str(tmp_path / "run"), "--data",
                 str(tmp_path / "data"), "--out", str(tmp_path / "encoder")])  # fmt: skip
    assert code == 0


def test_a_damaged_image_of_the_split_that_selects_is_left_out_too(tmp_path, capsys):
    write_cvusa(tmp_path / "data", train=14, val=6)
    row = (tmp_path / "data" / "splits" / "val-19zl.csv").read_text().split()[0]
    damaged = tmp_path / "data" / row.split(",")[1]
    damaged.write_bytes(damaged.read_bytes()[:200])
    code, run = train(tmp_path, "cvusa_paper", "", extra=["--skip-unreadable"])
    assert code == 0
    assert (run / "best.pt").exists()
    assert (run / "unreadable.txt").read_text().split() == [row.split(",")[1]]
    arguments = ["evaluate", "--checkpoint", str(run), "--data", str(tmp_path / "data")]
    assert main(arguments) == 1
    assert damaged.name in capsys.readouterr().err
    assert main([*arguments, "--skip-unreadable"]) == 0


def test_a_run_on_other_data_than_towns_is_exported_with_a_gated_variant(tmp_path):
    write_cvusa(tmp_path / "data", train=14, val=6)
    assert train(tmp_path, "cvusa", "validation_share: 0.1")[0] == 0
    code = main(["export", "--checkpoint", str(tmp_path / "run"), "--data",
                 str(tmp_path / "data"), "--out", str(tmp_path / "encoder"), "--variants", "fp16",
                 "--recall-gate", "1.0"])  # fmt: skip
    assert code == 0
    encoder = Encoder.load(tmp_path / "encoder", device="cpu")
    assert encoder.manifest.variants["fp16"].written
    assert encoder.manifest.calibration == {}
    assert "CVUSA" in encoder.manifest.licence_data or "cvusa" in encoder.manifest.licence_data
    recipe = small_recipe(tmp_path, "cvusa")
    code = main(["evaluate", "--encoder", str(tmp_path / "encoder"), "--recipe", recipe, "--data",
                 str(tmp_path / "data"), "--pictures", str(tmp_path / "pictures")])  # fmt: skip
    assert code == 0
    (path,) = (tmp_path / "pictures").iterdir()
    with Image.open(path) as picture:
        assert picture.width > 300


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "--encoder", "{tmp}/e", "--data", "{tmp}"], "--recipe"),
        (["evaluate", "--encoder", "{tmp}/e", "--data", "{tmp}", "--weights", "last"],
         "--checkpoint"),
        (["evaluate", "--checkpoint", "{tmp}/none", "--data", "{tmp}", "--recipe", "{tmp}/r"],
         "--encoder"),
        (["evaluate", "--checkpoint", "{tmp}/none", "--data", "{tmp}"], "none"),
        (["train", "--recipe", str(RECIPES / "cvusa.yaml"), "--data", "{tmp}/none", "--out",
          "{tmp}/r"], "none"),
        (["train", "--recipe", str(RECIPES / "cvusa.yaml"), "--data", "{tmp}", "--val", "{tmp}",
          "--out", "{tmp}/r"], "validation_share"),
    ],
)  # fmt: skip
def test_mistakes_are_answered_with_one_sentence(tmp_path, capsys, arguments, words):
    assert main([part.format(tmp=tmp_path) for part in arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert words in said
    assert len(said.strip().splitlines()) == 1


def test_data_sets_are_described(capsys):
    assert main(["datasets", "vigor_cross_area"]) == 0
    said = capsys.readouterr().out
    for word in ("source", "licence", "layout", "satellite_list.txt"):
        assert word in said
