"""Folders that everything read must lie in, for imagery that somebody else named.

What a file names in turn counts as well: rows of a table, lines of a list, links, and what GDAL
would open beside or because of a raster. Web sources are refused.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossfix.errors import SourceError

# Formats whose pixels lie in the file itself. HFA, NITF and the like may name other files.
PLAIN_DRIVERS = (
    "GTiff", "PNG", "JPEG", "WEBP", "JP2OpenJPEG", "JP2ECW", "JP2KAK", "JP2MrSID", "ECW", "MrSID",
)  # fmt: skip
# Formats that only point elsewhere. GDAL also opens overviews and masks by itself, with any driver
# it knows; so it shall not know these. It must be told before the first raster is opened.
_POINTING_DRIVERS = (
    "VRT", "DERIVED", "GTI", "WMS", "WCS", "WMTS", "HTTP", "STACIT", "STACTA", "PLMOSAIC", "EEDA",
    "EEDAI", "MRF", "TIL", "RPFTOC", "ECRGTOC", "ESRIC", "KMLSUPEROVERLAY", "Rasterlite", "OZI",
    "DIMAP", "SENTINEL2", "SAFE", "RS2", "TSX", "CPHD", "NGW", "WFS", "OAPIF", "Elasticsearch",
)  # fmt: skip
_NOWHERE = "127.0.0.1:9"  # the discard port: a proxy that never answers
_GDAL_SETTINGS = {
    "GDAL_SKIP": ",".join(_POINTING_DRIVERS),
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "nothing",
    "GDAL_HTTP_PROXY": _NOWHERE,
    "GDAL_HTTPS_PROXY": _NOWHERE,
    "GDAL_HTTP_TIMEOUT": "1",
}
# What GDAL looks for beside a raster.
_ADDED = (
    ".aux.xml", ".AUX.XML", ".ovr", ".OVR", ".msk", ".MSK", ".aux", ".AUX", ".xml", ".ovr.msk",
    ".msk.ovr", ".ovr.aux.xml", ".msk.aux.xml",
)  # fmt: skip
_EXCHANGED = (
    ".aux", ".tfw", ".tifw", ".tiffw", ".wld", ".jgw", ".jpgw", ".jpegw", ".pgw", ".pngw", ".j2w",
    ".jp2w", ".rrd", ".ovr", ".prj", ".tab", ".imd", ".rpb", ".rpc", ".eph", ".att", ".geo", ".rpj",
    ".til", ".pvl", ".txt", "_rpc.txt", "_RPC.TXT", "_metadata.txt", "_MTL.txt", ".hdr", ".xml",
)  # fmt: skip
_OVERVIEWS = "OVERVIEWS"  # the tags that name an overview file
_WEB_HINT = "give files or folders that lie inside"


@dataclass(frozen=True)
class Confinement:
    """Which files may be opened; picklable.

    Attributes:
        roots: folders; empty allows everything.
    """

    roots: tuple[Path, ...] = ()

    @classmethod
    def of(cls, roots: tuple[Path, ...]) -> "Confinement":
        """With links in the folders' own paths followed."""
        return cls(tuple(root.resolve() for root in roots))

    def __bool__(self) -> bool:
        return bool(self.roots)

    def check(self, path: Path) -> Path:
        """The path as it is, if nothing of it leads out.

        Raises:
            SourceError: it does; the sentence is the same whether or not there is a file.
        """
        if self.roots and not self._holds(path):
            raise SourceError(
                f"{path} leads out of the folders that may be read",
                hint="name files inside of them; links are followed and count as what they show",
            )
        return path

    def _holds(self, path: Path) -> bool:
        try:
            real = path.resolve()
        except (OSError, RuntimeError, ValueError):  # a loop of links, a zero byte
            return False
        return any(real.is_relative_to(root) for root in self.roots)

    def refuse_web(self, location: str) -> None:
        """Refuses addresses.

        Raises:
            SourceError: the location is one.
        """
        if self.roots and "://" in location:
            raise SourceError(
                f"source {location.partition('?')[0]} is an address, and only some folders may "
                "be read",
                hint=_WEB_HINT,
            )

    def check_raster(self, path: Path) -> None:
        """The file, and what GDAL would open beside it.

        Raises:
            SourceError: one of them leads out.
        """
        self.check(path)
        if not self.roots:
            return
        text = os.path.splitext(path)[0]
        beside = [f"{path}{ending}" for ending in _ADDED]
        beside += [f"{text}{form}" for ending in _EXCHANGED for form in (ending, ending.upper())]
        for name in beside:
            if os.path.islink(name):
                self.check(Path(name))

    def check_opened(self, dataset: Any) -> None:  # noqa: ANN401 - rasterio has no types
        """What an opened raster says it would read besides itself; before anything is read.

        Raises:
            SourceError: an overview, a mask or another file of it leads out.
        """
        if not self.roots:
            return
        if "OVERVIEW_FILE" in dataset.tags(ns=_OVERVIEWS):  # of any format, and anywhere
            raise SourceError(
                f"{dataset.name} names another file as its overviews",
                hint="put overviews inside the raster or beside it, with gdaladdo",
            )
        dataset.overviews(1)  # now GDAL has looked for them, and names their files
        for name in dataset.files:
            self.check(Path(name))


ANYWHERE = Confinement()


def confine_gdal() -> None:
    """Takes from GDAL, in this process, what points elsewhere and what asks the network.

    Works only before the first raster is opened; `Confinement` holds without it, except for
    overviews and masks of formats that point elsewhere.
    """
    os.environ.update(_GDAL_SETTINGS)
