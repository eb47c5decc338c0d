"""What plan, build and update say."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from index_builder.build import BuildReport
from index_builder.forecast import Forecast
from index_builder.screens.text import (
    INDEX_NAMES,
    area_text,
    index_text,
    lines,
    sides_text,
    size_text,
    table,
    time_text,
    wrapped,
)

LISTED_UNREADABLE = 20


def plan_screen(forecast: Forecast) -> str:
    """What a build would cost."""
    header = ("source", "kind", "size", "tiles", "ground")
    rows = [
        (row.name, row.kind, sides_text(row.sizes_m), f"{row.tiles:,}", area_text(row.area_km2))
        for row in forecast.rows
    ]
    if len(rows) > 1:
        rows.append(("in all", "", "", f"{forecast.tiles:,}", area_text(forecast.area_km2)))
    return (
        table(header, rows, left=3)
        + "\n\n"
        + lines(
            [
                ("tiles", f"at most {forecast.tiles:,}; those more than half empty are left out"),
                (
                    "time",
                    f"about {time_text(forecast.seconds)} ({forecast.sampled_tiles} tiles tried: "
                    f"{forecast.read_s * 1000:.1f} ms to read, {forecast.encode_s * 1000:.1f} ms "
                    "to encode one)",
                ),
                ("memory", f"up to {size_text(forecast.memory_bytes)}"),
                (
                    "disk",
                    f"{size_text(forecast.gallery_bytes)} for the gallery, "
                    f"{size_text(forecast.peak_bytes)} while building",
                ),
                ("index", _kinds_text(forecast)),
            ]
        )
    )


def _kinds_text(forecast: Forecast) -> str:
    names = [INDEX_NAMES.get(kind, kind) for kind in forecast.index_kinds]
    if len(names) == 1:
        return names[0]
    return f"{names[0]}; or {', '.join(names[1:])}, where it does not pay"


def build_screen(report: BuildReport, encoder_dir: Path, per_source: dict[str, int]) -> str:
    """What a build or an update did, and what to type next.

    Args:
        per_source: tiles by source.
    """
    manifest, stats = report.manifest, report.stats
    if not report.published:
        return lines(
            [
                ("gallery", f"{report.gallery}"),
                ("version", f"{report.version} stays live: nothing has changed"),
                ("tiles", f"{manifest.tile_count:,}"),
            ]
        )
    size_bytes = sum(entry.size_bytes for entry in manifest.files.values())
    box = manifest.bounds
    rate = f", {stats.tiles_per_s:.1f} tiles/s" if stats.embedded else ""
    return lines(
        [
            *_unreadable_rows(stats.unreadable),
            ("gallery", f"{report.gallery}"),
            ("version", f"{report.version}, live"),
            ("tiles", _tiles_text(report)),
            ("", _came_from(report)),
            ("shards", _shards_text(report)),
            ("sources", wrapped(f"{name} {count:,}" for name, count in per_source.items())),
            ("sides", sides_text(manifest.tile_sizes_m)),
            ("bounds",
             f"lon {box.west:.6f} to {box.east:.6f}, lat {box.south:.6f} to {box.north:.6f}"),
            ("index", index_text(manifest.index)),
            ("size", f"{size_text(size_bytes)}, vectors of {manifest.embedding_dim} numbers by "
                     f"{manifest.encoder_name}"),
            ("time", f"{time_text(stats.seconds)} of embedding{rate}, encoder busy "
                     f"{stats.encoder_busy_share:.0%}"),
            ("removed", ", ".join(report.removed_versions)),
            ("next", f"python -m index_builder inspect --gallery {quote(str(report.gallery))} "
                     "--out coverage"),
            ("", f"python -m service --encoder {quote(str(encoder_dir))} "
                 f"--gallery {quote(str(report.gallery))}"),
        ]
    )  # fmt: skip


def _shards_text(report: BuildReport) -> str:
    if report.shards == 1:
        return ""
    if report.changes is None:
        return f"{report.shards}"
    written = report.shards - report.kept_shards
    return f"{report.shards}: {written} written anew, {report.kept_shards} as they were"


def _tiles_text(report: BuildReport) -> str:
    stats = report.stats
    left_out = [f"{stats.empty_tiles:,} more than half empty"]
    if stats.unreadable:
        left_out.append(f"{len(stats.unreadable):,} unreadable")
    return (
        f"{report.manifest.tile_count:,} of {report.planned_tiles:,} planned "
        f"({', '.join(left_out)})"
    )


def _came_from(report: BuildReport) -> str:
    stats, changes = report.stats, report.changes
    said = []
    if changes is not None:
        said = [f"{changes.embedded:,} embedded", f"{changes.reused:,} taken from the old version",
                f"{changes.added:,} new, {changes.retired:,} gone"]  # fmt: skip
    if stats.resumed:
        said.append(f"{stats.resumed:,} from the interrupted build")
    return "; ".join(said)


def _unreadable_rows(unreadable: Sequence[str]) -> list[tuple[str, str]]:
    rows = [("skipped", line) for line in unreadable[:LISTED_UNREADABLE]]
    if len(unreadable) > LISTED_UNREADABLE:
        rows.append(("skipped", f"... and {len(unreadable) - LISTED_UNREADABLE:,} more"))
    return rows
