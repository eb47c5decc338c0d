"""What towns are made of, as data: palettes, kinds of district, styles of town."""

from dataclasses import dataclass
from enum import Enum

Rgb = tuple[int, int, int]
Palette = tuple[Rgb, ...]
Range = tuple[float, float]


class Footprint(Enum):
    """How a parcel is built on."""

    HOUSE = "house"  # one house with a garden
    ROW = "row"  # narrow houses, small gardens
    SLAB = "slab"  # free-standing blocks of flats
    TOWER = "tower"  # towers, often on a podium
    DENSE = "dense"  # old-town houses filling their parcel
    HALL = "hall"  # factories and warehouses
    FARM = "farm"  # farmhouse and barns


@dataclass(frozen=True)
class DistrictKind:
    """How one kind of district divides and fills its land.

    Attributes:
        parcel_area_m2: what blocks are cut down to, roughly.
        coverage: share of a parcel under its building.
        floors: fewest and most.
        pitched_share: share of buildings with a pitched roof.
        trees_per_m2: scattered in parcels.
        max_footprint_m: longest and deepest building.
        yards: ground classes parcels are painted with; "lawn" is the district's own lawn.
        base: ground classes of the land between parcels.
        shop_share: share of buildings with shop fronts.
        facade: window pattern of `BuildingTable.facade`; None mixes 0 and 1.
    """

    footprint: Footprint
    parcel_area_m2: float
    coverage: Range
    floors: tuple[int, int]
    floor_height_m: float
    pitched_share: float
    trees_per_m2: float
    max_footprint_m: tuple[float, float]
    yards: tuple[str, ...]
    base: tuple[str, ...]
    shop_share: float = 0.08
    facade: int | None = None
    has_garden: bool = False


_GARDEN = ("lawn", "lawn", "lawn", "lawn", "lawn_a", "lawn_b", "lawn_c", "grass", "gravel")
_COURT = ("paving_a", "paving_b", "paving_c", "asphalt_c", "gravel", "lawn_b")
_YARD = ("asphalt_c", "paving_c", "gravel", "asphalt_a")

DISTRICT_KINDS: dict[str, DistrictKind] = {
    "old": DistrictKind(
        Footprint.DENSE, 400, (0.62, 0.92), (3, 5), 3.3, 0.75, 0.001, (28, 16),
        _COURT, ("paving_c", "asphalt_c", "paving_b"), shop_share=0.65,
    ),
    "house": DistrictKind(
        Footprint.HOUSE, 560, (0.22, 0.36), (1, 2), 2.9, 0.92, 0.0075, (16, 12),
        _GARDEN, ("lawn",), has_garden=True,
    ),
    "villa": DistrictKind(
        Footprint.HOUSE, 1150, (0.14, 0.24), (1, 3), 3.1, 0.7, 0.011, (22, 15),
        _GARDEN, ("lawn",), has_garden=True,
    ),
    "row": DistrictKind(
        Footprint.ROW, 320, (0.38, 0.5), (2, 3), 2.9, 0.85, 0.004, (14, 11),
        _GARDEN, ("lawn",), has_garden=True,
    ),
    "slab": DistrictKind(
        Footprint.SLAB, 2600, (0.26, 0.42), (4, 9), 2.9, 0.08, 0.004, (60, 15),
        ("lawn", "lawn", "lawn_a", "grass", "paving_c"), ("lawn",),
    ),
    "tower": DistrictKind(
        Footprint.TOWER, 2400, (0.3, 0.5), (7, 20), 3.4, 0.0, 0.002, (40, 32),
        ("paving_a", "paving_b", "paving_c", "lawn_a", "gravel"), ("paving_c", "asphalt_c"),
        shop_share=0.7, facade=3,
    ),
    "industry": DistrictKind(
        Footprint.HALL, 4200, (0.35, 0.6), (2, 3), 4.2, 0.12, 0.0006, (70, 50),
        _YARD, ("asphalt_c", "gravel", "paving_c"), shop_share=0.0, facade=2,
    ),
    "farm": DistrictKind(
        Footprint.FARM, 5200, (0.1, 0.2), (1, 2), 3.0, 0.95, 0.003, (34, 14),
        ("gravel", "grass", "meadow", "lawn"), ("grass", "meadow"), shop_share=0.0,
    ),
}  # fmt: skip

