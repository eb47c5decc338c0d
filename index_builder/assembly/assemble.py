"""From part files to the tiles, vectors and pictures of a version, in Morton order."""

from dataclasses import dataclass
from pathlib import Path

from crossfix.gallery_manifest import BoundsModel
from index_builder.assembly.bounds import find_bounds
from index_builder.assembly.gathering import Gatherer
from index_builder.assembly.keys import read_keys
from index_builder.assembly.writing import PICTURE_GROUP_ROWS, VersionWriter
from index_builder.embedding.part_file import open_part

_CHUNK_ROWS = 16 * PICTURE_GROUP_ROWS  # about 30 MB of pictures


@dataclass(frozen=True)
class Assembled:
    """What the manifest says about the rows."""

    tile_count: int
    content_hash: str
    bounds: BoundsModel
    tile_sizes_m: list[float]


def assemble_version(parts_directory: Path, parts: int, directory: Path) -> Assembled:
    """Writes vectors, tiles, pictures and the list of left-out tiles.

    In memory are the keys of all tiles (about 100 bytes each) and one chunk of rows; everything
    else is copied from file to file, near places together, as part files hold them.

    Args:
        parts: files 0..parts-1, known to be whole; at least one tile in all.
        directory: exists and is empty.

    Raises:
        SourceError: two tiles have the same id.
    """
    keys = read_keys(parts_directory, parts)
    order = keys.morton_order()
    gatherer = Gatherer(parts_directory)
    with VersionWriter(directory) as writer:
        for start in range(0, len(order), _CHUNK_ROWS):
            chunk = order[start : start + _CHUNK_ROWS]
            writer.add(gatherer.gather(keys.part[chunk], keys.row[chunk]))
        for number in range(parts):
            writer.add_left_out(open_part(parts_directory, number))
        content_hash = writer.content.hexdigest()
    return Assembled(
        tile_count=len(keys),
        content_hash=content_hash,
        bounds=find_bounds(*keys.boxes),
        tile_sizes_m=keys.sizes_m,
    )
