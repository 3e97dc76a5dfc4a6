"""Events published as GeoJSON: GDACS, USGS earthquakes, NASA EONET, and segwatch's own form for everyone else.

The own form is a Feature with an ``id``, a ``geometry`` and the properties ``kind``, ``title``, ``occurred_at``,
``updated_at`` (revisions are put in order by it) and, where known, ``ended_at``, ``level``, ``magnitude``,
``magnitude_unit``, ``population``, ``link`` and ``cancelled``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from segwatch.geo.errors import EventRefused
from segwatch.geo.events.record import each, geojson, mapping, moment, number, track
from segwatch.geo.events.shaking import contours_link
from segwatch.geo.types import Event, EventKind, EventLevel, RefusedEntry

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
#: Categories of https://eonet.gsfc.nasa.gov/ that a satellite can be pointed at.
EONET_KINDS = {
    "earthquakes": EventKind.EARTHQUAKE,
    "floods": EventKind.FLOOD,
    "wildfires": EventKind.WILDFIRE,
    "severeStorms": EventKind.CYCLONE,
    "volcanoes": EventKind.VOLCANO,
    "landslides": EventKind.LANDSLIDE,
    "drought": EventKind.DROUGHT,
}
_KINDS = {one.value: one for one in EventKind}
_LEVELS = {one.value: one for one in EventLevel}

Feature = Mapping[str, Any]


def features(document: Mapping[str, Any], feed: str) -> Iterator[Event | RefusedEntry]:
    """Events of a GeoJSON FeatureCollection or Feature; features of one EONET event are one event.

    Args:
        document: as parsed.
        feed: short name of where it came from; part of the source of events in the own form.

    Raises
    ------
    EventRefused
        The document is neither.
    """
    if document.get("type") == "Feature":
        found: list[Any] = [document]
    elif document.get("type") == "FeatureCollection" and isinstance(document.get("features"), list):
        found = document["features"]
    else:
        raise EventRefused("the document is JSON, but no GeoJSON FeatureCollection or Feature")
    yield from each(_together(found), _name, lambda group: _event(group, feed))


def _together(found: list[Any]) -> list[list[Any]]:
    """Features by event: EONET repeats one id along a track, GDACS and USGS name every event once."""
    groups: dict[object, list[Any]] = {}
    for position, one in enumerate(found):
        properties = one.get("properties") if isinstance(one, dict) else None
        named = properties.get("id") if isinstance(properties, dict) and "categories" in properties else None
        groups.setdefault(named if isinstance(named, str) else position, []).append(one)
    return list(groups.values())


def _name(group: list[Any]) -> str:
    one = group[0] if isinstance(group[0], dict) else {}
    properties = one["properties"] if isinstance(one.get("properties"), dict) else {}
    return str(properties.get("id") or properties.get("eventid") or one.get("id") or "")


def _event(group: list[Any], feed: str) -> Event:
    properties = mapping(mapping(group[0], "the feature").get("properties"), "properties")
    if "eventtype" in properties:
        return _gdacs(group[0], properties)
    if "categories" in properties:
        return _eonet(group, properties)
    if "mag" in properties:
        return _usgs(group[0], properties)
    if "kind" in properties:
        return _own(group[0], properties, feed)
    raise EventRefused("it has neither kind, eventtype (GDACS), categories (EONET) nor mag (USGS)")


def _gdacs(feature: Feature, properties: Feature) -> Event:
    code = str(properties["eventtype"])
    if code not in GDACS_KINDS:
        raise EventRefused(f"eventtype {code[:20]!r} is none of {', '.join(GDACS_KINDS)}")
    severity = properties.get("severitydata")
    severity = severity if isinstance(severity, dict) else {}
    urls = properties.get("url")
    return Event(
        source="gdacs",
        external_id=f"{code}{properties.get('eventid')}",
        kind=GDACS_KINDS[code],
        title=str(properties.get("name") or properties.get("description") or ""),
        occurred_at=moment(properties.get("fromdate")),
        ended_at=moment(properties["todate"]) if properties.get("todate") else None,
        updated_at=moment(properties["datemodified"]) if properties.get("datemodified") else None,
        geometry=geojson(feature.get("geometry")),
        level=level(properties.get("alertlevel")),
        # a flood's severity is published as 0 without a unit
        magnitude=number(severity.get("severity")) if severity.get("severityunit") else None,
        magnitude_unit=str(severity.get("severityunit") or ""),
        link=str(urls.get("report") or "") if isinstance(urls, dict) else "",
    )


def _usgs(feature: Feature, properties: Feature) -> Event:
    if properties.get("type") != "earthquake":
        raise EventRefused(f"type {str(properties.get('type'))[:40]!r} is no earthquake")
    return Event(
        source="usgs",
        external_id=str(feature.get("id") or ""),
        kind=EventKind.EARTHQUAKE,
        title=str(properties.get("title") or properties.get("place") or ""),
        occurred_at=moment(properties.get("time")),
        updated_at=moment(properties["updated"]) if properties.get("updated") else None,
        geometry=geojson(feature.get("geometry")),
        level=level(properties.get("alert")),
        magnitude=number(properties.get("mag")),
        magnitude_unit=str(properties.get("magType") or "M"),
        link=str(properties.get("url") or ""),
        cancelled=properties.get("status") == "deleted",
        shaking=contours_link(properties),
    )


def _eonet(group: list[Any], properties: Feature) -> Event:
    categories = properties["categories"] if isinstance(properties["categories"], list) else []
    named = [str(one.get("id")) for one in categories if isinstance(one, dict)]
    kinds = [EONET_KINDS[one] for one in named if one in EONET_KINDS]
    if not kinds:
        raise EventRefused(f"categories {', '.join(named)[:80]!r} hold none of {', '.join(EONET_KINDS)}")
    every = [mapping(one.get("properties"), "properties") for one in group]
    times = sorted(moment(one.get("date")) for one in every)
    closed = properties.get("closed")
    return Event(
        source="eonet",
        external_id=str(properties.get("id") or ""),
        kind=kinds[0],
        title=str(properties.get("title") or ""),
        occurred_at=times[0],
        updated_at=times[-1],
        ended_at=moment(closed) if closed else None,
        geometry=track(geojson(one.get("geometry")) for one in group),
        magnitude=max(filter(None, (number(one.get("magnitudeValue")) for one in every)), default=None),
        magnitude_unit=str(properties.get("magnitudeUnit") or ""),
        link=str(properties.get("link") or ""),
    )


def _own(feature: Feature, properties: Feature, feed: str) -> Event:
    kind = _KINDS.get(str(properties["kind"]))
    if kind is None:
        raise EventRefused(f"kind {str(properties['kind'])[:40]!r} is none of {', '.join(EventKind)}")
    told = level(properties.get("level"))
    if told is None and properties.get("level") is not None:
        raise EventRefused(f"level {str(properties['level'])[:40]!r} is none of {', '.join(EventLevel)}")
    people = number(properties.get("population"))
    return Event(
        source=f"geojson:{feed}",
        external_id=str(feature.get("id") or ""),
        kind=kind,
        title=str(properties.get("title") or ""),
        occurred_at=moment(properties.get("occurred_at")),
        updated_at=moment(properties.get("updated_at")),
        ended_at=moment(properties["ended_at"]) if properties.get("ended_at") else None,
        geometry=geojson(feature.get("geometry")),
        level=told,
        magnitude=number(properties.get("magnitude")),
        magnitude_unit=str(properties.get("magnitude_unit") or ""),
        population=None if people is None else int(people),
        link=str(properties.get("link") or ""),
        cancelled=properties.get("cancelled") is True,
    )


def level(said: object) -> EventLevel | None:
    """A colour as GDACS and USGS name it; anything else is no level."""
    return _LEVELS.get(str(said).lower())
