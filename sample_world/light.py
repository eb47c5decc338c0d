"""Sun, weather and season of one acquisition; what makes two pictures of a place look different."""

from dataclasses import asdict, dataclass

import numpy as np

from sample_world.scene import Float32

CLEAR_FOG_M = 1e6

# name -> (lowest, highest dryness of green things, largest share of autumn-coloured trees)
_SEASONS: dict[str, tuple[float, float, float]] = {
    "spring": (-0.25, 0.0, 0.0),
    "summer": (-0.05, 0.25, 0.0),
    "dry_summer": (0.25, 0.5, 0.05),
    "autumn": (0.05, 0.4, 0.45),
}


@dataclass(frozen=True)
class Light:
    """Capture conditions.

    Attributes:
        sun_azimuth_deg: clockwise from grid north, towards the sun.
        sun_elevation_deg: above the horizon, 0..90.
        cloud: cover 0..1; from about 0.7 the sun is veiled, at 1 there are no shadows.
        season: spring, summer, dry_summer or autumn.
        dryness: -0.25 (lush) .. 0.5 (parched); tints grass and leaves.
        autumn_share: 0..1, share of trees in autumn colours.
        fog_m: distance at which contrast has dropped to 1/e.
        warmth: 0..1, redder sunlight.
        cloud_drift: moves the clouds; any number.
    """

    sun_azimuth_deg: float
    sun_elevation_deg: float
    cloud: float = 0.2
    season: str = "summer"
    dryness: float = 0.0
    autumn_share: float = 0.0
    fog_m: float = CLEAR_FOG_M
    warmth: float = 0.3
    cloud_drift: float = 0.0

    @property
    def sun(self) -> Float32:
        """(3,) unit vector towards the sun in the town's frame."""
        azimuth, elevation = np.radians([self.sun_azimuth_deg, self.sun_elevation_deg])
        level = np.cos(elevation)
        vector = [np.sin(azimuth) * level, np.cos(azimuth) * level, np.sin(elevation)]
        return np.array(vector, np.float32)

    @property
    def sun_strength(self) -> float:
        """1 in clear weather, 0.05 under a closed cover."""
        return float(np.clip((0.95 - self.cloud) / 0.3, 0.05, 1.0))

    @property
    def sun_colour(self) -> Float32:
        """(3,) light of the unclouded sun."""
        warmth = np.float32(self.warmth)
        return np.array([1.0, 0.95 - 0.05 * warmth, 0.86 - 0.14 * warmth], np.float32)

    @property
    def ambient_colour(self) -> Float32:
        """(3,) light from the whole sky on an open horizontal face."""
        strength = np.float32(0.62 + 0.40 * (1.0 - self.sun_strength))
        return strength * np.array([0.88, 0.94, 1.04], np.float32)

    @property
    def horizon_colour(self) -> Float32:
        """(3,) of the sky at the horizon, and of fog."""
        return np.array([0.80, 0.85, 0.90], np.float32) * (0.9 + 0.05 * self.sun_strength)

    @property
    def zenith_colour(self) -> Float32:
        """(3,) of the sky overhead: blue when clear, grey when overcast."""
        blue, grey = np.array([[0.33, 0.52, 0.80], [0.66, 0.69, 0.73]], np.float32)
        return np.asarray(grey + (blue - grey) * np.float32(self.sun_strength), np.float32)

    @property
    def green_tint(self) -> Float32:
        """(3,) factor on everything that grows."""
        tint = [1 + 0.35 * self.dryness, 1 + 0.05 * self.dryness, 1 - 0.10 * self.dryness]
        return np.array(tint, np.float32)

    def as_conditions(self) -> dict[str, float | str]:
        """Plain values for a manifest."""
        return asdict(self)


def draw_season(rng: np.random.Generator) -> tuple[str, float, float]:
    """Random season: its name, dryness and share of autumn trees."""
    name = str(rng.choice(list(_SEASONS), p=[0.25, 0.35, 0.2, 0.2]))
    low, high, autumn = _SEASONS[name]
    return name, float(rng.uniform(low, high)), float(rng.uniform(0.3, 1.0) * autumn)


def draw_photo_light(rng: np.random.Generator) -> Light:
    """Light of a photo: any hour from morning to evening, three in ten overcast."""
    is_overcast = rng.random() < 0.3
    season, dryness, autumn_share = draw_season(rng)
    return Light(
        sun_azimuth_deg=float(rng.uniform(90, 270)),
        sun_elevation_deg=float(rng.uniform(20, 60)),
        cloud=float(rng.uniform(0.75, 1.0) if is_overcast else rng.uniform(0.0, 0.6)),
        season=season,
        dryness=dryness,
        autumn_share=autumn_share,
        fog_m=float(rng.uniform(900, 3000)),
        warmth=float(rng.uniform(0, 1)),
        cloud_drift=float(rng.uniform(0, 5)),
    )


def draw_satellite_light(rng: np.random.Generator) -> Light:
    """Light of a satellite scene: late morning, clear, leaves on."""
    season, dryness, autumn_share = draw_season(rng)
    return Light(
        sun_azimuth_deg=float(rng.uniform(120, 200)),
        sun_elevation_deg=float(rng.uniform(40, 60)),
        cloud=float(rng.uniform(0.0, 0.3)),
        season=season,
        dryness=0.6 * dryness,
        autumn_share=0.5 * autumn_share,
        warmth=float(rng.uniform(0, 0.4)),
        cloud_drift=float(rng.uniform(0, 5)),
    )
