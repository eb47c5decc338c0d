"""The command line's words."""

import argparse
from pathlib import Path
from typing import get_args

from crossfix.view import QUERY_VIEWS
from index_builder.sources.spec import SourceKind

INDEX_KINDS = {
    "auto": "auto",
    "exact": "exact_f16",
    "ivf-pq": "ivf_pq_fastscan",
    "ivf-rabitq": "ivf_rabitq",
    "gpu-flat": "gpu_flat_f16",
    "gpu-cagra": "gpu_cagra",
}
_EXAMPLES = """\
examples:
  python -m index_builder plan  --encoder encoders/demo --source ortho.tif --tile-size-m 96
  python -m index_builder build --encoder encoders/demo --source ortho.tif --tile-size-m 96 \\
      --out gallery --attribution "who made it" --licence CC-BY-4.0
  python -m index_builder update  --encoder encoders/demo --gallery gallery
  python -m index_builder inspect --gallery gallery --out coverage

docs/galleries.md is the guide.
"""


def make_parser() -> argparse.ArgumentParser:
    """Every verb and option of `python -m index_builder`."""
    parser = argparse.ArgumentParser(
        prog="python -m index_builder",
        description="Turns georeferenced imagery into a gallery that photos are located in.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    plan = verbs.add_parser("plan", help="what a build would cost; writes nothing")
    _add_encoder(plan)
    _add_recipe(plan)
    _add_running(plan)
    build = verbs.add_parser("build", help="build a gallery version and make it live")
    _add_encoder(build)
    build.add_argument("--out", type=Path, required=True, metavar="GALLERY", help="its folder")
    _add_recipe(build)
    _add_running(build)
    _add_publishing(build)
    build.add_argument("--shards", type=int, default=1, metavar="N",
                       help="geographic parts for several machines (default 1)")  # fmt: skip
    _add_started_by_a_program(build)
    _add_update(verbs.add_parser("update", help="change the live version, embed what changed"))
    _add_verify(verbs.add_parser("verify", help="check every file, vector and place of a gallery"))
    _add_inspect(verbs.add_parser("inspect", help="what is in a gallery; map and footprints"))
    _add_evaluate(verbs.add_parser("evaluate", help="locate photos with known places"))
    rollback = verbs.add_parser("rollback", help="make an older version live again")
    _add_gallery(rollback)
    rollback.add_argument("--to", metavar="VERSION", help="default: the one before the live one")
    _add_gallery(verbs.add_parser("versions", help="list the versions of a gallery"))
    return parser


def _add_encoder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoder", type=Path, required=True, metavar="DIR",
                        help="encoder artifact")  # fmt: skip


