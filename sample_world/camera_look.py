"""What a camera does to radiance: exposure, white balance, tone curve, lens, noise."""

from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from sample_world.scene import Float32

UInt8 = NDArray[np.uint8]


@dataclass(frozen=True)
class CameraLook:
    """One camera's rendition.

    Attributes:
        exposure: factor on radiance.
        white_balance: factors on red, green, blue.
        saturation: 0 grey .. 1 as rendered.
        haze: 0..1 of white added everywhere (veil between the lens and the world).
        gamma: exponent on the final value; below 1 is brighter.
        vignette: 0..1 darkening in the corners.
        noise: standard deviation, of values 0..1.
        blur_px: standard deviation of the lens's blur.
        jpeg_quality: 1..95.
    """

    name: str
    exposure: float = 1.0
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    saturation: float = 0.75
    haze: float = 0.03
    gamma: float = 1.0
    vignette: float = 0.0
    noise: float = 0.006
    blur_px: float = 0.0
    jpeg_quality: int = 90

    def as_conditions(self) -> dict[str, object]:
        """Plain values for a manifest."""
        return asdict(self)


_STREET_CAMERAS = (
    CameraLook("car_rig", saturation=0.72, noise=0.006, jpeg_quality=88),
    CameraLook("phone", saturation=0.88, vignette=0.10, gamma=0.94, noise=0.008, jpeg_quality=90),
    CameraLook("compact", saturation=0.68, vignette=0.22, gamma=1.08, noise=0.014, jpeg_quality=80),
)
_DRONE_CAMERAS = (
    CameraLook("small_drone", saturation=0.80, vignette=0.15, noise=0.008, jpeg_quality=88),
    CameraLook("survey_drone", saturation=0.72, vignette=0.06, noise=0.005, jpeg_quality=92),
)
_SATELLITE = CameraLook("satellite", saturation=0.66, haze=0.06, noise=0.006, blur_px=0.55)


def draw_street_look(rng: np.random.Generator) -> CameraLook:
    """A random specimen of a random street camera."""
    return _vary(_STREET_CAMERAS[rng.integers(len(_STREET_CAMERAS))], rng)


def draw_drone_look(rng: np.random.Generator) -> CameraLook:
    """A random specimen of a random drone camera."""
    return _vary(_DRONE_CAMERAS[rng.integers(len(_DRONE_CAMERAS))], rng)


def draw_satellite_look(rng: np.random.Generator) -> CameraLook:
    """The satellite's sensor on a random day."""
    look = _vary(_SATELLITE, rng)
    return replace(
        look,
        exposure=float(rng.uniform(0.84, 1.02)),
        haze=float(rng.uniform(0.03, 0.09)),
        blur_px=float(rng.uniform(0.4, 0.7)),
    )


def _vary(look: CameraLook, rng: np.random.Generator) -> CameraLook:
    warm, tint = np.clip(rng.normal(0, [0.022, 0.008]), -0.05, 0.05)
    return replace(
        look,
        exposure=float(rng.uniform(0.88, 1.14)),
        white_balance=(float(1 + warm), float(1 + tint), float(1 - warm)),
        saturation=look.saturation * float(rng.uniform(0.88, 1.12)),
        gamma=look.gamma * float(rng.uniform(0.92, 1.08)),
        noise=look.noise * float(rng.uniform(0.5, 2.0)),
        jpeg_quality=int(look.jpeg_quality + rng.integers(-8, 4)),
    )


def blur(radiance: Float32, sigma_px: float) -> Float32:
    """Lens blur of an (h, w, 3) picture; zero leaves it as it is."""
    if sigma_px <= 0:
        return radiance
    across = gaussian_filter1d(radiance, sigma_px, axis=1, mode="nearest", truncate=3.0)
    return np.asarray(gaussian_filter1d(across, sigma_px, axis=0, mode="nearest", truncate=3.0))


def automatic_exposure(radiance: Float32) -> float:
    """Half-way towards a middle brightness, as light meters do; sees the whole picture."""
    return float((0.45 / max(float(radiance.mean()), 0.05)) ** 0.5)


def develop(radiance: Float32, look: CameraLook, rng: np.random.Generator) -> UInt8:
    """Radiance (h, w, 3) to 8-bit colour values, everything but blur and JPEG."""
    value = radiance * (np.float32(look.exposure) * np.array(look.white_balance, np.float32))
    grey = value.mean(axis=2, keepdims=True)
    value -= grey
    value *= np.float32(look.saturation)
    value += grey
    value *= np.float32(1 - look.haze)
    value += np.float32(look.haze)
    np.clip(value, 0, 1.3, out=value)
    value *= np.float32(1.08) / (1 + np.float32(0.12) * value)
    if look.vignette > 0:
        value *= _vignette(value.shape[0], value.shape[1], look.vignette)
    if look.gamma != 1:
        np.power(value, np.float32(look.gamma), out=value)
    value += np.float32(look.noise) * rng.standard_normal(value.shape, dtype=np.float32)
    value *= 255
    value += np.float32(0.5)
    return np.clip(value, 0, 255).astype(np.uint8)


def _vignette(height: int, width: int, strength: float) -> Float32:
    """(h, w, 1) factors: 1 in the centre, `1 - strength` in the corners."""
    across = ((np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1) ** 2
    down = ((np.arange(height, dtype=np.float32) + 0.5) / height * 2 - 1) ** 2
    factor = 1 - np.float32(strength / 2) * (across + down[:, None])[:, :, None]
    return factor.astype(np.float32, copy=False)
