"""docs/galleries.md against the code: every key, every option, every command."""

import argparse
import re
import shlex
from pathlib import Path

import pytest
import yaml

from index_builder.arguments import INDEX_KINDS, make_parser
from index_builder.recipe import GalleryRecipe, IndexRequest, read_recipe
from index_builder.sources.spec import SourceKind, SourceSpec
from index_builder.sources.tables.table_columns import BOUNDS_COLUMNS, COLUMN_NAMES
from training.__main__ import parser as training_parser

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "galleries.md").read_text(encoding="utf-8")
COMMANDS = [
    line.strip()
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip()
]


def verbs(parser):
    (action,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return action.choices


def options(parser):
    return {
        word
        for action in parser._actions
        for word in action.option_strings
        if word.startswith("--") and word != "--help"
    }


def documented(name, prefix=""):
    return f"`{prefix}{name}`" in GUIDE


@pytest.mark.parametrize("key", list(GalleryRecipe.model_fields))
def test_every_key_of_a_recipe_is_documented(key):
    if key == "index":
        assert all(documented(name, "index.") for name in IndexRequest.model_fields)
    else:
        assert documented(key)


@pytest.mark.parametrize("key", list(SourceSpec.model_fields))
def test_every_key_of_a_source_is_documented(key):
    assert documented(key, "sources[].")


def test_every_kind_is_documented():
    for kind in (*SourceKind.__args__, *INDEX_KINDS, *INDEX_KINDS.values()):
        assert documented(kind), kind


def test_every_column_of_a_table_is_documented():
    for name in (*BOUNDS_COLUMNS, *(one for names in COLUMN_NAMES.values() for one in names)):
        assert documented(name), name


def test_every_option_is_documented():
    known = set().union(*(options(parser) for parser in verbs(make_parser()).values()))
    # Ray's are in docs/scale.md, which knows when one needs them.
    known -= {"--ray-address", "--workers"}
    missing = {option for option in known if not re.search(rf"{option}\b", GUIDE)}
    assert not missing


def test_no_option_is_made_up():
    known = set().union(
        *(options(parser) for parser in verbs(make_parser()).values()),
        options(verbs(training_parser())["satellite-table"]),
    )
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", GUIDE))
    assert used <= known, used - known


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command):
    words = shlex.split(command)
    if words[:2] == ["pip", "install"]:
        return
    parsers = {"index_builder": make_parser(), "training": training_parser()}
    assert words[:2] == ["python", "-m"]
    parsers[words[2]].parse_args(words[3:])


def test_every_verb_has_a_command():
    shown = {shlex.split(command)[3] for command in COMMANDS if "index_builder" in command}
    assert shown == set(verbs(make_parser()))


def test_the_recipe_is_read(tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "gallery.yaml").write_text(text)
    recipe = read_recipe(tmp_path / "gallery.yaml")
    assert [spec.name for spec in recipe.sources] == ["survey-2014", "kampala"]
    assert yaml.safe_load(text)["tile_sizes_m"] == list(recipe.tile_sizes_m)
