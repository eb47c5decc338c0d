"""Answers as GeoJSON (RFC 7946) for GIS programs."""

import math
from collections.abc import Iterable
from typing import Any

from crossfix.gallery_manifest import BoundsModel
from service.photos.schemas import BatchAnswer, Estimate, LocalizeAnswer

GEOJSON = "application/geo+json"
CIRCLE_POINTS = 64
_EARTH_M = 6371008.8  # mean radius; the circle is off by 0.5 % of its radius at most


def geojson_of(answer: LocalizeAnswer) -> dict[str, Any]:
    """A FeatureCollection of the features of one answer, and what else the answer says."""
    extra = answer.model_dump(exclude={"matches", "estimate"})
    return {"type": "FeatureCollection", "features": features_of(answer), **extra}


def geojson_of_batch(answer: BatchAnswer) -> dict[str, Any]:
    """All photos' features, each with its photo's `index`; a failed photo has none."""
    features = [
        feature
        for result in answer.results
        if result.answer is not None
        for feature in features_of(result.answer, index=result.index, file_name=result.file_name)
    ]
    results = [result.model_dump(exclude={"answer"}) for result in answer.results]
    extra = answer.model_dump(exclude={"results"})
    return {"type": "FeatureCollection", "features": features, "results": results, **extra}


def features_of(answer: LocalizeAnswer, **names: object) -> list[dict[str, Any]]:
    """The estimate's point, the polygon of its radius where it has one, the tiles' footprints."""
    estimate = answer.estimate
    facts = estimate.model_dump(exclude={"lat", "lon"})
    point = {"type": "Point", "coordinates": [estimate.lon, estimate.lat]}
    features = [_feature(point, {**names, "role": "estimate", **facts})]
    if estimate.radius_m is not None:
        features.append(_feature(_polygon(_circle(estimate)), {**names, "role": "radius", **facts}))
    features += (
        _feature(
            _polygon(_ring(match.bounds)),
            {**names, "role": "match", **match.model_dump(exclude={"bounds"})},
        )
        for match in answer.matches
    )
    return features


def _feature(geometry: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _polygon(ring: Iterable[list[float]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [list(ring)]}


def _circle(estimate: Estimate) -> list[list[float]]:
    """A ring around the estimate, counter-clockwise; longitudes may run past 180 degrees.

    Points at a distance and bearing on the sphere (Snyder 1987, equations 5-3 and 5-4 solved).
    """
    angle = min((estimate.radius_m or 0.0) / _EARTH_M, math.pi / 2)
    lat = math.radians(estimate.lat)
    ring = []
    for step in range(CIRCLE_POINTS):
        bearing = -2 * math.pi * step / CIRCLE_POINTS
        sine = math.sin(lat) * math.cos(angle) + math.cos(lat) * math.sin(angle) * math.cos(bearing)
        north = math.asin(max(-1.0, min(1.0, sine)))
        east = math.atan2(
            math.sin(bearing) * math.sin(angle) * math.cos(lat),
            math.cos(angle) - math.sin(lat) * math.sin(north),
        )
        ring.append([round(estimate.lon + math.degrees(east), 8), round(math.degrees(north), 8)])
    return [*ring, ring[0]]


def _ring(bounds: BoundsModel) -> list[list[float]]:
    """Counter-clockwise and closed; a box over the antimeridian runs past 180 degrees east."""
    west, south, north = bounds.west, bounds.south, bounds.north
    east = bounds.east + 360.0 if bounds.east < west else bounds.east
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]
