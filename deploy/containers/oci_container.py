"""A container of an image's files, run by runc as strictly as an operator should run it.

The root is read-only, `/tmp` is the only place to write, no capability is left, no process may
gain any, and the program is process 1. The network is the machine's.
"""

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

MOUNTS = [
    ("/proc", "proc", ["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
    ("/tmp", "tmpfs", ["nosuid", "nodev", "mode=1777"]),
]


class OciContainer:
    """One container; `start`, `run_inside`, then `stop`."""

    def __init__(self, bundle: Path, name: str) -> None:
        self.bundle, self.name = bundle, name
        self.log = bundle / "log"
        self._process: subprocess.Popen | None = None

    def start(
        self,
        image: dict,
        root: Path,
        *,
        env: Mapping[str, str],
        folders: Mapping[str, tuple[Path, str]],
        arguments: list[str],
    ) -> None:
        """Starts the image's entry point; `folders` maps a place inside to (folder, ro or rw)."""
        binds = [
            (inside, "bind", ["rbind", mode], str(folder.resolve()))
            for inside, (folder, mode) in folders.items()
        ]
        mounts = [(*mount, mount[1]) for mount in MOUNTS] + binds
        uid, _, gid = image["User"].partition(":")
        changed = {name: f"{name}={value}" for name, value in env.items()}
        kept = [line for line in image["Env"] if line.partition("=")[0] not in changed]
        specification = {
            "ociVersion": "1.0.2",
            "root": {"path": str(root), "readonly": True},
            "process": {
                "user": {"uid": int(uid), "gid": int(gid or uid)},
                "args": [*image["Entrypoint"], *arguments],
                "env": [*kept, *changed.values()],
                "cwd": image.get("WorkingDir") or "/",
                "noNewPrivileges": True,
                "capabilities": {},
            },
            "mounts": [
                {"destination": to, "type": kind, "source": source, "options": options}
                for to, kind, options, source in mounts
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
        }
        text = json.dumps(specification, indent=1)
        (self.bundle / "config.json").write_text(text, encoding="utf-8")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._runc(), "run", "--bundle", str(self.bundle), self.name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def is_running(self) -> bool:
        """Whether the program has not ended."""
        return self._process is not None and self._process.poll() is None

    def run_inside(self, *command: str) -> subprocess.CompletedProcess:
        """Runs a command beside the program, as its user and with its environment."""
        return subprocess.run(
            [*self._runc(), "exec", self.name, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def wait(self, patience_s: float) -> int:
        """The program's exit status, once it ends."""
        assert self._process is not None
        return self._process.wait(patience_s)

    def stop(self, patience_s: float) -> tuple[int, float]:
        """Sends SIGTERM; the exit status, and how long the end took in seconds."""
        began = time.monotonic()
        subprocess.run([*self._runc(), "kill", self.name, "TERM"], check=True)
        return self.wait(patience_s), time.monotonic() - began

    def remove(self) -> None:
        """Ends it at once if it still runs."""
        subprocess.run(
            [*self._runc(), "delete", "--force", self.name], check=False, capture_output=True
        )

    def _runc(self) -> list[str]:
        return ["runc", "--root", str(self.bundle / "state")]
