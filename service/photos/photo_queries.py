"""From validated parameters to what the localizer is asked, and how form fields join in."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from crossfix.errors import InvalidParameter
from crossfix.geodesy import LonLat
from crossfix.prior import Disc, Prior, Region
from service.photos.localization import PhotoQuery
from service.photos.schemas import LocalizeQuery

_PRIOR = frozenset({"lat", "lon", "radius_m", "area"})


def refuse_contradictions(parameters: Iterable[tuple[str, str]]) -> None:
    """Of a parameter that an address gives twice, nobody knows which one counts.

    Raises:
        InvalidParameter: one is given twice, and differs.
    """
    first: dict[str, str] = {}
    for name, value in parameters:
        if first.setdefault(name, value) != value:
            raise InvalidParameter(
                f"{name} is given twice in the address, and differs",
                hint="give each parameter once",
            )


def with_form_fields(query: LocalizeQuery, fields: Mapping[str, str]) -> LocalizeQuery:
    """The query's parameters and a form's.

    Raises:
        RequestValidationError: a field is unknown or out of range.
        InvalidParameter: both give a parameter, differently.
    """
    if not fields:
        return query
    form = _validated(dict(fields), "body")
    for name in query.model_fields_set & form.model_fields_set:
        if getattr(query, name) != getattr(form, name):
            raise InvalidParameter(
                f"{name} is given twice, in the address and in the form, and differs",
                hint="give each parameter once",
            )
    return _validated({**_given(query), **_given(form)}, "body")


def overridden(
    query: LocalizeQuery, changes: Mapping[str, Any], *place: str | int
) -> LocalizeQuery:
    """The parameters of one photo of a batch: its own before those for all.

    A photo that has a prior of its own takes nothing of the common one. Its `area` may be GeoJSON
    itself or, as everywhere else, the text of it.

    Raises:
        InvalidParameter: the area is nested too deep.
        RequestValidationError: as above; `place` says where the changes stood.
    """
    common = _given(query)
    if _PRIOR & changes.keys():
        common = {name: value for name, value in common.items() if name not in _PRIOR}
    values = {**common, **changes}
    if isinstance(values.get("area"), dict):
        values["area"] = _as_text(values["area"])
    return _validated(values, *place)


def _as_text(area: dict[str, Any]) -> str:
    try:
        return json.dumps(area, separators=(",", ":"))
    except RecursionError:
        raise _no_area() from None


def photo_query(query: LocalizeQuery, data: bytes, default_k: int) -> PhotoQuery:
    """What the localizer is asked.

    Raises:
        InvalidParameter: the prior's area is no polygon.
    """
    return PhotoQuery(
        data=data,
        view=query.view,
        k=query.k or default_k,
        prior=_prior_of(query),
        heading_deg=query.heading_deg,
        hfov_deg=query.hfov_deg,
    )


def _given(query: LocalizeQuery) -> dict[str, Any]:
    return query.model_dump(exclude_unset=True)


def _validated(values: dict[str, Any], *place: str | int) -> LocalizeQuery:
    try:
        return LocalizeQuery.model_validate(values)
    except ValidationError as problem:
        found = [{**error, "loc": (*place, *error["loc"])} for error in problem.errors()]
        raise RequestValidationError(found) from None


def _prior_of(query: LocalizeQuery) -> Prior | None:
    if query.area is not None:
        return _region_of(query.area)
    if query.lat is None or query.lon is None or query.radius_m is None:
        return None
    return Disc(centre=LonLat(lon=query.lon, lat=query.lat), radius_m=query.radius_m)


def _region_of(text: str) -> Region:
    try:
        return Region.from_geojson(json.loads(text, parse_constant=_refuse_constant))
    except InvalidParameter as problem:
        if problem.__cause__ is None:
            raise
    except (ValueError, RecursionError, OverflowError):
        pass
    raise _no_area()


def _no_area() -> InvalidParameter:
    return InvalidParameter(
        "area is not a GeoJSON Polygon or MultiPolygon",
        hint='like {"type": "Polygon", "coordinates": [[[lon, lat], ...]]}, URL-encoded',
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are no JSON
