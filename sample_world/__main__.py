"""Command line: `python -m sample_world render | contact-sheet`."""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from crossfix.errors import CrossfixError
from sample_world.contact_sheet import draw_contact_sheet
from sample_world.dataset import DatasetPlan, render_dataset
from sample_world.photos import PhotoKind, PhotoSettings
from sample_world.town import build_town

_log = logging.getLogger("sample_world")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 when the product exists, 1 on failure, 2 on wrong usage.
    """
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        return _render(options) if options.command == "render" else _draw_sheet(options)
    except CrossfixError as error:
        print(f"error: {error}" + (f"; {error.hint}" if error.hint else ""), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; nothing was written", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _render(options: argparse.Namespace) -> int:
    started = time.monotonic()
    low, high = options.panorama_elevation_deg
    plan = DatasetPlan(
        photo_counts={
            PhotoKind.PANORAMA: options.panoramas,
            PhotoKind.STREET: options.street,
            PhotoKind.DRONE: options.drone,
        },
        photos=PhotoSettings(
            panorama_px=options.panorama_px,
            photo_px=options.photo_px,
            supersample=options.supersample,
            panorama_elevation_deg=(low, high),
            random_heading=options.random_heading,
        ),
        gsd_m=options.gsd_m,
        satellite_compression=options.satellite_compression,
        workers=options.workers,
    )
    scene = build_town(options.seed, size_m=options.size_m, style=options.style)
    _log.info("town: %.1f s, %d faces", time.monotonic() - started, len(scene.static.faces))
    render_dataset(scene, plan, options.out, overwrite=options.overwrite)
    _log.info("%s: %.1f s in all", options.out, time.monotonic() - started)
    return 0


def _draw_sheet(options: argparse.Namespace) -> int:
    count = draw_contact_sheet(
        options.data, options.out, patch_m=options.patch_m, per_kind=options.per_kind
    )
    _log.info("%s: %d photos", options.out, count)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sample_world", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_render(commands.add_parser("render", help="render a town as a data set"))
    sheet = commands.add_parser("contact-sheet", help="draw photos beside their satellite patches")
    sheet.add_argument("--data", type=Path, required=True, help="a rendered data set")
    sheet.add_argument("--out", type=Path, required=True, help="picture to write")
    sheet.add_argument("--patch-m", type=_positive_float, default=100.0)
    sheet.add_argument("--per-kind", type=_positive_int, default=12)
    options = parser.parse_args(arguments)
    if options.command == "render":
        low, high = options.panorama_elevation_deg
        if not -90 <= low < high <= 90:
            parser.error("--panorama-elevation-deg: want -90 <= LOW < HIGH <= 90")
        if options.photo_px < 16 or options.panorama_px < 16 or options.panorama_px % 2:
            parser.error("--photo-px, --panorama-px: want 16 or more, panoramas an even number")
        if options.gsd_m > options.size_m / 16:
            parser.error("--gsd-m: too coarse for the town's size")
    return options


def _add_render(render: argparse.ArgumentParser) -> None:
    render.add_argument("--seed", type=_count, required=True, help="a seed is a town")
    render.add_argument("--size-m", type=_positive_float, required=True, help="side of the town")
    render.add_argument("--out", type=Path, required=True, help="directory to make")
    render.add_argument("--style", default=None, help="kind of town; drawn from the seed if absent")
    render.add_argument("--panoramas", type=_count, default=24)
    render.add_argument("--street", type=_count, default=24)
    render.add_argument("--drone", type=_count, default=24)
    render.add_argument("--gsd-m", type=_positive_float, default=0.5, help="satellite resolution")
    render.add_argument("--panorama-px", type=_positive_int, default=1024, help="width")
    render.add_argument("--photo-px", type=_positive_int, default=512, help="width")
    render.add_argument("--supersample", type=_positive_int, default=2, help="rays: its square")
    render.add_argument("--workers", type=_positive_int, default=2, help="processes")
    render.add_argument(
        "--panorama-elevation-deg",
        type=float,
        nargs=2,
        default=(-90.0, 90.0),
        metavar=("LOW", "HIGH"),
        help="rows beyond are filled, not rendered",
    )
    render.add_argument(
        "--random-heading",
        action="store_true",
        help="panoramas: centre column in a random direction, not north",
    )
    render.add_argument("--satellite-compression", choices=("jpeg", "deflate"), default="jpeg")
    render.add_argument("--overwrite", action="store_true", help="replace DIR")


def _positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _positive_int(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


def _count(text: str) -> int:
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return int(text)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as for ctrl-C
    sys.exit(main())
