"""ONNX Runtime's wheels report to their maker unless a variable is set before they are imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = "from crossfix.encoder import Encoder"
LOAD = "import sys; Encoder.load(Path(sys.argv[1]), device='cpu')"
TRAINING = "import training.export.precision"


def stored(tmp_path: Path, *imports: str) -> list[str]:
    """Files that a process leaves in its home after loading an encoder."""
    names = ("XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    code = "\n".join(("from pathlib import Path", *imports, LOAD))
    subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "encoders" / "demo")],
        cwd=ROOT, check=True, env=environment | {"HOME": str(tmp_path)},
    )  # fmt: skip
    return [path.name for path in tmp_path.rglob("onnxruntime*") if path.is_file()]


@pytest.mark.parametrize("imports", [(OURS,), (TRAINING, OURS)], ids=["crossfix", "training"])
def test_nothing_is_collected(tmp_path, imports) -> None:
    assert stored(tmp_path, *imports) == []


def test_a_users_own_choice_stands() -> None:
    code = "import crossfix, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, check=True, capture_output=True, text=True,
        env=os.environ | {"ORT_DISABLE_TELEMETRY": "0"},
    )  # fmt: skip
    assert told.stdout == "0\n"
