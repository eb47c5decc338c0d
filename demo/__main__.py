"""Runs the whole loop once: render, build, serve, ask, show."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from demo.answer import Answer, TruePhoto, ask, describe, read_photos
from demo.picture import draw_answers
from demo.service_process import ServiceFailed, free_port, running_service

ROOT = Path(__file__).resolve().parent.parent
TILE_SIZE_M = "96"  # what the demo encoder was trained on
STARTED = time.monotonic()


def main() -> int:
    """Parses the command line and runs the demo; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop after the answers")
    parser.add_argument("--seed", type=int, default=7, help="which unseen town (default 7)")
    parser.add_argument("--size-m", type=float, default=700.0, help="side of the town")
    parser.add_argument("--style", default="mixed", help="style of the town")
    parser.add_argument("--encoder", type=Path, default=ROOT / "encoders" / "demo")
    parser.add_argument("--out", type=Path, default=ROOT / "demo" / "out")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    for stop in (signal.SIGINT, signal.SIGTERM):  # either way the service must not stay behind
        signal.signal(stop, signal.default_int_handler)
    try:
        return run(arguments)
    except (ServiceFailed, subprocess.CalledProcessError) as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
        return 0


def run(arguments: argparse.Namespace) -> int:
    """The five steps, each announced with the time since the start."""
    out: Path = arguments.out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    town, gallery = out / "town", out / "gallery"
    _step(1, f"rendering town {arguments.seed}, which the encoder has never seen")
    _call(
        "sample_world",
        "render",
        "--seed",
        str(arguments.seed),
        "--size-m",
        f"{arguments.size_m:g}",
        "--style",
        arguments.style,
        "--out",
        str(town),
        "--panoramas",
        "2",
        "--street",
        "1",
        "--drone",
        "2",
    )
    _step(2, "building its gallery")
    _call(
        "index_builder",
        "build",
        "--encoder",
        str(arguments.encoder),
        "--source",
        str(town / "satellite.tif"),
        "--tile-size-m",
        TILE_SIZE_M,
        "--overlap",
        "0.5",
        "--out",
        str(gallery),
        "--attribution",
        "Crossfix sample world",
    )
    _step(3, "starting the service")
    port = free_port(arguments.port)
    with running_service(arguments.encoder, gallery, port=port, log=out / "service.log") as url:
        _step(4, f"asking {url}/localize about a street panorama and a drone photo")
        answers = [ask(url, photo, k=5) for photo in _one_of_each(town)]
        print("\n".join(describe(answer) for answer in answers))
        _step(5, f"drawing {out / 'answers.png'}")
        draw_answers(url, answers, out / "answers.png")
        _finish(url, answers, out, once=arguments.once)
    return 0


def _one_of_each(town: Path) -> list[TruePhoto]:
    photos = read_photos(town)
    return [next(photo for photo in photos if photo.kind == kind) for kind in ("panorama", "drone")]


def _call(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], check=True, cwd=ROOT)


def _step(number: int, text: str) -> None:
    print(f"[{time.monotonic() - STARTED:5.1f} s] {number}/5 {text}", flush=True)


def _finish(url: str, answers: list[Answer], out: Path, *, once: bool) -> None:
    print(f"\npicture   {out / 'answers.png'}\nservice   {url}  (page, /docs, /metrics)")
    photo = answers[0].photo
    print(
        f"try       curl -s --data-binary @{os.path.relpath(photo.path)} -H 'Content-Type: "
        f"image/jpeg' '{url}/localize?view=ground&heading_deg=0&hfov_deg=360&k=3'"
    )
    if once:
        return
    print("Ctrl-C stops the service.", flush=True)
    signal.pause()


if __name__ == "__main__":
    sys.exit(main())
