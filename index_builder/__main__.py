"""`python -m index_builder plan|build|update|verify|inspect|evaluate|rollback|versions`."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from crossfix.encoder import Encoder
from crossfix.errors import CrossfixError, InvalidParameter
from crossfix.gallery import Gallery
from crossfix.gallery_versions import rollback
from crossfix.manifest import write_json_atomic
from crossfix.sharded_gallery import ShardedGallery
from crossfix.sharded_gallery_manifest import is_sharded
from index_builder.arguments import make_parser
from index_builder.build import BuildReport, build_gallery
from index_builder.evaluation.evaluate import evaluate_gallery, read_queries
from index_builder.forecast import forecast_build
from index_builder.from_arguments import build_request, update_request
from index_builder.inspection.inspect_gallery import Inspection, count_sources, summarise_versions
from index_builder.lifeline import stop_with_stdin
from index_builder.pieces import verify_pieces
from index_builder.progress_display import ProgressDisplay
from index_builder.progress_events import ProgressEvents, tell_problem, tell_report
from index_builder.screens.building import build_screen, plan_screen
from index_builder.screens.evaluation import evaluate_screen
from index_builder.screens.looking import inspect_screen, verify_screen, versions_screen
from index_builder.screens.text import lines
from index_builder.sources.confinement import confine_gdal
from index_builder.update import update_gallery


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 0 when the asked-for thing exists, 1 on failure, 2 on wrong usage."""
    arguments = make_parser().parse_args(words)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)  # it is raised, too
    told = getattr(arguments, "progress", "human")
    if getattr(arguments, "within", []):
        confine_gdal()
    if getattr(arguments, "stop_with_stdin", False):
        stop_with_stdin()
    try:
        said = _VERBS[arguments.verb](arguments)
        if told == "human":
            print(said)
    except (CrossfixError, OSError, KeyboardInterrupt) as problem:
        if told == "json":
            tell_problem(problem)
        return _complain(problem)
    return 0


def _complain(problem: BaseException) -> int:
    """One line on stderr; gives the exit code."""
    if isinstance(problem, CrossfixError):
        hint = f" ({problem.hint})" if problem.hint else ""
        print(f"python -m index_builder: {problem}{hint}", file=sys.stderr)
        return 2 if isinstance(problem, InvalidParameter) else 1
    interrupted = isinstance(problem, KeyboardInterrupt)
    reason = "interrupted; nothing was made live" if interrupted else str(problem)
    print(f"python -m index_builder: {reason}", file=sys.stderr)
    return 1


def _plan(arguments: argparse.Namespace) -> str:
    return plan_screen(forecast_build(build_request(arguments, out=Path("."))))


def _build(arguments: argparse.Namespace) -> str:
    request = build_request(arguments, out=arguments.out)
    return _follow(arguments, partial(build_gallery, request))


def _update(arguments: argparse.Namespace) -> str:
    request = update_request(arguments)
    return _follow(arguments, partial(update_gallery, request))


def _follow(arguments: argparse.Namespace, make: Callable[..., BuildReport]) -> str:
    """Builds while telling of it; the screen at the end is empty where programs listen."""
    if arguments.progress == "json":
        with ProgressEvents() as events:
            tell_report(make(on_progress=events, step=events.step))
        return ""
    with ProgressDisplay() as display:
        report = make(on_progress=display, step=display.step)
    per_source = count_sources(report.gallery, report.version)
    return build_screen(report, arguments.encoder, per_source)


def _verify(arguments: argparse.Namespace) -> str:
    encoder = (
        Encoder.load(arguments.encoder, device=arguments.device) if arguments.encoder else None
    )
    report = verify_pieces(arguments.gallery, arguments.version, encoder)
    return verify_screen(arguments.gallery, report)


def _inspect(arguments: argparse.Namespace) -> str:
    inspection = Inspection(arguments.gallery, arguments.version)
    summary = inspection.summarise()
    screen = inspect_screen(summary)
    if arguments.out is None:
        return screen
    written = inspection.write(arguments.out, limit=arguments.limit, summary=summary)
    features = f"{written.footprints} ({written.features:,} features)"
    return f"{screen}\n\n{lines([('map', str(written.map)), ('geojson', features)])}"


def _evaluate(arguments: argparse.Namespace) -> str:
    queries = read_queries(arguments.queries, arguments.images, arguments.view)
    encoder = Encoder.load(arguments.encoder, device=arguments.device)
    with ExitStack() as opened:
        gallery: Gallery | ShardedGallery
        if is_sharded(arguments.gallery):
            gallery = opened.enter_context(ShardedGallery.open(arguments.gallery, strict=True))
        else:
            gallery = Gallery.open(arguments.gallery)
        report = evaluate_gallery(encoder, gallery, queries, ks=arguments.k)
    screen = evaluate_screen(report)
    if arguments.json is None:
        return screen
    write_json_atomic(arguments.json, report)
    return f"{screen}\n\nreport    {arguments.json}"


def _rollback(arguments: argparse.Namespace) -> str:
    version = rollback(arguments.gallery, arguments.to)
    return lines([("gallery", f"{arguments.gallery}"), ("live", version)])


def _versions(arguments: argparse.Namespace) -> str:
    return versions_screen(summarise_versions(arguments.gallery))


_VERBS = {
    "plan": _plan,
    "build": _build,
    "update": _update,
    "verify": _verify,
    "inspect": _inspect,
    "evaluate": _evaluate,
    "rollback": _rollback,
    "versions": _versions,
}

if __name__ == "__main__":
    sys.exit(main())
