"""The command line's words."""

import argparse
from pathlib import Path


def make_parser() -> argparse.ArgumentParser:
    """Every verb and option of `python -m index_builder`."""
    parser = argparse.ArgumentParser(
        prog="python -m index_builder",
        description="Turns georeferenced imagery into a gallery that photos are located in.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    build = verbs.add_parser("build", help="build a gallery version and make it live")
    _add_build_options(build)
    build.add_argument("--out", type=Path, required=True, metavar="GALLERY")
    build.add_argument("--keep", type=int, default=3, help="versions kept (default 3)")
    plan = verbs.add_parser("plan", help="what a build would cost; writes nothing")
    _add_build_options(plan)
    verify = verbs.add_parser("verify", help="check every file, vector and place of a gallery")
    verify.add_argument("--gallery", type=Path, required=True)
    verify.add_argument("--version", help="default: the live one")
    verify.add_argument("--encoder", type=Path, help="also embed a sample again and compare")
    verify.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    _add_evaluate(verbs.add_parser("evaluate", help="locate photos with known places"))
    rollback = verbs.add_parser("rollback", help="make an older version live again")
    rollback.add_argument("--gallery", type=Path, required=True)
    rollback.add_argument("--to", metavar="VERSION", help="default: the one before the live one")
    return parser


def _add_build_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoder", type=Path, required=True, help="encoder artifact")
    parser.add_argument(
        "--source",
        type=Path,
        action="append",
        required=True,
        dest="sources",
        metavar="FILE_OR_TABLE",
        help="a raster, or a CSV with file, lat, lon and size_m; may be repeated",
    )
    parser.add_argument(
        "--tile-size-m",
        type=float,
        metavar="M",
        help="side of a tile on the ground; a table may have its own",
    )
    parser.add_argument(
        "--overlap",
        type=float,
        default=0.5,
        metavar="F",
        help="share of the side shared with a neighbour (default 0.5)",
    )
    parser.add_argument("--attribution", default="", help="whom to credit for the imagery")
    parser.add_argument("--licence", default="", help="of the imagery")
    parser.add_argument("--date", default="", help="of the imagery, as ISO 8601")
    parser.add_argument(
        "--skip-unreadable",
        action="store_true",
        help="leave out images that cannot be read, and list them",
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="of the encoder on the CPU (default: all cores)"
    )
    parser.add_argument(
        "--readers", type=int, default=2, help="threads that read imagery (default 2)"
    )
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--gallery", type=Path, required=True)
    parser.add_argument(
        "--queries",
        type=Path,
        required=True,
        metavar="TABLE.csv",
        help="columns file, lat, lon; optional view, heading_deg, hfov_deg",
    )
    parser.add_argument(
        "--view",
        default="drone",
        choices=("drone", "ground"),
        help="of rows that name none (default drone)",
    )
    parser.add_argument("--images", type=Path, help="folder of the photos")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report there")
