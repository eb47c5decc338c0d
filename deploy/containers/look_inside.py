"""Runs inside a container and prints what is there, as one JSON object."""

import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

COMPILERS = ("gcc", "g++", "cc", "c++", "clang", "ld", "as", "make", "rustc", "pip", "git")
MUST_BE_CLOSED = ("/", "/etc", "/opt/code", "/opt/crossfix", "/home", "/var/tmp", "/data")


def may_write(folder: str) -> bool:
    """Whether a file can be made there."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def missing_libraries(packages: Path) -> list[str]:
    """Shared libraries that some wheel needs and nothing in the image has."""
    files = [path for path in packages.rglob("*.so*") if path.is_file()]
    command = ["ldd", *(str(path) for path in files)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    unfound = {line.split()[0] for line in said.splitlines() if "not found" in line}
    # Wheels load their own libraries by path before what needs them, which ldd cannot know.
    return sorted(unfound - {path.name for path in files})


def status_of_process_1() -> dict[str, str]:
    """`/proc/1/status` as a table."""
    lines = Path("/proc/1/status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def licences() -> list[str]:
    """Names of the licence files that lie beside our code."""
    files = importlib.metadata.distribution("crossfix").files or []
    beside = {Path(str(file.locate())).parent for file in files if file.name == "METADATA"}
    return sorted(path.name for folder in beside for path in (folder / "licenses").glob("*"))


def main() -> None:
    """Prints it."""
    process = status_of_process_1()
    found = {
        "uid": int(process["Uid"].split()[0]),
        "gid": int(process["Gid"].split()[0]),
        "capabilities": int(process["CapBnd"], 16),
        "resident_mb": round(int(process.get("VmRSS", "0 kB").split()[0]) / 1000),
        "program": Path("/proc/1/cmdline").read_text(encoding="utf-8").split("\0")[:-1],
        "writable": [place for place in MUST_BE_CLOSED if may_write(place)],
        "tmp_writable": may_write("/tmp"),
        "torch": importlib.util.find_spec("torch") is not None,
        "programs": [name for name in COMPILERS if shutil.which(name)],
        "setuid_possible": process["NoNewPrivs"] == "0",
        "packages": {
            one.metadata["Name"].lower().replace("_", "-").replace(".", "-"): one.version
            for one in importlib.metadata.distributions()
        },
        "licences": licences(),
        "reports": sorted(map(str, Path("/tmp").rglob("onnxruntime.db"))),
        "missing_libraries": missing_libraries(Path(sysconfig.get_path("purelib"))),
    }
    sys.stdout.write(json.dumps(found))


main()
