"""The Kubernetes manifests: valid by the schemas, and in agreement with the service they start."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from index_builder.arguments import make_parser
from index_builder.recipe import read_recipe
from service.guard.key_file import FORBIDDEN_MODE, KeyFile
from service.http.body_limit import MULTIPART_OVERHEAD_BYTES
from service.observing.metrics import Metrics
from service.settings import Settings

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.30", kubernetes_validate.latest_version())  # the oldest that is meant, the newest
NO_SCHEMA = {"PodMonitor"}  # of the Prometheus Operator: no part of Kubernetes
NOT_OURS = {"OMP_NUM_THREADS"}  # a variable of libraries
BUILDS = ("base", "overlays/gpu", "overlays/ray", "build")
ROUTES = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))["paths"]
INSIDE = ("/metrics", "/livez", "/readyz", "/gallery/activate", "/gallery/rebuild", "/gallery/jobs")
UNDOCUMENTED = ("/", "/page.json", "/static/x.js", "/docs", "/openapi.json")
SOME_S = 10


@cache
def documents(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]


@cache
def manifests() -> list[Path]:
    """Whole documents; patches and values of other programs are none."""
    return [
        path
        for path in sorted(MANIFESTS.rglob("*.yaml"))
        if path not in patches()
        and path.name not in ("kustomization.yaml", "gallery.yaml")
        and not path.name.endswith(".values.yaml")
    ]


def kustomizations() -> list[Path]:
    return sorted(MANIFESTS.rglob("kustomization.yaml"))


def patches() -> list[Path]:
    return [
        path.parent / patch["path"]
        for path in kustomizations()
        for patch in documents(path)[0].get("patches", [])
    ]


def everything() -> list[dict[str, Any]]:
    return [one for path in manifests() for one in documents(path)]


def one(folder: str, kind: str, name: str = "") -> dict[str, Any]:
    found = [
        document
        for path in manifests()
        if path.is_relative_to(MANIFESTS / folder)
        for document in documents(path)
        if document["kind"] == kind and name in ("", document["metadata"]["name"])
    ]
    assert len(found) == 1, (folder, kind, name)
    return found[0]


def pods() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, labels and spec of every pod that something starts."""
    for document in everything():
        spec = document.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            template = spec["template"]
            yield document["metadata"]["name"], template["metadata"]["labels"], template["spec"]
        elif document["kind"] == "Pod":
            yield document["metadata"]["name"], document["metadata"]["labels"], spec


