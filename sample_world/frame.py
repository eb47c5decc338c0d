"""Turned rectangles: a local frame on the ground and the box that fits a polygon best."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import ArrayLike
from shapely import Polygon
from shapely.geometry.base import BaseGeometry

from sample_world.scene import Float64

_CORNERS = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])


@dataclass(frozen=True)
class Frame:
    """A place and a direction on the ground.

    Attributes:
        x, y: origin, metres.
        angle_rad: of the local x axis, counter-clockwise from east.
    """

    x: float
    y: float
    angle_rad: float

    def to_town(self, local: ArrayLike) -> Float64:
        """(..., 2) local metres -> (..., 2) town metres."""
        points = np.asarray(local, np.float64)
        cos, sin = np.cos(self.angle_rad), np.sin(self.angle_rad)
        turned = points @ np.array([[cos, sin], [-sin, cos]])
        return np.asarray(turned + np.array((self.x, self.y)), np.float64)

    def shifted(self, along_m: float, across_m: float, turn_rad: float = 0.0) -> "Frame":
        """The frame at a local point, turned."""
        x, y = self.to_town((along_m, across_m)).tolist()
        return Frame(x, y, self.angle_rad + turn_rad)

    def rectangle(self, length_m: float, width_m: float) -> Float64:
        """(4, 2) counter-clockwise corners of a rectangle centred here, length along x."""
        return self.to_town(_CORNERS * (length_m, width_m))

    def ellipse(self, length_m: float, width_m: float, points: int = 24) -> Float64:
        """(points, 2) outline of an ellipse centred here."""
        turn = np.arange(points) / points * 2 * np.pi
        half = (length_m / 2, width_m / 2)
        return self.to_town(np.column_stack([np.cos(turn), np.sin(turn)]) * half)


@dataclass(frozen=True)
class OrientedBox:
    """Smallest turned rectangle around a polygon; `frame` is its centre, x along the length."""

    frame: Frame
    length_m: float
    width_m: float


def fit_box(polygon: Polygon) -> OrientedBox:
    """Smallest-area rectangle around `polygon`, the longer side first."""
    corners = shapely.get_coordinates(shapely.minimum_rotated_rectangle(polygon))
    if len(corners) < 4:
        centre = polygon.centroid
        return OrientedBox(Frame(centre.x, centre.y, 0.0), 0.0, 0.0)
    first, second = corners[1] - corners[0], corners[3] - corners[0]
    if np.hypot(*first) < np.hypot(*second):
        first, second = second, first
    x, y = corners[:4].mean(axis=0).tolist()
    angle = float(np.arctan2(first[1], first[0]))
    return OrientedBox(Frame(x, y, angle), float(np.hypot(*first)), float(np.hypot(*second)))


def largest_part(geometry: BaseGeometry) -> Polygon:
    """The largest polygon of a geometry; an empty one where it has none."""
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon"]
    return max(parts, key=lambda part: part.area, default=Polygon())


def halve(polygon: Polygon, box: OrientedBox, cut: float) -> list[Polygon]:
    """Cut a polygon across its box's length at share `cut` of it; usually two parts."""
    reach = 2 * (box.length_m + box.width_m)
    middle = (cut - 0.5) * box.length_m
    halves = []
    for side in (-1, 1):
        corners = box.frame.shifted(middle + side * reach / 2, 0.0).rectangle(reach, reach)
        parts = shapely.get_parts(shapely.intersection(polygon, Polygon(corners)))
        halves += [part for part in parts if part.geom_type == "Polygon" and part.area > 1.0]
    return halves


def random_points(rng: np.random.Generator, polygon: BaseGeometry, count: int) -> Float64:
    """(n <= count, 2) uniform points inside a polygon: those of 1.6 x count that hit it."""
    if polygon.is_empty or count <= 0:
        return np.zeros((0, 2))
    west, south, east, north = polygon.bounds
    tries = int(1.6 * count) + 4
    points = rng.uniform((west, south), (east, north), (tries, 2))
    shapely.prepare(polygon)
    inside = shapely.contains_xy(polygon, points[:, 0], points[:, 1])
    return np.asarray(points[inside][:count], np.float64)
