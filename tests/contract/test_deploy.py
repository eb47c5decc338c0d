"""What deploy/ ships works: rules and their own tests, and no query names what does not exist."""

import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from service.observing.metrics import Metrics
from tests.deployed_queries import (
    DEPLOY,
    LABEL_LISTS,
    MATCHED,
    NAME,
    NOT_OURS,
    SCRAPED,
    SELECTOR,
    Query,
    alerts,
    dashboard,
    exported,
    labels_after,
    labels_of,
    panel_queries,
    panels,
    recorded,
    rule_queries,
)

QUERIES = panel_queries() + rule_queries()
RULE_TESTS = sorted(DEPLOY.glob("alerts*_test.yml"))
ROWS = ["Now", "Traffic", "Latency by stage", "Quality", "Versions", "Jobs, disks and process"]
ISSUE = {  # what the project promises to watch
    "latency": "CrossfixLatencyBurn", "slow burn": "CrossfixLatencyBurnSlow",
    "5xx": "CrossfixFailing", "queues": "CrossfixQueueNearLimit", "stale": "CrossfixGalleryStale",
    "reload": "CrossfixGalleryRefused", "provider": "CrossfixProviderFallback",
    "scores": "CrossfixScoreDrift", "shards": "CrossfixShardLost",
    "partial answers": "CrossfixPartialAnswers",
}  # fmt: skip


def promtool(*arguments: str) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian package `prometheus`)")
    done = subprocess.run(
        [program, *arguments], cwd=DEPLOY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus-compose.yml"])
def test_prometheus_accepts_the_rules_and_the_configuration(name) -> None:
    promtool("check", "rules", "alerts.yml")
    promtool("check", "config", name)


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_every_alert_fires_when_it_should_and_not_otherwise(path) -> None:
    promtool("test", "rules", path.name)


def expectations() -> Iterator[tuple[dict, dict]]:
    """Each test of the rules with each of its expectations about alerts."""
    for path in RULE_TESTS:
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for one in test["promql_expr_test"]:
                if "ALERTS" in one["expr"]:
                    yield test, one


def named_in(query: str) -> set[str]:
    """The service's metrics behind a query, through recording rules."""
    names = set(NAME.findall(query))
    behind = set().union(*(named_in(recorded()[name]) for name in names & set(recorded())))
    return (names - set(recorded())) | behind


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_is_seen_firing_and_seen_quiet_on_data_of_its_metrics(alert) -> None:
    mark, fires, is_quiet = f'alertname="{alert["alert"]}"', False, False
    wanted = named_in(alert["expr"]) or {"up"}
    for test, one in expectations():
        if any(mark in sample["labels"] for sample in one["exp_samples"]):
            fires = True
        elif wanted <= {series["series"].partition("{")[0] for series in test["input_series"]}:
            is_quiet = True
    assert fires
    assert is_quiet, wanted


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_says_how_urgent_it_is_and_what_to_do(alert) -> None:
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert len(alert["annotations"]["runbook"]) > 40
    assert "\n" not in alert["annotations"]["runbook"]
    assert alert["annotations"]["summary"]


def test_what_the_project_promises_to_watch_is_watched() -> None:
    assert set(ISSUE.values()) <= {alert["alert"] for alert in alerts()}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.title}-{query.text[:30]}")
def test_every_query_names_only_metrics_and_labels_that_exist(query: Query) -> None:
    assert query.names or query.title in NOT_OURS
    unknown = query.names - set(exported()) - set(recorded())
    assert not unknown, unknown
    for name, selector in SELECTOR.findall(query.text):
        if name not in ("up", "ALERTS"):
            assert set(MATCHED.findall(selector)) <= labels_of(name), query.text
    known = SCRAPED.union(*(labels_of(name) for name in query.names))
    for words in LABEL_LISTS.findall(query.text):
        assert {word.strip() for word in words.split(",") if word.strip()} <= known, query.text
    assert query.told <= labels_after(query), query


@pytest.mark.parametrize(
    "wrong",
    [
        Query("x", "rate(crossfix_request_total[5m])"),
        Query("x", 'rate(crossfix_requests_total{code="200"}[5m])'),
        Query("x", "sum by (code) (rate(crossfix_requests_total[5m]))"),
        Query("x", "sum by (route) (rate(crossfix_requests_total[5m]))", frozenset({"status"})),
        Query("x", "rate(crossfix_top1_score_sum[5m])"),
        Query("x", 'crossfix:requests_failed:ratio5m{instance="a"}'),
    ],
    ids=["metric", "selector", "by", "legend", "sum of what may be negative", "recorded"],
)
def test_a_query_that_names_what_does_not_exist_is_noticed(wrong) -> None:
    with pytest.raises((AssertionError, KeyError)):
        test_every_query_names_only_metrics_and_labels_that_exist(wrong)


def test_the_dashboard_has_its_rows_and_overlaps_nowhere() -> None:
    everything = dashboard()["panels"]
    assert [panel["title"] for panel in everything if panel["type"] == "row"] == ROWS
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        place = panel["gridPos"]
        cells = {
            (place["x"] + column, place["y"] + row)
            for column in range(place["w"])
            for row in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_every_panel_says_what_it_shows() -> None:
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters), panel["title"]


def test_the_dashboard_holds_only_keys_that_grafana_knows() -> None:
    """A misspelt key does not survive Grafana's own types."""
    pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk is not installed")
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()
    ours = dashboard()
    for one in ours["annotations"]["list"]:  # of the data source, not of the dashboard
        del one["titleFormat"], one["textFormat"]
    assert list(lost(ours, json.loads(JSONEncoder().encode(Dashboard.from_json(ours))))) == []


def lost(ours: object, theirs: object, where: str = "") -> Iterator[str]:
    """Where the second lacks what the first has."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key in theirs:
                yield from lost(value, theirs[key], f"{where}/{key}")
            else:
                yield f"{where}/{key}"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for row, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from lost(one, other, f"{where}/{row}")
    elif ours != theirs:
        yield where


def test_every_metric_of_ours_is_shown_or_watched_somewhere() -> None:
    shown = " ".join(query.text for query in QUERIES)
    for family in Metrics().registry.collect():
        if family.name.startswith("crossfix_"):
            assert family.name in shown, family.name


def test_grafana_finds_the_data_source_and_the_dashboard() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert source["isDefault"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "crossfix.yml").read_text())["providers"]
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text(encoding="utf-8"))
    mounts = compose["services"]["grafana"]["volumes"]
    for path in ("datasources", "dashboards"):
        assert f"./deploy/grafana/provisioning/{path}:/etc/grafana/provisioning/{path}:ro" in mounts
    shown = f"./deploy/grafana/crossfix.json:{provider['options']['path']}/crossfix.json:ro"
    assert shown in mounts
