"""docker-compose.yml: valid, private, hardened, and it knows every setting with its default."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
MAIN, GPU = ROOT / "docker-compose.yml", ROOT / "docker-compose.gpu.yml"
PIP = ROOT / "docker-compose.pip.yml"
TEXT = MAIN.read_text(encoding="utf-8")
RAW: dict[str, Any] = yaml.safe_load(TEXT)
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
VARIABLE = re.compile(r"\$\{(\w+)(?::?[-?]([^}]*))?\}")
FIXED = {"CROSSFIX_HOST": "0.0.0.0", "CROSSFIX_PORT": "8000"}
PATHS = {"CROSSFIX_ENCODER": "/data/encoder", "CROSSFIX_GALLERY": "/data/gallery"}
OURS = {"crossfix", "index", "train", "keys", "ray-head", "ray-worker", "crossfix-ray"}
BUILT = OURS - {"ray-worker", "crossfix-ray"}  # these have the head's image
PASSWORD = {"GRAFANA_ADMIN_PASSWORD": "for-this-test"}


def variables() -> dict[str, str]:
    """Every variable of the files, and its default."""
    return dict(VARIABLE.findall(TEXT + PIP.read_text(encoding="utf-8")))


def with_defaults(value: str) -> str:
    return VARIABLE.sub(lambda found: found.group(2) or "", value)


def composed(*files: Path, **environment: str) -> dict[str, Any]:
    """What Compose makes of the files, with this environment and no other."""
    done = compose("config", *files, **environment)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


def compose(
    verb: str, *files: Path, env_file: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("docker-compose is not installed (Debian package `docker-compose`)")
    words = [word for path in files or (MAIN,) for word in ("-f", str(path))]
    with tempfile.NamedTemporaryFile() as nothing:  # or the .env of whoever runs this is read
        return subprocess.run(
            [program, *words, "--env-file", str(env_file or nothing.name), verb],
            cwd=ROOT, env={"PATH": os.environ["PATH"], **environment},
            capture_output=True, text=True, check=False,
        )  # fmt: skip


def test_compose_accepts_the_file_and_the_gpu_override() -> None:
    assert set(composed(**PASSWORD)["services"]) == set(RAW["services"])
    with_gpu = composed(MAIN, GPU, **PASSWORD)["services"]["crossfix"]
    assert with_gpu["image"] == "crossfix-serve-gpu:local"
    assert with_gpu["build"]["target"] == "serve-gpu"
    assert with_gpu["environment"]["CROSSFIX_DEVICE"] == "cuda"
    assert with_gpu["environment"]["CROSSFIX_QUEUE_LIMIT"] == "64"
    (device,) = with_gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_grafana_gets_no_password_that_anybody_could_guess() -> None:
    done = compose("config")
    assert done.returncode != 0
    assert "give one in .env" in done.stderr
    shown = composed(**PASSWORD)["services"]["grafana"]["environment"]
    assert shown["GF_SECURITY_ADMIN_PASSWORD"] == PASSWORD["GRAFANA_ADMIN_PASSWORD"]
    assert shown["GF_AUTH_ANONYMOUS_ENABLED"] == "false"


def test_a_second_reader_of_the_specification_accepts_what_compose_makes_of_it() -> None:
    spec = pytest.importorskip("compose_spec", reason="compose-spec is not installed")
    for files in ((MAIN,), (MAIN, GPU)):
        done = compose("config", *files, SERVICE_CPUSET="0-1", **PASSWORD)
        assert done.returncode == 0, done.stderr
        read = spec.PyCompose.from_yaml(done.stdout)
        assert set(read.service_names()) == set(RAW["services"])


def test_every_setting_is_listed_with_its_default() -> None:
    listed: dict[str, str | None] = RAW["x-settings"]
    assert set(listed) == {f"CROSSFIX_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        variable = f"CROSSFIX_{name.upper()}"
        written = listed[variable]
        if variable in FIXED:
            assert written == FIXED[variable]
        elif field.default is None:
            assert written is None, variable
        else:
            assert written is not None, f"{variable} would not be set"
            assert VARIABLE.fullmatch(written), written
            assert VARIABLE.findall(written)[0][0] == variable


def test_the_defaults_listed_are_the_services_own(monkeypatch) -> None:
    for name in list(os.environ):
        if name.startswith("CROSSFIX_"):
            monkeypatch.delenv(name)
    plain = Settings(encoder=PATHS["CROSSFIX_ENCODER"], gallery=PATHS["CROSSFIX_GALLERY"])
    for name, written in RAW["x-settings"].items():
        if written is not None:
            monkeypatch.setenv(name, with_defaults(written))
    assert Settings() == plain.model_copy(update={"host": "0.0.0.0"})


def test_every_setting_has_a_comment_above_it() -> None:
    lines = TEXT.splitlines()
    for name in RAW["x-settings"]:
        (row,) = [row for row, line in enumerate(lines) if line.startswith(f"  {name}:")]
        assert lines[row - 1].startswith("  # "), name


def test_the_example_names_every_variable_and_its_default(tmp_path) -> None:
    named = dict(re.findall(r"^#?([A-Z]\w*)=(.*)$", EXAMPLE, re.MULTILINE))
    unset = {name for name, written in RAW["x-settings"].items() if written is None}
    assert set(named) == set(variables()) | unset
    assert named.pop("GRAFANA_ADMIN_PASSWORD") == ""
    for name in unset:
        assert f"# Unset by default; for example:\n#{name}=" in EXAMPLE
    chosen = "\n".join(f"{name}={value}" for name, value in named.items() if name not in unset)
    (tmp_path / "env").write_text(f"GRAFANA_ADMIN_PASSWORD=for-this-test\n{chosen}\n")
    done = compose("config", env_file=tmp_path / "env")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout) == composed(**PASSWORD)


def test_paths_given_in_the_environment_reach_the_service() -> None:
    given = composed(**PASSWORD, CROSSFIX_KEYS="/data/keys/keys.json")["services"]["crossfix"]
    assert given["environment"]["CROSSFIX_KEYS"] == "/data/keys/keys.json"
    assert given["environment"]["CROSSFIX_KEEP_IMAGES"] is None


@pytest.mark.parametrize("name", RAW["services"])
def test_containers_can_do_little_and_take_little(name) -> None:
    service = RAW["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not with_defaults(service["user"]).startswith("0")
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["logging"]["options"]["max-size"]
    assert "privileged" not in service
    assert ":latest" not in service["image"]
    assert ("build" in service) == (name in BUILT)
    # Our images are in no registry: nobody's of the same name may be taken for them.
    assert service.get("pull_policy") == ("never" if name in OURS else None)


@pytest.mark.parametrize("name", RAW["services"])
def test_ports_are_open_to_this_machine_only(name) -> None:
    for port in RAW["services"][name].get("ports", []):
        assert with_defaults(port).startswith("127.0.0.1:"), port


@pytest.mark.parametrize("name", ["crossfix", "crossfix-ray", "prometheus", "grafana", "ray-head"])
def test_what_runs_is_looked_after(name) -> None:
    service = RAW["services"][name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", ["crossfix", "crossfix-ray"])
def test_a_stop_waits_until_requests_are_done(name) -> None:
    grace = with_defaults(RAW["services"][name]["stop_grace_period"])
    fields = Settings.model_fields
    assert (
        float(grace.removesuffix("s"))
        >= fields["drain_s"].default + fields["shutdown_s"].default + 5.0
    )


def test_profiles_keep_apart_what_is_not_always_wanted() -> None:
    profiles = {name: service.get("profiles") for name, service in RAW["services"].items()}
    assert [name for name, given in profiles.items() if not given] == [
        "crossfix", "prometheus", "grafana",
    ]  # fmt: skip
    assert {given[0] for given in profiles.values() if given} == {"index", "train", "keys", "ray"}


def test_ray_which_runs_any_code_asks_for_a_token_and_has_a_network_of_its_own() -> None:
    given = composed(**PASSWORD, RAY_AUTH_TOKEN="of-this-test")["services"]
    for name in ("ray-head", "ray-worker", "crossfix-ray"):
        assert given[name]["environment"]["RAY_AUTH_MODE"] == "token"
        assert given[name]["environment"]["RAY_AUTH_TOKEN"] == "of-this-test"
        assert not [port for port in given[name].get("ports", []) if ":8000" not in port]
    assert given["crossfix-ray"]["environment"]["CROSSFIX_QUEUE_LIMIT"] == "64"
    assert given["crossfix-ray"]["environment"]["CROSSFIX_ENGINE"] == "ray"
    assert RAW["networks"]["ray"] == {"internal": True}
    members = {name for name, one in RAW["services"].items() if "ray" in one.get("networks", [])}
    assert members == {"ray-head", "ray-worker", "crossfix-ray"}
    assert RAW["services"]["ray-worker"]["scale"] == 2


def test_the_base_of_a_build_and_pips_configuration_can_be_given() -> None:
    given = composed(**PASSWORD, PYTHON_IMAGE="a-base:1")["services"]
    secrets = yaml.safe_load(PIP.read_text(encoding="utf-8"))
    for name in BUILT:
        assert given[name]["build"]["args"] == {"PYTHON_IMAGE": "a-base:1"}
        assert secrets["services"][name]["build"]["secrets"] == list(secrets["secrets"])
    assert set(secrets["services"]) == BUILT
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for secret in secrets["secrets"]:
        assert f"--mount=type=secret,id={secret}," in dockerfile


def test_artifacts_are_mounted_for_reading_where_nothing_is_made() -> None:
    for name in ("crossfix", "crossfix-ray", "ray-worker"):
        for mount in RAW["services"][name]["volumes"]:
            assert with_defaults(mount).endswith(":ro"), mount


def test_what_is_mounted_from_this_folder_is_there() -> None:
    for service in RAW["services"].values():
        for mount in service.get("volumes", []):
            source = with_defaults(mount).partition(":")[0]
            if source.startswith(("./deploy", "./training", "./encoders")):
                assert (ROOT / source).exists(), source


def test_targets_and_folders_are_those_of_the_dockerfile() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.MULTILINE))
    for service in RAW["services"].values():
        if "build" in service:
            assert service["build"]["target"] in stages
            assert service["image"].startswith(f"crossfix-{service['build']['target']}:")
    # A volume takes the owner of the folder it is first mounted on; without one it is root's.
    owned = re.search(r"mkdir -p ((?:/\S+ ?)+)", dockerfile)
    assert owned
    for name in ("crossfix", "index", "train", "keys", "crossfix-ray"):
        for mount in RAW["services"][name]["volumes"]:
            source, target = with_defaults(mount).split(":")[:2]
            if source in RAW["volumes"]:
                assert target in owned.group(1).split(), f"the Dockerfile does not make {target}"
