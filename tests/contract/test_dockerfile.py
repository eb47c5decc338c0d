"""The Dockerfile and what a build is given, without building: linted, pinned, small, no secrets."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = ("serve", "serve-gpu", "ray", "index", "train")
SERVING = ("serve", "serve-gpu", "ray")
RECIPE = re.compile(r"requirements_of\.py pyproject\.toml (.+) > ([\w-]+)\.txt")


def stages() -> dict[str, str]:
    """Name of each stage and its text."""
    parts = re.split(r"^FROM \S+ AS ([\w-]+)$", DOCKERFILE, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def extras() -> dict[str, list[str]]:
    """The extras that each image is made of."""
    return {target: words.split() for words, target in RECIPE.findall(DOCKERFILE)}


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps `path` from the build; the last rule that fits decides."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        rule = line.removeprefix("!")
        if rule and not rule.startswith("#") and _fits(path, rule):
            verdict = not line.startswith("!")
    return verdict


def _fits(path: str, rule: str) -> bool:
    pattern = re.escape(rule).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    return re.fullmatch(f"{pattern}(?:/.*)?", path) is not None


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("hadolint is not installed (extra `dev`)")
    done = subprocess.run(
        [program, "--no-color", "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_last_stage_is_the_service() -> None:
    assert list(stages())[-1] == "serve"
    assert set(TARGETS) <= set(stages())


def test_every_image_is_pinned_by_constraints_of_its_own() -> None:
    assert set(extras()) == set(TARGETS)
    for target, names in extras().items():
        assert set(names) <= set(PYPROJECT["optional-dependencies"]), target
        assert f"COPY constraints/{target}.txt " in stages()[f"{target}-packages"]
        assert (ROOT / "constraints" / f"{target}.txt").is_file()


@pytest.mark.parametrize("target", TARGETS)
def test_the_constraints_pin_all_that_an_image_asks_for(target) -> None:
    text = (ROOT / "constraints" / f"{target}.txt").read_text(encoding="utf-8")
    pinned = set(re.findall(r"^([\w.-]+)==", text, flags=re.MULTILINE))
    wanted = [*PYPROJECT["dependencies"]]
    for extra in extras()[target]:
        wanted += PYPROJECT["optional-dependencies"][extra]
    for requirement in wanted:
        name = re.match(r"[\w.-]+", requirement)[0].lower()
        assert name in pinned, f"{name} of {target}"


def test_only_the_training_image_may_hold_torch() -> None:
    for target in TARGETS:
        text = (ROOT / "constraints" / f"{target}.txt").read_text(encoding="utf-8")
        assert ("\ntorch==" in text) == (target == "train"), target


def test_nobody_is_root_and_nothing_runs_as_root_afterwards() -> None:
    assert stages()["runtime"].rstrip().endswith("USER 10001:10001")
    assert DOCKERFILE.count("\nUSER ") == 1


def test_no_library_reports_to_its_maker() -> None:
    assert "ORT_DISABLE_TELEMETRY=1" in stages()["runtime"]
    assert "RAY_USAGE_STATS_ENABLED=0" in stages()["ray"]


def test_the_licences_travel_in_the_layer_of_our_code() -> None:
    copied = re.search(r"^COPY (pyproject\.toml .+) \./$", stages()["code"], flags=re.MULTILINE)
    assert copied is not None
    assert {"LICENSE", "NOTICE", "THIRD_PARTY_LICENCES.md"} <= set(copied[1].split())
    # setuptools puts LICENSE and NOTICE beside the package's metadata by itself.
    assert "cp THIRD_PARTY_LICENCES.md /opt/code/crossfix-*.dist-info/licenses/" in DOCKERFILE


def test_the_base_keeps_debians_licences() -> None:
    script = (ROOT / "deploy" / "containers" / "build.sh").read_text(encoding="utf-8")
    assert "find usr/share/doc -type f ! -name copyright -delete" in script
    assert "usr/share/doc/*" not in script


@pytest.mark.parametrize("target", TARGETS)
def test_our_code_is_the_last_layer_and_the_packages_the_one_before(target) -> None:
    copies = re.findall(r"^COPY (.+)$", stages()[target], flags=re.MULTILINE)
    assert copies == [
        f"--from={target}-packages /opt/crossfix /opt/crossfix",
        "--from=code /opt/code /opt/code",
    ]
    assert "RUN" not in stages()[target]


def test_volumes_that_are_written_to_belong_to_the_images_user() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    written = set(re.findall(r"_VOLUME:-\w+\}:(/data/\w+)", compose))
    made = re.search(r"mkdir -p (.+) \\\n.+chown -R 10001:10001 /data$", DOCKERFILE, re.MULTILINE)
    assert written
    assert made is not None
    assert written <= set(made[1].split())


def test_only_services_have_a_health_check() -> None:
    based = {name: base for base, name in re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.M)}
    assert [name for name, base in based.items() if base == "service-runtime"] == [
        "serve-gpu",
        "ray",
        "serve",
    ]
    assert "HEALTHCHECK" in stages()["service-runtime"]
    assert DOCKERFILE.count("HEALTHCHECK") == 1


def test_the_images_name_themselves() -> None:
    for target in TARGETS:
        assert f'image.title="crossfix-{target}"' in stages()[target]


def test_no_index_and_no_address_is_written_down() -> None:
    for path in (ROOT / "deploy" / "containers").iterdir():
        if path.is_file():
            assert "://" not in path.read_text(encoding="utf-8").replace("file://", ""), path
    assert "://" not in DOCKERFILE
    assert "PIP_INDEX" not in DOCKERFILE  # an ARG stays in the history of what it builds


def test_a_build_is_sent_what_it_copies_and_no_more() -> None:
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, flags=re.MULTILINE):
        for path in line.split():
            assert not ignored(path), path
            assert (ROOT / path).exists(), path
    for path in (
        ".git/config",
        "keys.json",
        "gallery/CURRENT.json",
        "tests/unit/x.py",
        ".venv/x",
        "encoders/demo/encoder.onnx",
        "service/__pycache__/app.pyc",
        "docs/demo.png",
    ):
        assert ignored(path), path
