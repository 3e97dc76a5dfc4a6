"""Read events published as GeoJSON: GDACS, USGS earthquakes, NASA EONET, and segwatch's own form.

The own form is a Feature with an ``id``, a ``geometry`` and the properties ``kind``, ``title``, ``occurred_at``,
``updated_at`` (which orders revisions) and optionally ``ended_at``, ``level``, ``magnitude``, ``magnitude_unit``,
``population``, ``link`` and ``cancelled``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import extract_polygons
from segwatch.geo.errors import InvalidEvent
from segwatch.geo.events.dates import parse_time
from segwatch.geo.events.record import (
    MAX_ENTRIES,
    combine_geometries,
    parse_geometry,
    parse_number,
    read_each,
    require_object,
)
from segwatch.geo.events.shaking import find_contours_link
from segwatch.geo.types.event import Event, EventKind, EventLevel, EventName, RefusedEntry, Withdrawal

#: Type codes of https://www.gdacs.org/ .
GDACS_KINDS = {
    "EQ": EventKind.EARTHQUAKE,
    "FL": EventKind.FLOOD,
    "WF": EventKind.WILDFIRE,
    "TC": EventKind.CYCLONE,
    "VO": EventKind.VOLCANO,
    "DR": EventKind.DROUGHT,
    "TS": EventKind.TSUNAMI,
}
#: Categories of https://eonet.gsfc.nasa.gov/ that imagery can show.
EONET_KINDS = {
    "earthquakes": EventKind.EARTHQUAKE,
    "floods": EventKind.FLOOD,
    "wildfires": EventKind.WILDFIRE,
    "severeStorms": EventKind.CYCLONE,
    "volcanoes": EventKind.VOLCANO,
    "landslides": EventKind.LANDSLIDE,
    "drought": EventKind.DROUGHT,
}
#: Classes of GDACS features that are not affected areas: the forecast cone of a cyclone, the area of all episodes.
_NOT_AFFECTED = ("Poly_Cones", "Poly_Global")
_MAX_NAMES = 100
_KINDS = {one.value: one for one in EventKind}
_LEVELS = {one.value: one for one in EventLevel}

Feature = Mapping[str, Any]


def read_features(document: Mapping[str, Any], feed: str) -> Iterator[Event | Withdrawal | RefusedEntry]:
    """Yield the events of a GeoJSON FeatureCollection or Feature.

    EONET and GDACS publish several features per event; these are combined.

    Parameters
    ----------
    document
        Parsed JSON.
    feed
        Short name of its origin; part of the source of events in segwatch's own form.

    Raises
    ------
    InvalidEvent
        The document is neither.
    """
    if document.get("type") == "Feature":
        found: list[Any] = [document]
    elif document.get("type") == "FeatureCollection" and isinstance(document.get("features"), list):
        found = document["features"]
    else:
        raise InvalidEvent("the document is JSON, but not a GeoJSON FeatureCollection or Feature")
    yield from read_each(_group_by_event(found, feed), _name, lambda group: _event(group, feed))


def _group_by_event(found: list[Any], feed: str) -> list[list[Any]]:
    """Group features by event: EONET has a feature per track position, GDACS one per geometry of an event.

    A feature that cannot be read stays alone, so that only it is refused.
    """
    groups: dict[object, list[Any]] = {}
    for position, one in enumerate(found[: MAX_ENTRIES + 1]):
        properties = one.get("properties") if isinstance(one, dict) else None
        named = _event_name(properties) if isinstance(properties, dict) else None
        if named is not None and not _is_readable(one, feed):
            named = None
        groups.setdefault(position if named is None else named, []).append(one)
    return list(groups.values())


def _is_readable(feature: Any, feed: str) -> bool:
    (found,) = read_each([[feature]], _name, lambda group: _event(group, feed))
    return not isinstance(found, RefusedEntry)


def _event_name(properties: Feature) -> tuple[str, str] | None:
    """Return the key of an event with several features; GDACS numbers events per type."""
    if "categories" in properties and isinstance(properties.get("id"), str):
        return "", properties["id"]
    if isinstance(properties.get("eventtype"), str) and isinstance(properties.get("eventid"), int | str):
        return properties["eventtype"], str(properties["eventid"])
    return None


def _name(group: list[Any]) -> str:
    one = group[0] if isinstance(group[0], dict) else {}
    properties = one["properties"] if isinstance(one.get("properties"), dict) else {}
    ids = (properties.get("id"), properties.get("eventid"), one.get("id"))
    return next((str(name) for name in ids if name not in {None, ""}), "") if _are_scalars(ids) else ""


def _are_scalars(values: tuple[Any, ...]) -> bool:
    return not any(isinstance(one, dict | list) for one in values)


def _to_id(value: object) -> str:
    """Convert an id, which may be the number 0; empty if there is none."""
    return "" if value is None or isinstance(value, bool | dict | list) else str(value)


def _event(group: list[Any], feed: str) -> Event | Withdrawal:
    properties = require_object(require_object(group[0], "the feature").get("properties"), "properties")
    if "eventtype" in properties:
        return _gdacs(group)
    if "categories" in properties:
        return _eonet(group, properties)
    if "mag" in properties:
        return _usgs(group[0], properties)
    if "kind" in properties:
        return _own(group[0], properties, feed)
    raise InvalidEvent("it has neither kind, eventtype (GDACS), categories (EONET) nor mag (USGS)")


def _gdacs(group: list[Any]) -> Event:
    newest = max(group, key=_episode)
    properties = require_object(newest.get("properties"), "properties")
    code, identifier = str(properties["eventtype"]), _to_id(properties.get("eventid"))
    if code not in GDACS_KINDS:
        raise InvalidEvent(f"eventtype {code[:20]!r} is not one of {', '.join(GDACS_KINDS)}")
    if not identifier:
        raise InvalidEvent("it has no eventid")
    severity = properties.get("severitydata")
    severity = severity if isinstance(severity, dict) else {}
    urls = properties.get("url")
    return Event(
        source="gdacs",
        external_id=f"{code}{identifier}",
        kind=GDACS_KINDS[code],
        title=str(properties.get("name") or properties.get("description") or ""),
        occurred_at=parse_time(properties.get("fromdate")),
        ended_at=parse_time(properties["todate"]) if properties.get("todate") else None,
        updated_at=parse_time(properties["datemodified"]) if properties.get("datemodified") else None,
        geometry=_gdacs_geometry([one for one in group if _episode(one) == _episode(newest)]),
        level=parse_level(properties.get("alertlevel")),
        # GDACS gives floods a severity of 0 without a unit
        magnitude=parse_number(severity.get("severity")) if severity.get("severityunit") else None,
        magnitude_unit=str(severity.get("severityunit") or ""),
        link=str(urls.get("report") or "") if isinstance(urls, dict) else "",
    )


def _episode(feature: Feature) -> float:
    """Return the episode of a feature; later episodes have higher numbers."""
    properties = feature.get("properties")
    return parse_number(properties.get("episodeid") if isinstance(properties, dict) else None) or 0.0


def _gdacs_geometry(features: list[Any]) -> BaseGeometry:
    """Combine the geometries of an episode; forecasts and the area of all episodes only without an affected area."""
    if len(features) == 1:
        return parse_geometry(features[0].get("geometry"))
    shapes = [
        (str(one["properties"].get("Class")), combine_geometries([parse_geometry(one.get("geometry"))]))
        for one in features
    ]
    affected = [shape for name, shape in shapes if not name.startswith(_NOT_AFFECTED)]
    areas = any(extract_polygons(shape) for shape in affected)
    return combine_geometries(affected if areas else (shape for _, shape in shapes))


def _usgs(feature: Feature, properties: Feature) -> Event | Withdrawal:
    if properties.get("type") != "earthquake":
        raise InvalidEvent(f"type {str(properties.get('type'))[:40]!r} is not an earthquake")
    own = _to_id(feature.get("id"))
    updated = parse_time(properties["updated"]) if properties.get("updated") else None
    names = tuple(EventName("usgs", one) for one in dict.fromkeys([own, *_network_ids(properties)]) if one)
    cancelled = properties.get("status") == "deleted"
    if cancelled and names and updated and not feature.get("geometry"):
        return Withdrawal(names, updated)
    return Event(
        source="usgs",
        external_id=own,
        kind=EventKind.EARTHQUAKE,
        title=str(properties.get("title") or properties.get("place") or ""),
        occurred_at=parse_time(properties.get("time")),
        updated_at=updated,
        geometry=parse_geometry(feature.get("geometry")),
        level=parse_level(properties.get("alert")),
        magnitude=parse_number(properties.get("mag")),
        magnitude_unit=str(properties.get("magType") or "M"),
        link=str(properties.get("url") or ""),
        cancelled=cancelled,
        shaking=find_contours_link(properties),
        names=names,
    )


def _network_ids(properties: Feature) -> list[str]:
    """List an earthquake's ids at all networks, from ``,us7000abcd,nc73000000,``; the preferred one may change."""
    value = properties.get("ids")
    ids = [one.strip() for one in value.split(",")] if isinstance(value, str) else []
    return [one for one in ids if one][:_MAX_NAMES]


