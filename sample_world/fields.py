"""Farmed land: strips of crops, orchards, pastures, tree rows and lone farmsteads."""

import numpy as np
import shapely
from shapely import Polygon
from shapely.geometry.base import BaseGeometry

from sample_world.buildings import BuildingPlan, RoofShape, raise_building
from sample_world.districts import District
from sample_world.frame import Frame, OrientedBox, fit_box, halve, largest_part, random_points
from sample_world.polyline import Polyline
from sample_world.site import Site
from sample_world.vegetation import TreeKind, scatter_trees

_CROPS = ("field_a", "field_b", "meadow", "grass", "soil", "lawn_c", "field_a", "field_b")
_DEEPEST = 8
_ORCHARD_SPACING_M = 8.0


def lay_out_fields(
    site: Site, rng: np.random.Generator, district: District, block: Polygon
) -> None:
    """Divide a block into fields and farm each."""
    site.canvas.fill(block, "grass")
    _divide(site, rng, district, block, 0)


def _divide(
    site: Site, rng: np.random.Generator, district: District, shape: Polygon, depth: int
) -> None:
    box = fit_box(shape)
    if shape.area < rng.uniform(2500, 9000) or depth >= _DEEPEST:
        _farm(site, rng, district, shape, box)
        return
    for half in halve(shape, box, rng.uniform(0.35, 0.65)):
        _divide(site, rng, district, half, depth + 1)


def _farm(
    site: Site, rng: np.random.Generator, district: District, shape: Polygon, box: OrientedBox
) -> None:
    crop = str(rng.choice(_CROPS))
    field = shape.buffer(-0.6)
    site.canvas.fill(field, crop)
    use = rng.random()
    if use < 0.45:
        furrow = "soil" if crop != "soil" else "field_b"
        pitch = float(rng.choice([2.0, 3.0, 4.0]))
        site.canvas.fill_stripes(field, box.frame, furrow, pitch_m=pitch, width_m=pitch * 0.32)
    elif use < 0.62:
        _plant_orchard(site, rng, field, box)
    else:
        density = float(rng.choice([0.0008, 0.006]))
        points = random_points(rng, shape, int(rng.poisson(shape.area * density)))
        scatter_trees(rng, site.trees, points, conifer_share=float(rng.random()))
    if rng.random() < 0.4:
        _plant_row(site, rng, shape)
    if rng.random() < 0.1:
        _raise_farmstead(site, rng, district, largest_part(shape.buffer(-14)))


def _plant_orchard(
    site: Site, rng: np.random.Generator, field: BaseGeometry, box: OrientedBox
) -> None:
    along, across = (
        np.arange(4, reach, _ORCHARD_SPACING_M) - reach / 2 for reach in (box.length_m, box.width_m)
    )
    points = box.frame.to_town(np.stack(np.meshgrid(along, across), axis=-1).reshape(-1, 2))
    points = points[shapely.contains_xy(field, points[:, 0], points[:, 1])]
    size = rng.uniform(1.2, 1.8)
    site.trees.add(points, radius_m=size * rng.uniform(0.85, 1.15, len(points)))


def _plant_row(site: Site, rng: np.random.Generator, shape: Polygon) -> None:
    """Trees, poplars or bushes along part of the field's edge."""
    line = Polyline(shape.exterior)
    points, _ = line.at(line.steps(5.0, end_m=line.length_m * rng.uniform(0.2, 0.7)))
    kind = rng.choice([TreeKind.BROADLEAF, TreeKind.BUSH, TreeKind.COLUMN], p=[0.5, 0.25, 0.25])
    site.trees.add(points, radius_m=rng.uniform(1.0, 2.4, len(points)), kind=int(kind))


def _raise_farmstead(
    site: Site, rng: np.random.Generator, district: District, room: Polygon
) -> None:
    for x, y in random_points(rng, room, 1).tolist():
        frame = Frame(x, y, rng.uniform(0, np.pi))
        site.canvas.fill(frame.ellipse(30, 22), "gravel")
        length, width = rng.uniform(12, 26), rng.uniform(8, 12)
        plan = BuildingPlan(frame, length, width, 2, RoofShape.GABLE)
        raise_building(site, rng, district, plan)
