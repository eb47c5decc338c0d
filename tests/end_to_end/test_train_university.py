"""University-1652 from its folder to figures in all directions, by HER and by the instance loss."""

import json
from pathlib import Path

import pytest

import training
from crossfix.errors import RecipeError
from tests.tiny_datasets import write_university
from tests.tiny_pairs import table, tiny
from training.__main__ import main
from training.losses.places import places_of

RECIPE = str(Path(training.__file__).parent / "recipes" / "tiny.yaml")
DATA = ("data.dataset=university1652", "data.towns=null", "data.query_views=[drone, ground]",
        "data.ground_kind=street", "data.ground_height_px=32", "data.ground_width_px=32",
        "data.validation_share=0.2", "sampling.strategy=random", "sampling.exclude_within_m=0",
        "sampling.batch_size=3", "schedule.epochs=2", "runtime.pictured_queries=1",
        "model.sharing=satellite_drone", "augmentation.heading_noise_deg=0")  # fmt: skip
HER = ("loss={kind: her, directions: both, normalise: true, feature_scale: 5.0, "
       "margin_share: 0.15, pruned_weight: 0.1, detach_weights: false, orientation_weight: 0.0}",
       "model.shared_head=false")  # fmt: skip
INSTANCE = ("loss={kind: instance, dropout: 0.5, plus: null}", "model.shared_head=true",
            "model.embedding_norm=true")  # fmt: skip
PROTOCOLS = ("drone-to-satellite", "satellite-to-drone", "street-to-satellite",
             "drone-to-satellite-multi", "drone-to-satellite-160k")  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_university(tmp_path_factory.mktemp("data") / "University", distractors_160k=5)


@pytest.mark.parametrize("loss", [HER, INSTANCE], ids=["her", "instance"])
def test_all_directions_are_trained_together_and_measured_apart(loss, root, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["train", "--recipe", RECIPE, "--data", str(root), "--out", str(run)]
    assert main([*words, "--set", *DATA, *loss]) == 0
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert len([row for row in rows if row["kind"] == "train"]) >= 4
    assert {"drone_all_recall_at_1", "ground_all_recall_at_1"} <= set(rows[-1])
    assert main([*words, "--resume", "--set", *DATA, *loss, "schedule.epochs=3"]) == 0
    capsys.readouterr()
    queries = {}
    for protocol in PROTOCOLS:
        evaluate = ["evaluate", "--checkpoint", str(run), "--data", str(root)]
        assert main([*evaluate, "--protocol", protocol]) == 0
        (row,) = json.loads((run / f"evaluation-best-{protocol}.json").read_text())["rows"]
        queries[protocol] = row["queries"], row["gallery"], row["view"]
        assert 0 <= row["average_precision"] <= 1
    assert queries == {
        "drone-to-satellite": (6, 4, "drone"),
        "satellite-to-drone": (2, 12, "satellite"),
        "street-to-satellite": (2, 4, "ground"),
        "drone-to-satellite-multi": (2, 4, "drone"),
        "drone-to-satellite-160k": (6, 9, "drone"),
    }


def test_places_are_classes_only_where_all_views_count_them_alike():
    recipe = tiny(*INSTANCE, "model.sharing=all", "data.query_views=[drone, ground]")
    same = {"drone": table(recipe, 6), "ground": table(recipe, 6, view="ground")}
    assert places_of(recipe, same) == 6
    other = {"drone": table(recipe, 6), "ground": table(recipe, 5, view="ground")}
    with pytest.raises(RecipeError, match="ground view has other tiles"):
        places_of(recipe, other)
    assert places_of(tiny("data.query_views=[drone, ground]"), other) == 6
