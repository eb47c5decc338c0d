"""The rows of the building table, collected while buildings go up."""

from typing import NamedTuple

import numpy as np

from sample_world.scene import BuildingTable


class BuildingRow(NamedTuple):
    """One building, in the order and units of :class:`BuildingTable`."""

    base_z_m: float
    height_m: float
    floor_height_m: float
    window_pitch_m: float
    window_width_share: float
    window_height_share: float
    has_shop: bool
    cladding: int
    facade: int


class BuildingLedger:
    """Hands out building ids and remembers their rows."""

    def __init__(self) -> None:
        self._rows: list[BuildingRow] = []

    def __len__(self) -> int:
        return len(self._rows)

    def register(self, row: BuildingRow) -> int:
        """Add a building; its id is its row."""
        self._rows.append(row)
        return len(self._rows) - 1

    def build(self) -> BuildingTable:
        """All rows as columns."""
        columns = np.array(self._rows, np.float32).reshape(-1, len(BuildingRow._fields)).T
        base, height, floor, pitch, width, tall = (np.array(column) for column in columns[:6])
        return BuildingTable(
            base_z_m=base,
            height_m=height,
            floor_height_m=floor,
            window_pitch_m=pitch,
            window_width_share=width,
            window_height_share=tall,
            has_shop=columns[6] > 0,
            cladding=columns[7].astype(np.uint8),
            facade=columns[8].astype(np.uint8),
        )
