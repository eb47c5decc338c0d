"""From recipes to readers: every shipped recipe opens its data set, every data set has a card."""

from pathlib import Path
from typing import get_args

import pytest

import training
from crossfix.errors import DataError
from tests.tiny_datasets import write_cvact, write_cvusa, write_university, write_vigor
from tests.tiny_towns import write_town
from training.datasets.card_text import card_text
from training.datasets.cards import CARDS
from training.datasets.registry import open_dataset
from training.recipe import DatasetName
from training.recipe_file import load_recipe

RECIPES = Path(training.__file__).parent / "recipes"
WRITERS = {
    "cvusa": write_cvusa,
    "cvact": write_cvact,
    "vigor_same": lambda root: write_vigor(root, corrected=True),
    "vigor_cross": lambda root: write_vigor(root, corrected=True),
    "university1652": write_university,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("end", ["", "_paper"])
def test_every_recipe_opens_its_data_set(tmp_path, name, end):
    root = tmp_path / "data"
    WRITERS[name](root)
    recipe = load_recipe(RECIPES / f"{name}{end}.yaml")
    data = open_dataset(recipe, [root])
    tables = data.training()
    assert tuple(tables) == recipe.data.query_views
    (split,) = data.evaluation(data.protocols[0])
    assert len(split.positives) == len(split.queries) > 0
    assert data.card.name == recipe.data.dataset
    if name.startswith("vigor"):
        labels = "original" if end else "corrected"
        assert data.card.counts["labels"] == labels
        assert f"  labels: {labels}" in card_text(data.card).splitlines()
    assert set(data.protocols) <= set(data.card.protocols)
    assert data.protocols[0] == data.card.protocols[0]


def test_towns_open_with_what_they_are_validated_on(tmp_path):
    for number, name in enumerate("ab"):
        write_town(tmp_path / name, seed=number, drone=3, panoramas=3, street=0)
    recipe = load_recipe(RECIPES / "tiny.yaml")
    data = open_dataset(recipe, [tmp_path / "a"], validation=[tmp_path / "b"], cache=tmp_path / "c")
    assert data.card.counts == {"towns": "a", "evaluated towns": "b"}
    assert tuple(data.card.protocols) == data.protocols == ("towns",)
    assert {split.name for split in data.evaluation("towns")} == {"b"}


def test_there_is_a_whole_card_of_every_data_set():
    assert set(CARDS) == set(get_args(DatasetName))
    for name, card in CARDS.items():
        assert card.name == name
        assert card.source
        assert card.licence
        assert len(card.layout) >= 3
        assert len(set(card.protocols)) == len(card.protocols) > 0


@pytest.mark.parametrize("name", WRITERS)
def test_every_protocol_on_a_card_is_one_that_evaluate_takes(tmp_path, name):
    WRITERS[name](tmp_path)
    views = ["data.query_views=[drone,ground]"] if name == "university1652" else []
    data = open_dataset(load_recipe(RECIPES / f"{name}.yaml", views), [tmp_path])
    assert data.protocols == tuple(data.card.protocols)
    for protocol in data.protocols:
        if "160k" not in protocol:  # the distractors are optional
            assert data.evaluation(protocol)


def test_the_card_tells_the_protocols():
    text = card_text(CARDS["cvact"])
    assert "  protocols: val (the usual one), test, val-5m, test-5m" in text.splitlines()
    assert "  protocol: towns" in card_text(CARDS["sample_world"]).splitlines()
    assert max(len(line) for card in CARDS.values() for line in card_text(card).splitlines()) <= 96


def test_one_folder_and_known_views_are_wanted(tmp_path):
    recipe = load_recipe(RECIPES / "cvusa.yaml")
    with pytest.raises(DataError, match="read from one folder, but 2 were given"):
        open_dataset(recipe, [tmp_path, tmp_path])
    flown = load_recipe(RECIPES / "cvusa.yaml", ["data.query_views=[drone]"])
    with pytest.raises(DataError, match="cvusa has no drone photos"):
        open_dataset(flown, [tmp_path])


@pytest.mark.parametrize("name", ["cvusa", "cvact", "university1652"])
def test_an_empty_folder_is_answered_at_once(tmp_path, name):
    with pytest.raises(DataError, match="is incomplete") as raised:
        open_dataset(load_recipe(RECIPES / f"{name}.yaml"), [tmp_path])
    assert f"python -m training datasets {name}" in raised.value.hint
