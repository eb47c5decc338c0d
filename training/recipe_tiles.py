"""Where training takes its satellite tiles from, where that is not the file as it is."""

from typing import Self

from pydantic import Field, model_validator

from crossfix.manifest import StrictModel


class TileCrop(StrictModel):
    """A centred square cut out of every training tile before it is resized (Cai et al., ICCV 2019).

    Its side is drawn uniformly; small ones are not used, and the tile stays whole.

    Attributes:
        least_px, most_px: of the side, in pixels of the file, both included.
        used_above_px: only longer sides are cut out.
    """

    least_px: int = Field(ge=1)
    most_px: int = Field(ge=1)
    used_above_px: int = Field(ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.least_px > self.most_px:
            raise ValueError("data.tile_crop.least_px is more than data.tile_crop.most_px")
        return self


class PolarTiles(StrictModel):
    """Satellite tiles read from files that are polar already (`python -m training polar-tiles`).

    A tile's polar file has the same path but for one folder's name and the suffix. The plain
    tiles must be there as well: they are listed, and the encoder is exported for them.

    Attributes:
        tile_folder: the folder in the tile's path, e.g. `bingmap`.
        polar_folder: what stands there in the polar file's path, e.g. `polarmap`; more than one
            folder is written `a/b`.
        suffix: of the polar files, with its dot.
    """

    tile_folder: str = Field(min_length=1, pattern=r"^[^/]+$")
    polar_folder: str = Field(min_length=1)
    suffix: str = Field(pattern=r"^\.\w+$")

    def path_of(self, tile: str) -> str | None:
        """The polar file of a tile's file, both with forward slashes; None without the folder."""
        *folders, name = tile.split("/")
        if self.tile_folder not in folders:
            return None
        at = folders.index(self.tile_folder)
        stem = name.rpartition(".")[0] or name
        return "/".join([*folders[:at], self.polar_folder, *folders[at + 1 :], stem + self.suffix])
