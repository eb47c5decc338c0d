"""One photo: what was drawn for it, and its picture."""

import io
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from PIL import Image

from sample_world.camera_look import (
    CameraLook,
    automatic_exposure,
    blur,
    develop,
    draw_drone_look,
    draw_street_look,
)
from sample_world.cameras import Equirectangular, Perspective
from sample_world.imaging import render_picture
from sample_world.light import Light, draw_photo_light
from sample_world.placement import Placement
from sample_world.shader import Shader


class PhotoKind(IntEnum):
    """Series of photos; the number is part of each photo's random seed."""

    PANORAMA = 1
    STREET = 2
    DRONE = 3

    @property
    def folder(self) -> str:
        """Where its files are, inside the data set."""
        return "panoramas" if self is PhotoKind.PANORAMA else self.name.lower()


@dataclass(frozen=True)
class PhotoSettings:
    """Sizes shared by all photos of a town.

    Attributes:
        panorama_px: width; the height is half of it.
        photo_px: width of street and drone photos.
        supersample: rays per pixel and axis.
        panorama_elevation_deg: lowest and highest elevation rendered; rows beyond are filled.
        random_heading: draw the direction of panoramas' centre columns instead of north.
    """

    panorama_px: int = 1024
    photo_px: int = 512
    supersample: int = 2
    panorama_elevation_deg: tuple[float, float] = (-90.0, 90.0)
    random_heading: bool = False


@dataclass(frozen=True)
class Photo:
    """A planned photo: geometry and conditions, nothing rendered yet.

    Attributes:
        truth_xy: the place to be found, local metres.
        altitude_m: of the camera above the ground below it.
    """

    kind: PhotoKind
    index: int
    camera: Equirectangular | Perspective
    truth_xy: tuple[float, float]
    altitude_m: float
    light: Light
    look: CameraLook

    @property
    def file(self) -> str:
        """Path inside the data set."""
        return f"{self.kind.folder}/{self.index:05d}.jpg"


def photo_rng(seed: int, kind: PhotoKind, index: int) -> np.random.Generator:
    """The photo's own random numbers: independent of how many others there are."""
    return np.random.default_rng([seed, int(kind), index])


def plan_photo(
    placement: Placement,
    kind: PhotoKind,
    index: int,
    settings: PhotoSettings,
    rng: np.random.Generator,
) -> Photo:
    """Draw a photo's conditions and camera."""
    light = draw_photo_light(rng)
    if kind is PhotoKind.DRONE:
        look, square = draw_drone_look(rng), rng.random() < 0.5
        height_px = settings.photo_px if square else round(settings.photo_px * 3 / 4)
        view = placement.drone(rng, settings.photo_px, height_px)
        return Photo(kind, index, view.camera, view.truth_xy, view.altitude_m, light, look)
    look = draw_street_look(rng)
    if kind is PhotoKind.STREET:
        x, y, altitude_m = placement.street(rng, (1.5, 1.8))
        position = x, y, placement.ground_z(x, y) + altitude_m
        street = _draw_street_camera(position, settings, rng)
        return Photo(kind, index, street, (x, y), altitude_m, light, look)
    look = replace(look, vignette=0.0)  # a stitched panorama has no corners
    x, y, altitude_m = placement.street(rng, (2.2, 2.7))
    panorama = Equirectangular(
        position=(x, y, placement.ground_z(x, y) + altitude_m),
        heading_deg=_panorama_heading(placement, x, y, settings, rng),
        width_px=settings.panorama_px,
        height_px=settings.panorama_px // 2,
    )
    return Photo(kind, index, panorama, (x, y), altitude_m, light, look)


def _draw_street_camera(
    position: tuple[float, float, float], settings: PhotoSettings, rng: np.random.Generator
) -> Perspective:
    """A hand-held camera looking anywhere, roughly level."""
    return Perspective(
        position=position,
        heading_deg=float(rng.uniform(0, 360)),
        pitch_deg=float(rng.normal(2.0, 3.0)),
        roll_deg=float(rng.normal(0.0, 1.0)),
        hfov_deg=float(rng.uniform(60, 110)),
        width_px=settings.photo_px,
        height_px=round(settings.photo_px * 3 / 4),
    )


def _panorama_heading(
    placement: Placement, x: float, y: float, settings: PhotoSettings, rng: np.random.Generator
) -> float:
    """Grid heading of the centre column: true north, or anything."""
    draw = float(rng.uniform(0, 360))
    return draw if settings.random_heading else -placement.convergence_deg(x, y)


def render_photo(
    shader: Shader, photo: Photo, settings: PhotoSettings, rng: np.random.Generator
) -> bytes:
    """The photo as JPEG."""
    radiance = render_picture(
        shader,
        photo.camera,
        photo.light,
        rng,
        supersample=settings.supersample,
        rows=_rows_to_render(photo, settings),
    )
    radiance = blur(radiance, photo.look.blur_px) * np.float32(automatic_exposure(radiance))
    buffer = io.BytesIO()
    picture = Image.fromarray(develop(radiance, photo.look, rng))
    picture.save(buffer, "JPEG", quality=photo.look.jpeg_quality)
    return buffer.getvalue()


def _rows_to_render(photo: Photo, settings: PhotoSettings) -> range:
    height = photo.camera.height_px
    if photo.kind is not PhotoKind.PANORAMA:
        return range(height)
    low, high = settings.panorama_elevation_deg
    first = int(np.floor((0.5 - high / 180) * height))
    return range(max(first, 0), min(int(np.ceil((0.5 - low / 180) * height)), height))