def _add_gallery(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gallery", type=Path, required=True, metavar="GALLERY")


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    """What the gallery is made of; None where nothing was said, to tell it from a default."""
    what = parser.add_argument_group("what it is made of")
    what.add_argument("--recipe", type=Path, metavar="YAML", help="instead of all of the below")
    what.add_argument("--source", action="append", dest="sources", metavar="LOCATION",
                      help="raster, folder or list of rasters, folder of z/x/y tiles, .mbtiles, "
                      ".pmtiles, table of images, or address with {z}, {x}, {y}; repeatable",
                      )  # fmt: skip
    what.add_argument("--tile-size-m", type=float, action="append", dest="tile_sizes_m",
                      metavar="M", help="side of a tile on the ground; repeated: a pyramid",
                      )  # fmt: skip
    what.add_argument("--overlap", type=float, metavar="SHARE",
                      help="of the side, shared with a neighbour (default 0.5)")  # fmt: skip
    what.add_argument("--area", type=Path, metavar="GEOJSON", help="only tiles that touch it")
    _add_imagery(parser)
    _add_search(parser)


def _add_imagery(parser: argparse.ArgumentParser) -> None:
    about = parser.add_argument_group("about the imagery, where it does not say so itself")
    about.add_argument("--attribution", metavar="TEXT", help="whom to credit")
    about.add_argument("--licence", metavar="TEXT", help="for example CC-BY-4.0")
    about.add_argument("--date", metavar="DATE", help="as ISO 8601")
    about.add_argument("--kind", choices=get_args(SourceKind), help="default auto: by looking")
    about.add_argument("--zoom", type=int, metavar="Z", help="level of a tile set that is read")
    about.add_argument("--requests-per-s", type=float, metavar="N",
                       help="asked of a tile server (default 2)")  # fmt: skip
    about.add_argument("--cache", metavar="DIR", help="for tiles of a server")


def _add_search(parser: argparse.ArgumentParser) -> None:
    search = parser.add_argument_group("how it is searched")
    search.add_argument("--index", choices=INDEX_KINDS, help="default auto: by size and memory")
    search.add_argument("--recall", type=float, metavar="SHARE",
                        help="of the ten best tiles that are found (default 0.99)")  # fmt: skip
    search.add_argument("--index-memory-gb", type=float, metavar="GB",
                        help="what the searching machine may spend on it")  # fmt: skip


def _add_running(parser: argparse.ArgumentParser) -> None:
    running = parser.add_argument_group("how it is run")
    running.add_argument("--skip-unreadable", action="store_true",
                         help="leave out images that cannot be read, and list them")  # fmt: skip
    running.add_argument("--threads", type=int, default=0, metavar="N",
                         help="of the encoder on the CPU (default: all cores)")  # fmt: skip
    running.add_argument("--readers", type=int, default=2, metavar="N",
                         help="threads that read imagery (default 2)")  # fmt: skip
    running.add_argument("--batch-size", type=int, default=16, metavar="N",
                         help="tiles in a run on a GPU (default 16)")  # fmt: skip
    _add_device(running)
    running.add_argument("--engine", choices=("local", "ray"), default="local",
                         help="this machine (default), or a Ray cluster")  # fmt: skip
    running.add_argument("--ray-address", default="", metavar="ADDRESS",
                         help="of the cluster's head; default: one on this machine")  # fmt: skip
    running.add_argument("--workers", type=int, default=0, metavar="N",
                         help="of the cluster (default: as many as it has room for)")  # fmt: skip


def _add_device(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")


def _add_started_by_a_program(parser: argparse.ArgumentParser) -> None:
    program = parser.add_argument_group("for programs that start this one")
    program.add_argument("--progress", choices=("human", "json"), default="human",
                         help="json: one object a line on stdout, and nothing else there"
                         )  # fmt: skip
    program.add_argument("--within", type=Path, action="append", default=[], metavar="DIR",
                         help="everything that is read must lie in one of these folders, links "
                         "followed, and nothing comes over a network; repeatable")  # fmt: skip
    program.add_argument("--stop-with-stdin", action="store_true",
                         help="end when standard input does")  # fmt: skip


def _add_publishing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", type=int, default=3, metavar="N",
                        help="versions kept, the new one included (default 3)")  # fmt: skip


def _add_update(parser: argparse.ArgumentParser) -> None:
    _add_encoder(parser)
    _add_gallery(parser)
    change = parser.add_argument_group(
        "changes", "without any, the recorded sources are read again for what has changed"
    )
    change.add_argument("--changes", type=Path, metavar="YAML",
                        help="instead of all of the below: add, remove, retire, restore, area, "
                        "everywhere, index, reread")  # fmt: skip
    change.add_argument("--add-source", action="append", default=[], dest="sources",
                        metavar="LOCATION", help="as --source of build; repeatable")  # fmt: skip
    change.add_argument("--remove-source", action="append", default=[], metavar="NAME",
                        help="as `inspect` lists them; repeatable")  # fmt: skip
    change.add_argument("--retire", type=Path, action="append", default=[], metavar="GEOJSON",
                        help="drop tiles whose centre lies inside; repeatable")  # fmt: skip
    change.add_argument("--restore", action="store_true", help="forget what was retired before")
    area = change.add_mutually_exclusive_group()
    area.add_argument("--area", type=Path, metavar="GEOJSON", help="another area of interest")
    area.add_argument("--everywhere", action="store_true", help="no area of interest any more")
    change.add_argument("--reread", action="store_true",
                        help="compare pixels even of files that look unchanged")  # fmt: skip
    _add_imagery(parser)
    _add_search(parser)
    _add_running(parser)
    _add_publishing(parser)
    parser.add_argument("--shards", type=int, default=0, metavar="N",
                        help="cut a sharded gallery anew, into so many (default: as it is)"
                        )  # fmt: skip
    _add_started_by_a_program(parser)


def _add_verify(parser: argparse.ArgumentParser) -> None:
    _add_gallery(parser)
    parser.add_argument("--version", help="default: the live one")
    parser.add_argument("--encoder", type=Path, metavar="DIR",
                        help="also embed a sample again and compare")  # fmt: skip
    _add_device(parser)


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    _add_gallery(parser)
    parser.add_argument("--version", help="default: the live one")
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="write coverage.png and footprints.geojson there")  # fmt: skip
    parser.add_argument("--limit", type=int, default=200_000, metavar="N",
                        help="with more tiles than this, footprints.geojson holds the outline of "
                        "each source (default 200000)")  # fmt: skip


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    _add_encoder(parser)
    _add_gallery(parser)
    parser.add_argument("--queries", type=Path, required=True, metavar="TABLE",
                        help="CSV, Parquet or GeoJSON with file, lat, lon; optional view, "
                        "heading_deg, hfov_deg")  # fmt: skip
    parser.add_argument("--view", default="drone", choices=QUERY_VIEWS,
                        help="of rows that name none (default drone)")  # fmt: skip
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of the photos")
    parser.add_argument("--k", type=int, nargs="+", default=[1, 5, 10], metavar="K",
                        help="places counted as found (default 1 5 10)")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report here, too")
    _add_device(parser)
