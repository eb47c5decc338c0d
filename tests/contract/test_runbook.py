"""docs/runbook.md has a section for every alert, and names only what there is."""

import re
import subprocess
from pathlib import Path

import pytest

from service.documents import openapi_document
from service.settings import Settings
from tests.deployed_queries import MATCHED, SELECTOR, alerts, exported, labels_of, recorded

PAGE = Path(__file__).resolve().parents[2] / "docs" / "runbook.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()
]
NAME = re.compile(r"\b(?:crossfix[_:]|process_)\w+(?::\w+)*")


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_has_a_section_and_points_at_it(alert) -> None:
    name = alert["alert"]
    assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    section = SECTIONS[name]
    assert section.strip().startswith(f"*{alert['labels']['severity']}.*")
    for part in ("```sh\n", "- **Causes**: ", "- **Cure**: ", "- **Over** when "):
        assert part in section, part


def test_there_is_no_section_without_an_alert() -> None:
    assert list(SECTIONS) == [alert["alert"] for alert in alerts()]


def test_sections_name_only_alerts_metrics_settings_and_routes_that_exist() -> None:
    assert set(re.findall(r"\bCrossfix[A-Z]\w+", TEXT)) <= set(SECTIONS)
    assert set(NAME.findall(TEXT)) <= set(exported()) | set(recorded()) | {
        "crossfix:answers_over_1s:ratio"  # of a regular expression
    }
    for name, selector in SELECTOR.findall(TEXT):
        if name != "up":
            assert set(MATCHED.findall(selector)) <= labels_of(name)
    for name in re.findall(r"`(\w+_(?:threads|workers|limit|s|bytes|keep|images|minute))`", TEXT):
        labels = {"upload_limit", "in_flight_limit"}  # reasons of a 503
        assert name in set(Settings.model_fields) | labels, name
    routes = set(openapi_document()["paths"])
    assert set(re.findall(r"\$BASE(/[\w/]+)", TEXT)) <= routes
    assert set(re.findall(r"`(?:GET|POST) (/[\w/]+)`", TEXT)) <= routes


@pytest.mark.parametrize("command", COMMANDS, ids=lambda line: line[:50])
def test_every_command_is_one_that_a_shell_can_read(command) -> None:
    done = subprocess.run(
        ["bash", "-n", "-c", command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert command.split()[0] in {"curl", "promtool", "docker", "df", "python"} or "=" in command
