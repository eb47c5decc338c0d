"""docs/service.md against the code: every route, every parameter, every status, every command."""

import re
import shlex
from pathlib import Path

import pytest

from service.documents import openapi_document
from service.errors import STATUS_OF
from service.photos.schemas import LocalizeQuery
from service.settings import Settings

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "service.md").read_text(encoding="utf-8")
ROUTES = openapi_document()["paths"]
COMMANDS = [
    line.strip()
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip()
]


@pytest.mark.parametrize("route", list(ROUTES))
def test_every_route_is_in_the_guide(route):
    assert route in GUIDE


@pytest.mark.parametrize("name", list(LocalizeQuery.model_fields))
def test_every_parameter_is_in_the_guide(name):
    assert f"`{name}`" in GUIDE


def test_every_status_of_the_table_is_in_the_guide():
    told = {int(number) for number in re.findall(r"\b([45]\d\d)\b", GUIDE)}
    told.add(499)  # nobody is left to read it
    told.add(500)
    assert {int(status) for status in STATUS_OF.values()} <= told


def test_flags_of_the_service_in_the_guide_exist():
    flags = {f"--{name.replace('_', '-')}" for name in Settings.model_fields}
    commands = [shlex.split(line) for line in COMMANDS if line.startswith("python -m service ")]
    assert commands
    for words in commands:
        assert {word for word in words if word.startswith("--")} <= flags


def test_requests_in_the_guide_name_routes_that_exist():
    asked = [re.sub(r"\?.*", "", url) for url in re.findall(r"http://127.0.0.1:8000(/\S*)", GUIDE)]
    assert asked
    patterns = [re.compile(re.sub(r"\{[^}]*\}", "[^/]+", route) + "$") for route in ROUTES]
    for path in asked:
        assert any(pattern.match(path.strip("'\"")) for pattern in patterns), path
