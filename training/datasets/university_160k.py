"""The 160k challenge of University-1652: masked drone photos against 160,000 satellite images."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from crossfix.view import ViewSpec
from training.datasets.cards import folder_of
from training.datasets.folder import DataFolder
from training.datasets.image_files import ImageFiles

GALLERY, QUERIES, QUERY_LIST = "gallery_satellite_160k", "query_drone_160k", "query_drone_name.txt"
PARTS = ("test", ".")  # the archive is unpacked beside or into the test data


@dataclass(frozen=True)
class Challenge160k:
    """What an answer is made for.

    Attributes:
        queries: drone photos in the order of the list, which is that of the answer's lines.
        gallery: satellite images by name; an answer names them without their endings.
    """

    queries: ImageFiles
    gallery: ImageFiles

    def stems(self) -> list[str]:
        """The gallery's names as an answer has them."""
        return [PurePosixPath(name).stem for name in self.gallery.names]


def open_challenge(root: Path, *, drone: ViewSpec, satellite: ViewSpec) -> Challenge160k:
    """The name-masked test set: a list of photos, and two flat folders.

    Raises:
        DataError: a part is missing, or a listed photo is.
    """
    folder = folder_of("university1652", root)
    part = next((part for part in PARTS if folder.has(f"{part}/{QUERY_LIST}")), PARTS[0])
    names = [line.strip() for line in folder.lines(f"{part}/{QUERY_LIST}")]
    files = {PurePosixPath(name).stem: name for name in folder.image_names(f"{part}/{QUERIES}")}
    # Lists with and without endings are both understood.
    photos = [f"{part}/{QUERIES}/{files.get(PurePosixPath(name).stem, name)}" for name in names]
    folder.require(photos)
    return Challenge160k(folder.images(photos, drone), _gallery(folder, part, satellite))


def _gallery(folder: DataFolder, part: str, spec: ViewSpec) -> ImageFiles:
    names = folder.image_names(f"{part}/{GALLERY}")
    if not names:
        raise folder.missing(f"{part}/{GALLERY}")
    return folder.images([f"{part}/{GALLERY}/{name}" for name in names], spec)