def _eonet(group: list[Any], properties: Feature) -> Event:
    categories = properties["categories"] if isinstance(properties["categories"], list) else []
    named = [str(one.get("id")) for one in categories if isinstance(one, dict)]
    kinds = [EONET_KINDS[one] for one in named if one in EONET_KINDS]
    if not kinds:
        raise InvalidEvent(f"categories {', '.join(named)[:80]!r} include none of {', '.join(EONET_KINDS)}")
    every = [require_object(one.get("properties"), "properties") for one in group]
    times = sorted(parse_time(one.get("date")) for one in every)
    closed = properties.get("closed")
    return Event(
        source="eonet",
        external_id=_to_id(properties.get("id")),
        kind=kinds[0],
        title=str(properties.get("title") or ""),
        occurred_at=times[0],
        updated_at=times[-1],
        ended_at=parse_time(closed) if closed else None,
        geometry=combine_geometries(parse_geometry(one.get("geometry")) for one in group),
        magnitude=max(filter(None, (parse_number(one.get("magnitudeValue")) for one in every)), default=None),
        magnitude_unit=str(properties.get("magnitudeUnit") or ""),
        link=str(properties.get("link") or ""),
    )


def _own(feature: Feature, properties: Feature, feed: str) -> Event | Withdrawal:
    source, identifier = f"geojson:{feed}", _to_id(feature.get("id"))
    updated, cancelled = parse_time(properties.get("updated_at")), properties.get("cancelled") is True
    if cancelled and feature.get("geometry") is None:
        return Withdrawal((EventName(source, identifier),), updated)
    kind = _KINDS.get(str(properties["kind"]))
    if kind is None:
        raise InvalidEvent(f"kind {str(properties['kind'])[:40]!r} is not one of {', '.join(EventKind)}")
    alert_level = parse_level(properties.get("level"))
    if alert_level is None and properties.get("level") is not None:
        raise InvalidEvent(f"level {str(properties['level'])[:40]!r} is not one of {', '.join(EventLevel)}")
    people = _optional_number(properties, "population")
    return Event(
        source=source,
        external_id=identifier,
        kind=kind,
        title=str(properties.get("title") or ""),
        occurred_at=parse_time(properties.get("occurred_at")),
        updated_at=updated,
        ended_at=parse_time(properties["ended_at"]) if properties.get("ended_at") else None,
        geometry=parse_geometry(feature.get("geometry")),
        level=alert_level,
        magnitude=_optional_number(properties, "magnitude"),
        magnitude_unit=str(properties.get("magnitude_unit") or ""),
        population=None if people is None else int(people),
        link=str(properties.get("link") or ""),
        cancelled=cancelled,
    )


def _optional_number(properties: Feature, name: str) -> float | None:
    value = properties.get(name)
    found = parse_number(value)
    if found is None and value is not None:
        raise InvalidEvent(f"{name} {str(value)[:40]!r} is not a number")
    return found


def parse_level(value: object) -> EventLevel | None:
    """Convert a colour as GDACS and USGS name it; None for anything else."""
    return _LEVELS.get(str(value).lower())