WALLS: dict[str, Palette] = {
    "plaster": ((222, 212, 192), (205, 190, 160), (230, 226, 218), (214, 184, 140),
                (226, 196, 160), (236, 214, 150), (190, 140, 120)),
    "brick": ((196, 120, 92), (170, 88, 70), (150, 110, 90), (188, 176, 164), (205, 190, 160),
              (160, 100, 84)),
    "concrete": ((168, 158, 150), (200, 206, 210), (176, 190, 180), (188, 176, 164),
                 (230, 226, 218), (150, 154, 160)),
    "timber": ((150, 78, 60), (206, 176, 96), (222, 218, 206), (120, 136, 140), (92, 84, 76),
               (176, 150, 116)),
    "glass": ((200, 206, 210), (140, 156, 170), (96, 106, 116), (176, 190, 180), (214, 208, 196),
              (120, 112, 104)),
}  # fmt: skip
TILES: dict[str, Palette] = {
    "clay": ((168, 82, 58), (186, 104, 72), (146, 70, 56), (150, 118, 96), (196, 120, 84)),
    "slate": ((96, 84, 82), (78, 80, 88), (70, 90, 84), (104, 104, 108)),
    "mixed": ((168, 82, 58), (146, 70, 56), (96, 84, 82), (78, 80, 88), (122, 98, 82),
              (108, 60, 54), (150, 118, 96), (70, 90, 84)),
}  # fmt: skip
FLATS: dict[str, Palette] = {
    "grey": ((150, 148, 144), (118, 118, 120), (186, 184, 178), (92, 94, 98), (206, 206, 204)),
    "mixed": ((150, 148, 144), (118, 118, 120), (186, 184, 178), (92, 94, 98), (170, 158, 140),
              (206, 206, 204), (120, 136, 112), (138, 120, 110)),
}  # fmt: skip


@dataclass(frozen=True)
class TownStyle:
    """The mix of one style of town.

    Attributes:
        districts: kinds from the centre outwards; spread over however many districts fit.
        park, sports, plaza, parking: shares of blocks used so.
        fields: share of blocks beyond `fields_from` (distance from the centre over the town's
            size) that are farmed.
        river_half_width_m: of the river, drawn from this range; `river_chance` that it exists.
        lake_chance: of a lake with a road around it.
        quays: whether streets run along the river.
        spacing_m: distance between parallel streets.
        missing_streets: share of street segments left out.
        walls, tiles, flats: names of palettes districts choose from.
        relief: height of the hills relative to ordinary ones.
    """

    name: str
    districts: tuple[str, ...]
    park: float = 0.07
    sports: float = 0.03
    plaza: float = 0.03
    parking: float = 0.02
    fields: float = 0.45
    fields_from: float = 0.62
    river_chance: float = 0.6
    river_half_width_m: Range = (16, 32)
    lake_chance: float = 0.12
    quays: bool = False
    spacing_m: Range = (75, 175)
    missing_streets: float = 0.22
    walls: tuple[str, ...] = ("plaster", "brick", "concrete", "timber")
    tiles: tuple[str, ...] = ("clay", "slate", "mixed")
    flats: tuple[str, ...] = ("grey", "mixed")
    relief: float = 1.0


_STYLES = (
    TownStyle(
        "mixed",
        ("old", "tower", "old", "slab", "row", "slab", "row", "house", "industry", "house", "row",
         "villa", "industry", "house"),
        river_chance=1.0,
    ),
    TownStyle(
        "suburb",
        ("row", "slab", "house", "villa", "row", "house", "house", "villa", "industry", "house"),
        park=0.08, sports=0.04, plaza=0.02, fields=0.3, river_chance=0.35, lake_chance=0.3,
        spacing_m=(70, 150), relief=1.3,
    ),
    TownStyle(
        "old_town",
        ("old", "old", "old", "row", "old", "row", "slab", "house"),
        park=0.05, plaza=0.08, sports=0.02, fields=0.25, fields_from=0.7, river_chance=0.7,
        quays=True, spacing_m=(60, 120), missing_streets=0.14, walls=("plaster", "brick"),
        tiles=("clay", "mixed", "slate"),
    ),
    TownStyle(
        "high_rise",
        ("tower", "tower", "slab", "tower", "tower", "old", "slab", "row"),
        park=0.08, plaza=0.06, parking=0.05, fields=0.15, fields_from=0.75, river_chance=0.4,
        spacing_m=(90, 180), missing_streets=0.15, walls=("concrete", "glass", "brick"), relief=0.6,
    ),
    TownStyle(
        "industry",
        ("industry", "slab", "row", "industry", "industry", "house", "industry", "slab"),
        park=0.04, plaza=0.02, parking=0.08, fields=0.35, river_chance=0.5, quays=True,
        spacing_m=(110, 220), missing_streets=0.25, walls=("concrete", "brick"), relief=0.5,
    ),
    TownStyle(
        "farmland",
        ("row", "farm", "house", "farm", "house", "villa", "farm", "farm"),
        park=0.04, sports=0.03, plaza=0.01, parking=0.01, fields=0.8, fields_from=0.26,
        river_chance=0.5, river_half_width_m=(5, 12), lake_chance=0.2, spacing_m=(110, 240),
        missing_streets=0.34, walls=("plaster", "timber", "brick"), relief=1.6,
    ),
    TownStyle(
        "waterside",
        ("old", "row", "tower", "villa", "house", "slab", "villa", "row", "house"),
        park=0.08, plaza=0.05, fields=0.3, river_chance=0.8, river_half_width_m=(26, 50),
        lake_chance=0.75, quays=True, walls=("plaster", "timber", "concrete"), relief=0.7,
    ),
)  # fmt: skip

TOWN_STYLES: dict[str, TownStyle] = {style.name: style for style in _STYLES}
