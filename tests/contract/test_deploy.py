"""What deploy/ ships works: rules and their own tests, and no query names a metric that is none."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.core import Metric

from service.observing.metrics import Metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = yaml.safe_load((DEPLOY / "alerts.yml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((DEPLOY / "grafana" / "crossfix.json").read_text(encoding="utf-8"))
NAME = re.compile(r"\b(?:crossfix[_:]|process_)\w+(?::\w+)*")
SELECTOR = re.compile(r"\b(\w+)\{([^}]*)\}")
SCRAPED = {"job", "instance"}  # labels that Prometheus adds
ROWS = ["Traffic", "Latency by stage", "Quality", "Versions", "Jobs, disks and process"]


def promtool(*arguments: str) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian package `prometheus`)")
    done = subprocess.run(
        [program, *arguments], cwd=DEPLOY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def rules() -> list[dict]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def alerts() -> list[dict]:
    return [rule for rule in rules() if "alert" in rule]


def families() -> dict[str, Metric]:
    """What a sample may be called, and the family it is of."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    return {
        family.name + suffix: family
        for family in Metrics().registry.collect()
        for suffix in suffixes[family.type]
    }


def labels_of(metrics: Metrics, sample: str) -> set[str]:
    """The labels that samples of this name have."""
    plain = re.sub(r"_(total|bucket|sum|count)$", "", sample)
    known = metrics.registry._names_to_collectors  # collectors that describe nothing have no labels
    labels = set(getattr(known.get(sample) or known.get(plain), "_labelnames", ()))
    return labels | ({"le"} if sample.endswith("_bucket") else set())


def queries() -> list[tuple[str, str]]:
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    found = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
    found += [(one["name"], one["expr"]) for one in DASHBOARD["annotations"]["list"]]
    return found + [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]


def test_prometheus_accepts_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", "alerts.yml")
    promtool("check", "config", "prometheus.yml")


def test_every_alert_fires_when_it_should_and_not_otherwise() -> None:
    promtool("test", "rules", "alerts_test.yml")


def test_every_alert_is_tested_and_says_what_to_do() -> None:
    tests = (DEPLOY / "alerts_test.yml").read_text(encoding="utf-8")
    for alert in alerts():
        assert f'alertname="{alert["alert"]}"' in tests, alert["alert"]
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert len(alert["annotations"]["runbook"]) > 40
        assert "\n" not in alert["annotations"]["runbook"]
        assert alert["annotations"]["summary"]


@pytest.mark.parametrize(("title", "query"), queries(), ids=lambda text: text[:40])
def test_every_query_names_only_metrics_and_labels_that_exist(title, query) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    names = set(NAME.findall(query))
    assert names or title == "CrossfixDown", query
    assert names - recorded <= set(families()), names - recorded - set(families())
    metrics = Metrics()
    for name, selector in SELECTOR.findall(query):
        if name in families():
            used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
            assert used - SCRAPED <= labels_of(metrics, name), query


def test_the_dashboard_has_its_rows_and_overlaps_nowhere() -> None:
    panels = DASHBOARD["panels"]
    assert [panel["title"] for panel in panels if panel["type"] == "row"] == ROWS
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (place["x"] + column, place["y"] + row)
            for column in range(place["w"])
            for row in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_every_metric_of_ours_is_shown_or_watched_somewhere() -> None:
    shown = " ".join(query for _, query in queries())
    for family in Metrics().registry.collect():
        if family.name.startswith("crossfix_"):
            assert family.name in shown, family.name
