"""Facades: windows, doors, shops, cladding, all computed from a point's place on its wall."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sample_world.light import Light
from sample_world.scene import BuildingTable, Float32, Material, Mesh
from sample_world.sky import sky_radiance
from sample_world.surface import FaceTable, SurfacePoints
from sample_world.texture import NoiseTexture, hash_unit

Bools = NDArray[np.bool_]
_RIBBON, _CURTAIN_WALL = 2, 3  # BuildingTable.facade
_BRICK, _BANDS = 1, 2  # BuildingTable.cladding
_PLINTH_M = 0.7
_NARROWEST_WALL_M = 2.2
_LOWEST_WALL_M = 2.4


@dataclass(frozen=True)
class _Place:
    """Where each point is on its wall: storey and bay, position in its bay (0..1), openings."""

    building: NDArray[np.int32]
    along_m: Float32
    up_m: Float32
    bay: NDArray[np.int32]
    in_bay: Float32
    storey: NDArray[np.int32]
    in_storey: Float32
    facade: Float32
    window_width: Float32
    window_height: Float32
    window_middle: Float32
    is_shop: Bools
    may_have_windows: Bools
    below_eaves: Bools


class WallPainter:
    """Shades WALL faces from the building table."""

    def __init__(
        self, mesh: Mesh, faces: FaceTable, buildings: BuildingTable, noise: NoiseTexture
    ) -> None:
        self._noise = noise
        self._walls = _wall_table(mesh, faces)
        columns = (
            buildings.base_z_m,
            buildings.height_m,
            buildings.floor_height_m,
            buildings.window_pitch_m,
            buildings.window_width_share,
            buildings.window_height_share,
            buildings.has_shop,
            buildings.cladding,
            buildings.facade,
        )
        self._buildings = np.stack([np.asarray(column, np.float32) for column in columns], axis=1)

    def paint(self, points: SurfacePoints, light: Light) -> None:
        """Set colour (and emission of glass) of wall points, in place."""
        rows = self._buildings.take(points.object_id, axis=0).T
        place = self._locate(points, rows)
        offset_v = np.abs(place.in_storey - place.window_middle)
        offset_u = np.abs(place.in_bay - np.float32(0.5))
        is_window = (offset_u < place.window_width / 2) & (offset_v < place.window_height / 2)
        is_window &= place.may_have_windows
        is_window &= (place.up_m > 0.4) & place.below_eaves
        self._paint_cladding(points, place, rows[7])
        _paint_frames(points, place, is_window, offset_u, offset_v)
        _paint_shop_signs(points, place)
        _paint_doors(points, place, is_window)
        glass = np.flatnonzero(is_window)
        if len(glass):
            self._paint_glass(points, place, glass, light)
        grime = np.exp(np.clip(place.up_m, 0, 9) * np.float32(-1 / 1.2))
        points.albedo[:] *= np.sqrt(1 - np.float32(0.35) * grime)

    def _locate(self, points: SurfacePoints, rows: Float32) -> _Place:
        base, height, floor_m, pitch, width, tall, shop, _, facade = rows
        wall = self._walls.take(points.face, axis=0).T
        along = points.position[0] * wall[0] + points.position[1] * wall[1] - wall[2]
        length = np.maximum(wall[3], np.float32(0.1))
        up = points.position[2] - base
        bays = along / length * np.maximum(np.floor(length / pitch), 1)
        storeys = up / floor_m
        bay, storey = np.floor(bays), np.floor(storeys)
        is_shop = (shop > 0) & (storey == 0)
        ribbon, curtain = facade == _RIBBON, facade == _CURTAIN_WALL
        for share, values in ((width, (0.9, 0.88, 0.86)), (tall, (0.22, 0.74, 0.72))):
            for mask, value in zip((ribbon, curtain, is_shop), values, strict=True):
                share[mask] = value
        return _Place(
            building=points.object_id,
            along_m=along,
            up_m=up,
            bay=bay.astype(np.int32),
            in_bay=bays - bay,
            storey=storey.astype(np.int32),
            in_storey=storeys - storey,
            facade=facade,
            window_width=width,
            window_height=tall,
            window_middle=np.where(ribbon, np.float32(0.78), np.float32(0.54)),
            is_shop=is_shop,
            may_have_windows=(length > _NARROWEST_WALL_M) & (height > _LOWEST_WALL_M),
            below_eaves=up < height - np.float32(0.4),
        )

    def _paint_cladding(self, points: SurfacePoints, place: _Place, cladding: Float32) -> None:
        shade = self._noise.sample(
            place.along_m + place.building.astype(np.float32) * np.float32(7.3), place.up_m, 6.0
        )
        shade *= np.float32(0.035)
        shade += 1
        courses = place.up_m * np.float32(3.3)
        is_joint = (cladding == _BRICK) & (points.footprint_m < 0.12)
        is_joint &= courses - np.floor(courses) < 0.22
        shade[is_joint] *= 0.9
        shade[place.up_m < _PLINTH_M] *= 0.72
        shade[(cladding == _BANDS) & (place.in_storey < 0.07) & (place.storey > 0)] *= 1.14
        points.albedo[:] *= shade

    def _paint_glass(
        self, points: SurfacePoints, place: _Place, glass: NDArray[np.intp], light: Light
    ) -> None:
        """Dark panes that mirror the sky; some have curtains."""
        draw = hash_unit(place.bay.take(glass) + 50, place.storey.take(glass) + 50, 3)
        direction, normal = points.direction[:, glass], points.normal[:, glass]
        mirrored = direction - normal * (2 * (direction * normal).sum(axis=0))
        is_curtain_wall = place.facade.take(glass) == _CURTAIN_WALL
        share = np.where(is_curtain_wall, np.float32(0.5), np.float32(0.28))
        share[mirrored[2] < -0.02] = 0.06
        pane = np.array([[0.17], [0.21], [0.26]], np.float32)
        pane = pane + draw * np.array([[0.16], [0.16], [0.144]], np.float32)
        pane += (sky_radiance(mirrored, self._noise, light) - pane) * share
        low = place.window_middle.take(glass) + place.window_height.take(glass) * np.float32(0.2)
        has_curtain = (draw > 0.7) & (place.in_storey.take(glass) < low)
        has_curtain &= place.facade.take(glass) < _RIBBON
        pane[:, has_curtain] = pane[:, has_curtain] * np.float32(0.5) + np.float32(0.36)
        points.albedo[:, glass] = pane
        points.emission[glass] = 0.35


def _wall_table(mesh: Mesh, faces: FaceTable) -> Float32:
    """(F, 4): the wall's direction (x, y), start and length; zero for faces that are no wall.

    The direction is horizontal and lies in the wall; which of the two ways it points is the one
    that puts the face's own corners inside 0..length.
    """
    wall = np.flatnonzero(mesh.material == Material.WALL)
    normal = faces.normal[wall]
    direction = np.stack([-normal[:, 1], normal[:, 0]], axis=1)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-9
    start, length = mesh.along_start_m[wall], mesh.along_length_m[wall]
    corners = mesh.vertices[mesh.faces[wall]][:, :, :2]
    along = np.einsum("fcd,fd->fc", corners, direction)
    outside = [
        np.abs(
            np.clip(sign * along - start[:, None], 0, length[:, None])
            - (sign * along - start[:, None])
        ).sum(axis=1)
        for sign in (1, -1)
    ]
    direction[outside[1] < outside[0]] *= -1
    table = np.zeros((len(mesh.material), 4), np.float32)
    table[wall] = np.column_stack([direction, start, length])
    return table


def _paint_frames(
    points: SurfacePoints, place: _Place, is_window: Bools, offset_u: Float32, offset_v: Float32
) -> None:
    is_frame = (offset_u < place.window_width / 2 + np.float32(0.04)) & ~is_window
    is_frame &= offset_v < place.window_height / 2 + np.float32(0.035)
    is_frame &= place.may_have_windows & (place.facade < _RIBBON)
    is_frame &= (place.up_m > 0.3) & place.below_eaves
    frame = np.flatnonzero(is_frame)
    points.albedo[:, frame] = np.clip(points.albedo[:, frame] * 1.22 + 0.05, 0, 1)


def _paint_shop_signs(points: SurfacePoints, place: _Place) -> None:
    sign = np.flatnonzero(place.is_shop & (place.in_storey > 0.88))
    building = place.building.take(sign)
    for channel in range(3):
        draw = hash_unit(building, np.full_like(building, channel + 1), 11)
        points.albedo[channel, sign] = draw * np.float32(0.7) + np.float32(0.1)


def _paint_doors(points: SurfacePoints, place: _Place, is_window: Bools) -> None:
    is_door = (place.storey == 0) & (np.abs(place.in_bay - np.float32(0.5)) < 0.2)
    is_door &= (place.up_m < 2.2) & (place.up_m > -0.5) & ~place.is_shop & ~is_window
    door = np.flatnonzero(is_door)
    bay, building = place.bay.take(door), place.building.take(door)
    chosen = hash_unit(building, bay, 1) < 0.13
    door, bay, building = door[chosen], bay[chosen], building[chosen]
    draw = hash_unit(building, bay + 9, 5)
    points.albedo[0, door] = draw * np.float32(0.4) + np.float32(0.15)
    points.albedo[1, door] = draw * np.float32(0.3) + np.float32(0.12)
    points.albedo[2, door] = np.float32(0.4) - draw * np.float32(0.25)