def settings_of(folder: str) -> dict[str, str]:
    lines = (MANIFESTS / folder / "settings.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def serving() -> dict[str, Any]:
    return one("base", "Deployment")["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", manifests(), ids=lambda path: str(path.relative_to(MANIFESTS)))
def test_every_manifest_is_valid_and_has_no_unknown_field(path, version) -> None:
    for document in documents(path):
        if document["kind"] not in NO_SCHEMA:
            kubernetes_validate.validate(document, version, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    wrong = {**serving(), "terminationGracePeriodSecond": 60}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": wrong}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, VERSIONS[0], strict=True)


@pytest.mark.parametrize("path", kustomizations(), ids=lambda path: path.parent.name)
def test_what_a_kustomization_names_exists(path) -> None:
    document = documents(path)[0]
    for name in document.get("resources", []):
        assert (path.parent / name).exists(), name
    for generator in document.get("configMapGenerator", []):
        for name in (*generator.get("envs", []), *generator.get("files", [])):
            assert (path.parent / name).is_file(), name
    for patch in document.get("patches", []):
        content = documents(path.parent / patch["path"])[0]
        target = patch.get("target") or {
            "kind": content["kind"],
            "name": content["metadata"]["name"],
        }
        one("base", target["kind"], target["name"])


def build(folder: Path) -> str:
    """What kustomize makes of it."""
    words = ["kustomize", "build"]
    if not shutil.which("kustomize"):
        if not shutil.which("kubectl"):
            pytest.skip("neither kubectl nor kustomize is installed")
        words = ["kubectl", "kustomize"]
    done = subprocess.run([*words, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("folder", BUILDS)
def test_kustomize_builds_valid_documents(folder) -> None:
    text = build(MANIFESTS / folder)
    for document in yaml.safe_load_all(text):
        kubernetes_validate.validate(document, VERSIONS[0], strict=True)
        if document["kind"] != "Namespace":
            assert document["metadata"]["namespace"] == "crossfix"
    images = re.findall(r"image: (\S+)", text)
    assert images
    assert all(re.fullmatch(r"registry\.example\.org/crossfix-[a-z-]+:[\d.]+", i) for i in images)


def test_components_can_be_added_to_any_overlay(tmp_path) -> None:
    there = Path(os.path.relpath(MANIFESTS, tmp_path))
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": [str(there / "overlays" / "gpu")],
                "components": [
                    str(there / "components" / name) for name in ("ingress", "prometheus-operator")
                ],
            }
        )
    )
    kinds = {document["kind"] for document in yaml.safe_load_all(build(tmp_path))}
    assert {"Ingress", "PodMonitor", "Deployment"} <= kinds


def test_images_are_targets_of_the_dockerfile() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    targets = {f"crossfix-{name}" for name in re.findall(r"^FROM .* AS (\S+)$", text, re.M)}
    changed = [documents(path)[0] for path in patches()]
    used = {
        container["image"]
        for document in [*everything(), *changed]
        if isinstance(document, dict) and "template" in document.get("spec", {})
        for container in document["spec"]["template"]["spec"]["containers"]
    }
    assert {"crossfix-serve", "crossfix-serve-gpu", "crossfix-ray", "crossfix-index"} == used
    assert used <= targets


def test_probes_ask_routes_that_exist_on_the_port_it_listens_on() -> None:
    (container,) = serving()["containers"]
    (port,) = container["ports"]
    assert str(port["containerPort"]) == settings_of("base")["CROSSFIX_PORT"]
    probes = {name: container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")}
    paths = {name: probe["httpGet"]["path"] for name, probe in probes.items()}
    assert paths == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/livez"}
    assert set(paths.values()) <= set(ROUTES)
    assert {probe["httpGet"]["port"] for probe in probes.values()} == {port["name"]}
    (exposed,) = one("base", "Service")["spec"]["ports"]
    assert exposed["targetPort"] == port["name"]
    start = probes["startup"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 600  # large galleries


@pytest.mark.parametrize("overlay", ["base", "overlays/gpu", "overlays/ray"])
def test_variables_are_settings_and_the_service_accepts_them(overlay) -> None:
    values = {**settings_of("base"), **settings_of(overlay)}
    names = {f"CROSSFIX_{name.upper()}": name for name in Settings.model_fields}
    assert set(values) - NOT_OURS <= set(names)
    settings = Settings(**{names[key]: value for key, value in values.items() if key in names})
    (container,) = serving()["containers"]
    places = [mount["mountPath"] for mount in container["volumeMounts"]]
    for path in (settings.encoder, settings.gallery, settings.keys):
        assert any(path.is_relative_to(place) for place in places), path
    grace_s = serving()["terminationGracePeriodSeconds"]
    assert grace_s >= settings.drain_s + settings.shutdown_s + SOME_S
    assert serving()["enableServiceLinks"] is False


def test_a_pod_uses_the_cores_it_asks_for() -> None:
    values = settings_of("base")
    cores = int(serving()["containers"][0]["resources"]["requests"]["cpu"])
    threads = int(values["CROSSFIX_ENCODE_WORKERS"]) * int(values["CROSSFIX_ENCODE_THREADS"])
    assert cores == threads == int(values["OMP_NUM_THREADS"])


@pytest.mark.parametrize(("name", "labels", "spec"), list(pods()), ids=lambda x: str(x)[:20])
def test_every_pod_runs_with_as_few_rights_as_it_can(name, labels, spec) -> None:
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in spec["volumes"]
        if "persistentVolumeClaim" in volume
    }
    kept = {d["metadata"]["name"] for d in everything() if d["kind"] == "PersistentVolumeClaim"}
    assert claims <= kept
    assert any(selects(policy, labels) for policy in of_kind("NetworkPolicy")), name


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for document in everything() if document["kind"] == kind]


def selects(document: dict[str, Any], labels: dict[str, str]) -> bool:
    spec = document["spec"]
    wanted = spec.get("podSelector", spec.get("selector"))
    return wanted.get("matchLabels", wanted).items() <= labels.items()


def test_selectors_select_the_serving_pods_and_no_builder() -> None:
    labels = {(name, json.dumps(labels)) for name, labels, _ in pods()}
    assert len(labels) == 6
    for kind in ("Deployment", "PodDisruptionBudget", "Service", "NetworkPolicy"):
        document = one("base", kind)
        chosen = {name for name, words in labels if selects(document, json.loads(words))}
        assert chosen == {"crossfix"}, kind


def test_updates_take_nobody_away_before_another_is_ready() -> None:
    spec = one("base", "Deployment")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "replicas" not in spec  # the autoscaler's
    assert one("base", "HorizontalPodAutoscaler")["spec"]["minReplicas"] >= 2


def test_the_autoscaler_asks_for_a_metric_that_the_service_exports() -> None:
    (rule,) = documents(MANIFESTS / "prometheus-adapter.values.yaml")[0]["rules"]["custom"]
    series = rule["seriesQuery"].split("{")[0]
    gauges = {family.name for family in Metrics().registry.collect() if family.type == "gauge"}
    assert series in gauges
    changed = documents(MANIFESTS / "overlays" / "gpu" / "autoscaler.yaml")[0][0]["value"]
    for metrics in (one("base", "HorizontalPodAutoscaler")["spec"]["metrics"], changed):
        asked = {m["pods"]["metric"]["name"] for m in metrics if m["type"] == "Pods"}
        assert asked == {rule["name"]["as"]}


def test_prometheus_understands_the_adapter_s_query(tmp_path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian package `prometheus`)")
    (rule,) = documents(MANIFESTS / "prometheus-adapter.values.yaml")[0]["rules"]["custom"]
    query = rule["metricsQuery"].replace("<<.GroupBy>>", "pod")
    query = query.replace("<<.Series>>", rule["seriesQuery"].split("{")[0])
    query = query.replace("<<.LabelMatchers>>", 'namespace="crossfix",pod=~"a|b"')
    rules = {"groups": [{"name": "x", "rules": [{"record": "x", "expr": query}]}]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    words = ["promtool", "check", "rules", str(tmp_path / "rules.yml")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_keys_file_is_as_the_service_wants_it() -> None:
    (volume,) = [v for v in serving()["volumes"] if v["name"] == "keys"]
    assert volume["secret"]["defaultMode"] == 0o440
    assert not volume["secret"]["defaultMode"] & FORBIDDEN_MODE
    example = one("", "Secret")
    assert example["metadata"]["name"] == volume["secret"]["secretName"]
    assert KeyFile.model_validate_json(example["stringData"]["keys.json"]).keys
    assert Path(settings_of("base")["CROSSFIX_KEYS"]).name in example["stringData"]


def test_the_ingress_routes_what_is_public_and_nothing_else() -> None:
    ingress = one("components", "Ingress")
    (rule,) = ingress["spec"]["rules"]
    paths = [(path["path"], path["pathType"]) for path in rule["http"]["paths"]]

    def is_routed(asked: str) -> bool:
        return any(
            asked == path or (kind == "Prefix" and asked.startswith(f"{path}/"))
            for path, kind in paths
        )

    for route in (*ROUTES, *UNDOCUMENTED):
        asked = re.sub(r"\{\w+\}", "1", route)
        assert is_routed(asked) != asked.startswith(INSIDE), route
    size = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    limit = Settings.model_fields["max_batch_body_bytes"].default
    assert int(size) == limit + MULTIPART_OVERHEAD_BYTES


@pytest.mark.parametrize("kind", ["Job", "CronJob"])
def test_builders_are_given_arguments_that_they_understand(kind) -> None:
    spec = one("build", kind)["spec"]
    spec = spec.get("jobTemplate", {}).get("spec", spec)["template"]["spec"]
    (container,) = spec["containers"]
    arguments = make_parser().parse_args(container["args"])
    assert arguments.encoder == Path("/data/encoder")
    assert arguments.threads == int(container["resources"]["requests"]["cpu"])


def test_the_recipe_is_one() -> None:
    assert read_recipe(MANIFESTS / "build" / "gallery.yaml").sources
