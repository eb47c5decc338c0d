"""What inspect, verify and versions say."""

from collections.abc import Sequence
from pathlib import Path

from crossfix.gallery_manifest import GalleryManifest
from index_builder.inspection.inspect_gallery import GallerySummary, SourceSummary, VersionSummary
from index_builder.screens.text import (
    INDEX_NAMES,
    area_text,
    index_text,
    lines,
    sides_text,
    size_text,
    table,
    wrapped,
)
from index_builder.verify import VerifyReport


def inspect_screen(summary: GallerySummary) -> str:
    """One version on one screen."""
    manifest, box = summary.manifest, summary.manifest.bounds
    live = "live" if summary.is_live else "not live"
    count = f"{summary.versions} version{'s' if summary.versions != 1 else ''} kept"
    sides = sides_text(manifest.tile_sizes_m)
    overlap = f", overlap {manifest.overlap:g}" if summary.has_grid else ""
    pieces = f", in {summary.shards} shards" if summary.shards > 1 else ""
    head = [
        ("gallery", f"{summary.root}"),
        ("version", f"{manifest.version} ({live}; {count})"),
        ("made", f"{manifest.created} by version {manifest.builder_revision}, encoder "
                 f"{manifest.encoder_name} (space {manifest.embedding_space_id})"),
        ("tiles", f"{manifest.tile_count:,}{pieces}, sides {sides}{overlap}"),
        ("ground", f"{'' if summary.area_is_exact else 'at most '}{area_text(summary.area_km2)}, "
                   f"lon {box.west:.6f} to {box.east:.6f}, lat {box.south:.6f} to {box.north:.6f}"),
        ("index", index_text(manifest.index)),
        ("files", _files(manifest)),
    ]  # fmt: skip
    return "\n\n".join([lines(head), *(_source(one) for one in summary.sources)])


def _files(manifest: GalleryManifest) -> str:
    """Bytes by file; of shards, files of one name together."""
    sizes: dict[str, int] = {}
    for name, entry in manifest.files.items():
        short = name.rpartition("/")[2]
        sizes[short] = sizes.get(short, 0) + entry.size_bytes
    each = (f"{name} {size_text(size)}" for name, size in sizes.items())
    return f"{size_text(sum(sizes.values()))}\n{wrapped(each)}"


def _source(source: SourceSummary) -> str:
    sizes = source.sizes_m
    if len(sizes) <= 6:
        tiles = ", ".join(f"{count:,} of {size:g} m" for size, count in sizes.items())
    else:
        tiles = f"{source.tiles:,} of {min(sizes):g} to {max(sizes):g} m"
    return lines(
        [
            ("source", source.info.name),
            ("", f"{source.info.kind or 'unknown kind'}, {source.info.crs}"),
            ("", source.location),
            ("tiles", tiles or "none"),
            ("credit", "\n".join(filter(None, source.attributions)) or "nobody is named"),
            ("licence", "\n".join(filter(None, source.licences)) or "not said"),
            ("date", " to ".join(source.dates) or "not said"),
        ]
    )


def versions_screen(versions: Sequence[VersionSummary]) -> str:
    """All versions, the live one marked."""
    rows = []
    for one in versions:
        mark, manifest = "live" if one.is_live else "", one.manifest
        if manifest is None:
            rows.append((one.name, mark, "its manifest cannot be read", "", "", ""))
            continue
        size_bytes = sum(entry.size_bytes for entry in manifest.files.values())
        rows.append(
            (
                one.name, mark, manifest.created, f"{manifest.tile_count:,}",
                size_text(size_bytes), INDEX_NAMES.get(manifest.index.kind, manifest.index.kind),
            )
        )  # fmt: skip
    return table(("version", "", "made", "tiles", "size", "index"), rows, left=3)


def verify_screen(gallery: Path, report: VerifyReport) -> str:
    """What was checked."""
    sample = report.sample_cosine
    return lines(
        [
            ("gallery", f"{gallery}"),
            ("version", f"{report.version}: sound"),
            ("tiles", f"{report.tiles:,} from {report.sources} source(s), "
                      f"{size_text(report.bytes)}"),
            ("norms", f"1 within {report.max_norm_error:.1e}"),
            ("sample", "" if sample is None else
             f"median cosine {sample:.3f} to {_sample_text(report)}"),
            ("note", "\n".join(report.notes)),
        ]
    )  # fmt: skip


def _sample_text(report: VerifyReport) -> str:
    if report.sample_reread:
        return f"{report.sample_reread} tiles read from their sources and embedded again"
    return "the stored pictures embedded again"
