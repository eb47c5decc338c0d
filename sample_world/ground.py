"""Ground classes: what the surface of a town can be made of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GroundClass:
    """One kind of surface: its colour (0..255 sRGB), how mottled it is, and whether it grows."""

    name: str
    rgb: tuple[int, int, int]
    mottle: float
    is_green: bool = False


GROUND_CLASSES: tuple[GroundClass, ...] = (
    GroundClass("grass", (104, 124, 62), 0.30, is_green=True),
    GroundClass("meadow", (136, 138, 76), 0.35, is_green=True),
    GroundClass("lawn_a", (92, 128, 56), 0.18, is_green=True),
    GroundClass("lawn_b", (118, 136, 66), 0.20, is_green=True),
    GroundClass("lawn_c", (132, 130, 80), 0.25, is_green=True),
    GroundClass("soil", (128, 104, 76), 0.25),
    GroundClass("asphalt_a", (92, 92, 96), 0.12),
    GroundClass("asphalt_b", (76, 77, 80), 0.12),
    GroundClass("asphalt_c", (112, 108, 104), 0.12),
    GroundClass("sidewalk", (168, 164, 156), 0.10),
    GroundClass("paving_a", (186, 172, 150), 0.12),
    GroundClass("paving_b", (160, 138, 120), 0.14),
    GroundClass("paving_c", (140, 142, 146), 0.10),
    GroundClass("white", (232, 232, 226), 0.06),
    GroundClass("yellow", (226, 186, 60), 0.06),
    GroundClass("water", (52, 82, 96), 0.10),
    GroundClass("sand", (206, 188, 142), 0.12),
    GroundClass("track", (168, 82, 60), 0.08),
    GroundClass("court_blue", (62, 104, 150), 0.06),
    GroundClass("court_green", (60, 122, 84), 0.06),
    GroundClass("pitch", (84, 138, 52), 0.12, is_green=True),
    GroundClass("pool", (92, 178, 204), 0.05),
    GroundClass("gravel", (176, 166, 150), 0.22),
    GroundClass("hedge", (58, 84, 40), 0.25, is_green=True),
    GroundClass("field_a", (170, 156, 92), 0.20),
    GroundClass("field_b", (120, 128, 60), 0.20, is_green=True),
    GroundClass("path", (190, 176, 148), 0.12),
    GroundClass("bike_lane", (158, 84, 72), 0.08),
    GroundClass("deck", (150, 118, 86), 0.10),
)

CLASS_ID: dict[str, int] = {entry.name: index for index, entry in enumerate(GROUND_CLASSES)}
