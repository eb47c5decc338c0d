"""What deploy/ asks Prometheus: rules, panels, and the metrics and labels their queries name."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from prometheus_client.metrics import MetricWrapperBase

from service.observing.metrics import Metrics

DEPLOY = Path(__file__).parents[1] / "deploy"
NAME = re.compile(r"\b(?:crossfix[_:]|process_)\w+(?::\w+)*")
SELECTOR = re.compile(r"\b([\w:]+)\{([^}]*)\}")
LABEL_LISTS = re.compile(r"\b(?:by|on|ignoring|group_left|group_right|without)\s*\(([^)]*)\)")
OUTERMOST = re.compile(r"\b(?:sum|max|min|avg|count) by \(([^)]*)\)")
MATCHED = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
SCRAPED = {"job", "instance"}  # labels that Prometheus adds
NOT_OURS = {  # what Prometheus makes itself, by the titles of queries that name nothing else
    "CrossfixDown": {"up"}, "CrossfixAllDown": {"up"}, "Alerts": {"ALERTS"},
}  # fmt: skip


@dataclass(frozen=True)
class Query:
    """One query: of which panel or rule, and the labels that its words refer to."""

    title: str
    text: str
    told: frozenset[str] = frozenset()

    @property
    def names(self) -> set[str]:
        """The metrics it names, ours and recorded ones."""
        return set(NAME.findall(self.text))


def rules() -> list[dict]:
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict]:
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> dict[str, str]:
    """Names of recording rules, and their expressions."""
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def dashboard() -> dict:
    return json.loads((DEPLOY / "grafana" / "crossfix.json").read_text(encoding="utf-8"))


def panels() -> list[dict]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def panel_queries() -> list[Query]:
    """Of every panel and annotation, with the labels of their legends."""
    found = [
        Query(panel["title"], target["expr"], _braced(target["legendFormat"]))
        for panel in panels()
        for target in panel["targets"]
    ]
    return found + [
        Query(one["name"], one["expr"], _braced(one["textFormat"]))
        for one in dashboard()["annotations"]["list"]
    ]


def rule_queries() -> list[Query]:
    """Of every rule, with the labels of its sentences."""
    return [
        Query(
            rule.get("alert") or rule["record"],
            rule["expr"],
            frozenset(re.findall(r"\$labels\.(\w+)", str(rule.get("annotations")))),
        )
        for rule in rules()
    ]


def _braced(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\{\{(\w+)\}\}", text))


@cache
def exported() -> dict[str, frozenset[str]]:
    """What a sample of the service may be called, and its labels."""
    metrics = Metrics()
    wrappers = metrics.registry._names_to_collectors
    found: dict[str, frozenset[str]] = {}
    for family in metrics.registry.collect():
        wrapper = wrappers.get(family.name)
        labels = frozenset(wrapper._labelnames if isinstance(wrapper, MetricWrapperBase) else ())
        if family.type == "histogram":
            found[f"{family.name}_bucket"] = labels | {"le"}
            found[f"{family.name}_count"] = labels
            if wrapper._kwargs["buckets"][0] >= 0:  # the client leaves out sums that may fall
                found[f"{family.name}_sum"] = labels
        else:
            found[family.name + ("_total" if family.type == "counter" else "")] = labels
    return found


def labels_of(name: str) -> set[str]:
    """The labels that series of this name have, of the service or recorded."""
    if name in recorded():
        return labels_after(Query(name, recorded()[name]))
    return set(exported()[name]) | SCRAPED


def labels_after(query: Query) -> set[str]:
    """The labels a query's result can have: of its aggregation, else of what it names."""
    if lists := OUTERMOST.findall(query.text):
        words = {word.strip() for one in lists for word in one.split(",")}
        return words - ({"le"} if "histogram_quantile" in query.text else set())
    if re.match(r"(sum|max|min|avg|count|absent)\(", query.text):
        return set()
    if query.title in NOT_OURS:
        return {"alertname", "alertstate", "severity", *SCRAPED}
    return set.union(*(labels_of(name) for name in query.names))
