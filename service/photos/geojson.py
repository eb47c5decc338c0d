"""Answers as GeoJSON (RFC 7946) for GIS programs."""

from typing import Any

from service.galleries.outlines import box_outline, circle_outline
from service.photos.schemas import BatchAnswer, LocalizeAnswer

GEOJSON = "application/geo+json"


def geojson_of(answer: LocalizeAnswer) -> dict[str, Any]:
    """A FeatureCollection of the features of one answer, and what else the answer says."""
    extra = answer.model_dump(exclude={"matches", "estimate"})
    return {"type": "FeatureCollection", "features": features_of(answer), **extra}


def geojson_of_batch(answer: BatchAnswer) -> dict[str, Any]:
    """All photos' features, each with its photo's `index`; a failed photo has none.

    What else an answer says, that it is partial above all, stands in `results`.
    """
    features = [
        feature
        for result in answer.results
        if result.answer is not None
        for feature in features_of(result.answer, index=result.index, file_name=result.file_name)
    ]
    results = [
        result.model_dump(exclude={"answer"})
        | (result.answer.model_dump(include={"warnings", "gallery"}) if result.answer else {})
        for result in answer.results
    ]
    extra = answer.model_dump(exclude={"results"})
    return {"type": "FeatureCollection", "features": features, "results": results, **extra}


def features_of(answer: LocalizeAnswer, **names: object) -> list[dict[str, Any]]:
    """The estimate's point, the polygon of its radius where it has one, the tiles' footprints."""
    estimate = answer.estimate
    asked, answered = answer.gallery.shards_asked, answer.gallery.shards_answered
    # Beside the confidence: programs for maps drop what stands outside of the features.
    facts = {**estimate.model_dump(exclude={"lat", "lon"}), "partial": answered < asked}
    point = {"type": "Point", "coordinates": [estimate.lon, estimate.lat]}
    features = [_feature(point, {**names, "role": "estimate", **facts})]
    if estimate.radius_m is not None:
        circle = circle_outline(lon=estimate.lon, lat=estimate.lat, radius_m=estimate.radius_m)
        features.append(_feature(circle, {**names, "role": "radius", **facts}))
    features += (
        _feature(
            box_outline(**match.bounds.model_dump()),
            {**names, "role": "match", **match.model_dump(exclude={"bounds"})},
        )
        for match in answer.matches
    )
    return features


def _feature(geometry: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}
