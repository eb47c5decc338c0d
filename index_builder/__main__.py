"""`python -m index_builder build|plan|verify|evaluate|rollback`."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossfix.encoder import Encoder
from crossfix.errors import CrossfixError, InvalidParameter
from crossfix.gallery import Gallery
from crossfix.manifest import write_json_atomic
from index_builder.arguments import make_parser
from index_builder.build import BuildReport, BuildRequest, build_gallery
from index_builder.evaluate import evaluate_gallery, read_queries
from index_builder.forecast import forecast_build
from index_builder.progress_display import ProgressDisplay
from index_builder.publish import rollback
from index_builder.recipe import GalleryRecipe
from index_builder.sources.spec import SourceSpec
from index_builder.verify import verify_gallery

_LISTED_UNREADABLE = 20


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 0 when the asked-for thing exists, 1 on failure, 2 on wrong usage."""
    arguments = make_parser().parse_args(words)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)  # it is raised, too
    verbs = {
        "build": _build,
        "plan": _plan,
        "verify": _verify,
        "evaluate": _evaluate,
        "rollback": _rollback,
    }
    try:
        verbs[arguments.verb](arguments)
    except CrossfixError as problem:
        hint = f" ({problem.hint})" if problem.hint else ""
        print(f"python -m index_builder: {problem}{hint}", file=sys.stderr)
        return 2 if isinstance(problem, InvalidParameter) else 1
    except OSError as problem:
        print(f"python -m index_builder: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("python -m index_builder: interrupted; nothing was made live", file=sys.stderr)
        return 1
    return 0


def _request(arguments: argparse.Namespace, out: Path, keep: int) -> BuildRequest:
    return BuildRequest(
        encoder_dir=arguments.encoder,
        recipe=GalleryRecipe(
            sources=tuple(
                SourceSpec(
                    location=str(path),
                    attribution=arguments.attribution,
                    licence=arguments.licence,
                    date=arguments.date,
                )
                for path in arguments.sources
            ),
            tile_sizes_m=() if arguments.tile_size_m is None else (arguments.tile_size_m,),
            overlap=arguments.overlap,
        ),
        out=out,
        keep=keep,
        skip_unreadable=arguments.skip_unreadable,
        readers=arguments.readers,
        threads=arguments.threads,
        device=arguments.device,
        batch_size=arguments.batch_size,
    )


def _build(arguments: argparse.Namespace) -> None:
    with ProgressDisplay() as display:
        report = build_gallery(
            _request(arguments, arguments.out, arguments.keep), on_progress=display
        )
    _print_build(report)


def _print_build(report: BuildReport) -> None:
    manifest, stats = report.manifest, report.stats
    megabytes = sum(entry.size_bytes for entry in manifest.files.values()) / 1e6
    left_out = f"{stats.empty_tiles} more than half empty"
    if stats.unreadable:
        left_out += f", {len(stats.unreadable)} unreadable"
        for line in stats.unreadable[:_LISTED_UNREADABLE]:
            print(f"skipped   {line}")
        if len(stats.unreadable) > _LISTED_UNREADABLE:
            print(f"skipped   ... and {len(stats.unreadable) - _LISTED_UNREADABLE} more")
    box = manifest.bounds
    print(
        f"gallery   {report.gallery}\n"
        f"version   {report.directory}\n"
        f"tiles     {manifest.tile_count} of {report.planned_tiles} planned ({left_out})\n"
        f"sides     {', '.join(f'{size:g} m' for size in manifest.tile_sizes_m)}\n"
        f"bounds    lon {box.west:.6f} .. {box.east:.6f}, lat {box.south:.6f} .. {box.north:.6f}\n"
        f"vectors   {manifest.embedding_dim} numbers each, by {manifest.encoder_name}\n"
        f"size      {megabytes:.1f} MB\n"
        f"time      {stats.seconds:.1f} s, {stats.tiles_per_s:.1f} tiles/s, encoder busy "
        f"{stats.encoder_busy_share:.0%}"
    )
    if report.removed_versions:
        print(f"removed   {', '.join(report.removed_versions)}")


def _plan(arguments: argparse.Namespace) -> None:
    forecast = forecast_build(_request(arguments, Path("."), keep=3))
    print(
        f"tiles     at most {forecast.tiles}\n"
        f"area      about {forecast.area_km2:.3f} km2\n"
        f"size      up to {forecast.gallery_bytes / 1e6:.1f} MB, "
        f"{forecast.peak_bytes / 1e6:.1f} MB while building\n"
        f"time      about {forecast.minutes:.2f} minutes "
        f"(measured on {forecast.sampled_tiles} tiles)"
    )


def _verify(arguments: argparse.Namespace) -> None:
    encoder = (
        Encoder.load(arguments.encoder, device=arguments.device) if arguments.encoder else None
    )
    report = verify_gallery(arguments.gallery, version=arguments.version, encoder=encoder)
    print(
        f"gallery   {arguments.gallery}\n"
        f"version   {report.version}: sound\n"
        f"tiles     {report.tiles} from {report.sources} source(s), {report.bytes / 1e6:.1f} MB\n"
        f"norms     1 within {report.max_norm_error:.1e}"
    )
    if report.sample_cosine is not None:
        print(f"sample    median cosine {report.sample_cosine:.3f} to the embedded pictures")


def _evaluate(arguments: argparse.Namespace) -> None:
    queries = read_queries(arguments.queries, arguments.images, arguments.view)
    encoder = Encoder.load(arguments.encoder, device=arguments.device)
    gallery = Gallery.open(arguments.gallery)
    report = evaluate_gallery(encoder, gallery, queries)
    for name, part in {**report["views"], "all": report["all"]}.items():
        _print_part(name, part)
    if arguments.json:
        write_json_atomic(arguments.json, report)
        print(f"report    {arguments.json}")


def _print_part(name: str, part: dict[str, Any]) -> None:
    print(
        f"{name}: {part['queries']:.0f} queries, {part['gallery']:.0f} tiles, "
        f"{part['queries_without_tile']} without a right tile, {part['refused']} refused"
    )
    for k in (1, 5, 10):
        print(f"  R@{k:<3} {part[f'recall_at_{k}']:.3f}   (chance {part[f'chance_at_{k}']:.3f})")
    for row in ("top1", "estimate"):
        if part[f"{row}_median_m"] is not None:
            print(
                f"  {row:<9} median {part[f'{row}_median_m']:.1f} m, "
                f"90 % within {part[f'{row}_p90_m']:.1f} m"
            )


def _rollback(arguments: argparse.Namespace) -> None:
    version = rollback(arguments.gallery, arguments.to)
    print(f"gallery   {arguments.gallery}\nlive      {json.dumps(version)}")


if __name__ == "__main__":
    sys.exit(main())
