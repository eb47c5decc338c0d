"""Where photos are taken: on streets and in the air, never inside things."""

from dataclasses import dataclass

import numpy as np
from shapely import box

from crossfix.errors import DataError
from sample_world.cameras import Perspective
from sample_world.georeference import grid_convergence_deg
from sample_world.scene import Float32, Float64, Material
from sample_world.shader import Shader

_ATTEMPTS = 2000
_MARGIN_SHARE = 0.06  # of the town's side, kept free of camera targets
_WIDEST_MARGIN_M = 60.0
_FREE_RADIUS_M = 1.2
_CLEAR_AIR_M = 20.0


@dataclass(frozen=True)
class DroneView:
    """A drone's camera, the ground point under its image centre and its height above ground."""

    camera: Perspective
    truth_xy: tuple[float, float]
    altitude_m: float


class Placement:
    """Draws camera positions in one town. All methods take the photo's own generator."""

    def __init__(self, shader: Shader) -> None:
        self._shader = shader
        self._scene = shader.scene
        self._margin_m = min(_WIDEST_MARGIN_M, _MARGIN_SHARE * self._scene.size_m)
        low, high = self._margin_m, self._scene.size_m - self._margin_m
        lines = [road.centre.intersection(box(low, low, high, high)) for road in self._scene.roads]
        kept = [
            (line, road)
            for line, road in zip(lines, self._scene.roads, strict=True)
            if line.length > 1.0
        ]
        if not kept:
            raise DataError("the town has no street to take photos from", hint="use a larger town")
        self._streets = kept
        lengths = np.array([line.length for line, _ in kept])
        self._weights = lengths / lengths.sum()

    def ground_z(self, x: float, y: float) -> float:
        """Terrain height, metres."""
        return float(self._scene.terrain(np.array(x), np.array(y)))

    def convergence_deg(self, x: float, y: float) -> float:
        """What to add to a grid heading to get a true one."""
        return float(grid_convergence_deg(self._scene.georeference, x, y))

    def street(
        self, rng: np.random.Generator, altitude_m: tuple[float, float]
    ) -> tuple[float, float, float]:
        """x, y and altitude above ground of a camera with open sky and nothing at arm's length."""
        for _ in range(_ATTEMPTS):
            line, road = self._streets[rng.choice(len(self._streets), p=self._weights)]
            along = rng.uniform(0, line.length)
            offset = rng.normal(0, 0.3 * road.half_width_m, 2)
            point = line.interpolate(along)
            altitude = float(rng.uniform(*altitude_m))
            x, y = float(point.x + offset[0]), float(point.y + offset[1])
            if self._is_free(x, y, altitude):
                return x, y, altitude
        raise DataError("no street place is free of obstacles", hint="use another seed or size")

    def _is_free(self, x: float, y: float, altitude_m: float) -> bool:
        ground = self.ground_z(x, y)
        turn = np.arange(8) * (np.pi / 4)
        around = np.stack([np.cos(turn), np.sin(turn), np.zeros(8)], axis=1)
        above = np.concatenate([np.zeros((1, 3)), around * _FREE_RADIUS_M])
        above += (x, y, self._shader.top_z_m + 10)
        down = np.broadcast_to(np.array([0, 0, -1.0]), above.shape)
        reached = above[:, 2] - self._distances(above, down)
        if not (np.abs(reached - ground) < 0.5).all():
            return False
        level = np.broadcast_to(np.array([x, y, ground + altitude_m]), around.shape)
        return bool(self._distances(level, around).min() > _FREE_RADIUS_M)

    def drone(self, rng: np.random.Generator, width_px: int, height_px: int) -> DroneView:
        """A camera 40..130 m up whose optical axis meets the ground inside the town."""
        for _ in range(_ATTEMPTS):
            pitch = -rng.uniform(80, 90) if rng.random() < 0.5 else -rng.uniform(35, 80)
            view = self._aim(rng, float(pitch), width_px, height_px)
            if view is not None:
                return view
        raise DataError("no free place in the air was found", hint="use another seed or size")

    def _aim(
        self, rng: np.random.Generator, pitch_deg: float, width_px: int, height_px: int
    ) -> DroneView | None:
        x, y = rng.uniform(self._margin_m, self._scene.size_m - self._margin_m, 2)
        heading, altitude = float(rng.uniform(0, 360)), float(rng.uniform(40, 130))
        back = altitude / np.tan(np.radians(-pitch_deg))
        at = x - np.sin(np.radians(heading)) * back, y - np.cos(np.radians(heading)) * back
        z = self.ground_z(*at) + altitude
        camera = Perspective(
            position=(float(at[0]), float(at[1]), z),
            heading_deg=heading,
            pitch_deg=pitch_deg,
            roll_deg=float(rng.normal(0, 0.8)),
            hfov_deg=float(rng.uniform(55, 80)),
            width_px=width_px,
            height_px=height_px,
        )
        truth = self.ground_under_axis(camera)
        if truth is None or not self._sees_well(camera):
            return None
        return DroneView(camera, truth, altitude)

    def ground_under_axis(self, camera: Perspective) -> tuple[float, float] | None:
        """Where the optical axis first meets the terrain, as if nothing stood on it.

        None where that is outside the town or beyond 600 m.
        """
        forward, start = camera.axes[2], np.asarray(camera.position)
        reach = np.linspace(0, 600, 601)
        below = self._height_over_terrain(start + reach[:, None] * forward) <= 0
        if not below.any() or below[0]:
            return None
        first = int(np.argmax(below))
        low, high = reach[first - 1], reach[first]
        for _ in range(40):
            middle = (low + high) / 2
            above = self._height_over_terrain((start + middle * forward)[None])[0] > 0
            low, high = (middle, high) if above else (low, middle)
        x, y = (start + high * forward)[:2]
        inside = 0 <= x <= self._scene.size_m and 0 <= y <= self._scene.size_m
        return (float(x), float(y)) if inside else None

    def _height_over_terrain(self, points: Float64) -> Float64:
        ground = self._scene.terrain(points[:, 0], points[:, 1])
        return np.asarray(points[:, 2] - ground)

    def _sees_well(self, camera: Perspective) -> bool:
        """Nothing close in front, little of the world's edge, not under a roof."""
        grid = np.meshgrid(
            (np.arange(7) + 0.5) / 7 * camera.width_px, (np.arange(7) + 0.5) / 7 * camera.height_px
        )
        origin, directions = camera.rays(grid[0].ravel(), grid[1].ravel())
        hits = self._shader.raycaster.nearest(np.broadcast_to(origin, directions.shape), directions)
        missed = hits.face < 0
        if missed.mean() > 0.1 or (hits.distance_m[~missed] < _CLEAR_AIR_M).any():
            return False
        material = self._shader.faces.material.take(hits.face)
        points = origin + directions * hits.distance_m[:, None]
        ground = (material == Material.GROUND) & ~missed
        outside = ((points[:, :2] < 0) | (points[:, :2] > self._scene.size_m)).any(axis=1)
        return bool((outside & ground).mean() < 0.25)

    def _distances(self, origins: Float64, directions: Float64) -> Float32:
        """(n,) to the first hit; infinite where there is none."""
        hits = self._shader.raycaster.nearest(
            origins.astype(np.float32), directions.astype(np.float32)
        )
        return np.where(hits.face < 0, np.float32(np.inf), hits.distance_m)
