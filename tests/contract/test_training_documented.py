"""Command lines in docs/training.md are understood, and their recipes and overrides load."""

import re
import shlex
from pathlib import Path

import pytest

from training.__main__ import parser
from training.recipe_file import load_recipe

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("python -m training ")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_command_is_understood(command):
    options = parser().parse_args(shlex.split(command)[3:])
    if getattr(options, "recipe", None):
        load_recipe(ROOT / options.recipe, getattr(options, "overrides", ()))


def test_every_verb_is_documented():
    verbs = set(next(a for a in parser()._actions if a.dest == "verb").choices)
    assert {command.split()[3] for command in COMMANDS} | {"satellite-table"} >= verbs


def test_recipes_and_parts_named_in_the_text_are_there():
    names = set(re.findall(r"`([a-z0-9_]+)\.yaml`", TEXT))
    shipped = {path.stem for path in (ROOT / "training" / "recipes").glob("*.yaml")}
    assert names <= shipped
    families = {n for n in shipped if n.startswith(("her", "instance", "stn", "polar", "safa"))}
    assert all(f"`{name}`" in TEXT or f"{name}.yaml" in TEXT for name in families)
