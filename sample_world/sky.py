"""The sky's radiance: a gradient, clouds from the noise picture, a glow around the sun."""

import numpy as np

from sample_world.light import Light
from sample_world.scene import Float32
from sample_world.texture import NoiseTexture

_CLOUD_COLOUR = (0.93, 0.94, 0.96)


def _cloud_cover(direction: Float32, noise: NoiseTexture, light: Light) -> Float32:
    """(n,) 0..1: clouds on a flat sheet, thinned towards the horizon."""
    height = np.maximum(direction[2], 0) + np.float32(0.15)
    x = direction[0] / height + np.float32(3 + light.cloud_drift)
    y = direction[1] / height + np.float32(5)
    cover = noise.sample(x, y, 150.0)
    cover *= np.float32(0.5)
    cover += np.float32(0.9 * light.cloud - 0.5)
    np.clip(cover, 0, 1, out=cover)
    cover *= np.clip(direction[2] * 4, 0, 1) * np.float32(0.8)
    return cover


def _sun_glow(direction: Float32, light: Light) -> Float32:
    """(n,) cosine to the sun, to the 64th power."""
    sun = light.sun
    glow: Float32 = direction[0] * sun[0] + direction[1] * sun[1] + direction[2] * sun[2]
    np.maximum(glow, 0, out=glow)
    for _ in range(6):
        glow *= glow
    glow *= np.float32(0.35 * light.sun_strength)
    return glow


def sky_radiance(direction: Float32, noise: NoiseTexture, light: Light) -> Float32:
    """(3, n) radiance seen along (3, n) unit directions; below the horizon, the horizon's."""
    height = np.sqrt(np.maximum(direction[2], 0))
    cover = _cloud_cover(direction, noise, light)
    glow = _sun_glow(direction, light)
    horizon, zenith = light.horizon_colour, light.zenith_colour
    radiance = np.empty_like(direction)
    for channel in range(3):
        row = height * (zenith[channel] - horizon[channel])
        row += horizon[channel]
        row += cover * (np.float32(_CLOUD_COLOUR[channel]) - row)
        row += glow
        radiance[channel] = row
    return radiance
