"""Events published as GeoJSON: GDACS, USGS earthquakes, NASA EONET, and segwatch's own form for everyone else.

The own form is a Feature with an ``id``, a ``geometry`` and the properties ``kind``, ``title``, ``occurred_at``,
``updated_at`` (revisions are put in order by it) and, where known, ``ended_at``, ``level``, ``magnitude``,
``magnitude_unit``, ``population``, ``link`` and ``cancelled``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import polygonal_parts
from segwatch.geo.errors import EventRefused
from segwatch.geo.events.dates import moment
from segwatch.geo.events.record import MOST_ENTRIES, each, geojson, mapping, number, track
from segwatch.geo.events.shaking import contours_link
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
#: The cone of a cyclone's forecast; the area of all episodes.
_NOT_AFFECTED = ("Poly_Cones", "Poly_Global")
_MOST_NAMES = 100
_KINDS = {one.value: one for one in EventKind}
_LEVELS = {one.value: one for one in EventLevel}

Feature = Mapping[str, Any]


def features(document: Mapping[str, Any], feed: str) -> Iterator[Event | Withdrawal | RefusedEntry]:
    """Events of a GeoJSON FeatureCollection or Feature; features of one EONET or GDACS event are one event.

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
    yield from each(_together(found, feed), _name, lambda group: _event(group, feed))


def _together(found: list[Any], feed: str) -> list[list[Any]]:
    """Features by event: EONET repeats one id along a track, GDACS has a feature for each shape of an event.

    What cannot be read stays by itself, to be refused alone.
    """
    groups: dict[object, list[Any]] = {}
    for position, one in enumerate(found[: MOST_ENTRIES + 1]):
        properties = one.get("properties") if isinstance(one, dict) else None
        named = _event_name(properties) if isinstance(properties, dict) else None
        if named is not None and not _reads(one, feed):
            named = None
        groups.setdefault(position if named is None else named, []).append(one)
    return list(groups.values())


def _reads(feature: Any, feed: str) -> bool:
    (found,) = each([[feature]], _name, lambda group: _event(group, feed))
    return not isinstance(found, RefusedEntry)


def _event_name(properties: Feature) -> tuple[str, str] | None:
    """Of what may be told in several features; GDACS numbers the events of each type by themselves."""
    if "categories" in properties and isinstance(properties.get("id"), str):
        return "", properties["id"]
    if isinstance(properties.get("eventtype"), str) and isinstance(properties.get("eventid"), int | str):
        return properties["eventtype"], str(properties["eventid"])
    return None


def _name(group: list[Any]) -> str:
    one = group[0] if isinstance(group[0], dict) else {}
    properties = one["properties"] if isinstance(one.get("properties"), dict) else {}
    said = (properties.get("id"), properties.get("eventid"), one.get("id"))
    return next((str(name) for name in said if name not in {None, ""}), "") if _plain(said) else ""


def _plain(said: tuple[Any, ...]) -> bool:
    return not any(isinstance(one, dict | list) for one in said)


def _identity(said: object) -> str:
    """An id, which may be the number 0; empty where there is none."""
    return "" if said is None or isinstance(said, bool | dict | list) else str(said)


def _event(group: list[Any], feed: str) -> Event | Withdrawal:
    properties = mapping(mapping(group[0], "the feature").get("properties"), "properties")
    if "eventtype" in properties:
        return _gdacs(group)
    if "categories" in properties:
        return _eonet(group, properties)
    if "mag" in properties:
        return _usgs(group[0], properties)
    if "kind" in properties:
        return _own(group[0], properties, feed)
    raise EventRefused("it has neither kind, eventtype (GDACS), categories (EONET) nor mag (USGS)")


def _gdacs(group: list[Any]) -> Event:
    newest = max(group, key=_episode)
    properties = mapping(newest.get("properties"), "properties")
    code, identifier = str(properties["eventtype"]), _identity(properties.get("eventid"))
    if code not in GDACS_KINDS:
        raise EventRefused(f"eventtype {code[:20]!r} is none of {', '.join(GDACS_KINDS)}")
    if not identifier:
        raise EventRefused("it has no eventid")
    severity = properties.get("severitydata")
    severity = severity if isinstance(severity, dict) else {}
    urls = properties.get("url")
    return Event(
        source="gdacs",
        external_id=f"{code}{identifier}",
        kind=GDACS_KINDS[code],
        title=str(properties.get("name") or properties.get("description") or ""),
        occurred_at=moment(properties.get("fromdate")),
        ended_at=moment(properties["todate"]) if properties.get("todate") else None,
        updated_at=moment(properties["datemodified"]) if properties.get("datemodified") else None,
        geometry=_gdacs_place([one for one in group if _episode(one) == _episode(newest)]),
        level=level(properties.get("alertlevel")),
        # a flood's severity is published as 0 without a unit
        magnitude=number(severity.get("severity")) if severity.get("severityunit") else None,
        magnitude_unit=str(severity.get("severityunit") or ""),
        link=str(urls.get("report") or "") if isinstance(urls, dict) else "",
    )


def _episode(feature: Feature) -> float:
    """The episode that a feature tells of; later ones have higher numbers."""
    properties = feature.get("properties")
    return number(properties.get("episodeid") if isinstance(properties, dict) else None) or 0.0


def _gdacs_place(features: list[Any]) -> BaseGeometry:
    """Every shape of an episode; forecasts and the area of all episodes only where no affected area is told."""
    if len(features) == 1:
        return geojson(features[0].get("geometry"))
    shapes = [
        (str(one["properties"].get("Class")), track([geojson(one.get("geometry"))])) for one in features
    ]
    affected = [shape for name, shape in shapes if not name.startswith(_NOT_AFFECTED)]
    areas = any(polygonal_parts(shape) for shape in affected)
    return track(affected if areas else (shape for _, shape in shapes))


def _usgs(feature: Feature, properties: Feature) -> Event | Withdrawal:
    if properties.get("type") != "earthquake":
        raise EventRefused(f"type {str(properties.get('type'))[:40]!r} is no earthquake")
    own = _identity(feature.get("id"))
    updated = moment(properties["updated"]) if properties.get("updated") else None
    names = tuple(EventName("usgs", one) for one in dict.fromkeys([own, *_networks_ids(properties)]) if one)
    cancelled = properties.get("status") == "deleted"
    if cancelled and names and updated and not feature.get("geometry"):
        return Withdrawal(names, updated)
    return Event(
        source="usgs",
        external_id=own,
        kind=EventKind.EARTHQUAKE,
        title=str(properties.get("title") or properties.get("place") or ""),
        occurred_at=moment(properties.get("time")),
        updated_at=updated,
        geometry=geojson(feature.get("geometry")),
        level=level(properties.get("alert")),
        magnitude=number(properties.get("mag")),
        magnitude_unit=str(properties.get("magType") or "M"),
        link=str(properties.get("url") or ""),
        cancelled=cancelled,
        shaking=contours_link(properties),
        names=names,
    )


def _networks_ids(properties: Feature) -> list[str]:
    """Ids of one earthquake at several networks, as ``,us7000abcd,nc73000000,``; the preferred one may change."""
    said = properties.get("ids")
    every = [one.strip() for one in said.split(",")] if isinstance(said, str) else []
    return [one for one in every if one][:_MOST_NAMES]


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
        external_id=_identity(properties.get("id")),
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


def _own(feature: Feature, properties: Feature, feed: str) -> Event | Withdrawal:
    source, identifier = f"geojson:{feed}", _identity(feature.get("id"))
    updated, cancelled = moment(properties.get("updated_at")), properties.get("cancelled") is True
    if cancelled and feature.get("geometry") is None:
        return Withdrawal((EventName(source, identifier),), updated)
    kind = _KINDS.get(str(properties["kind"]))
    if kind is None:
        raise EventRefused(f"kind {str(properties['kind'])[:40]!r} is none of {', '.join(EventKind)}")
    told = level(properties.get("level"))
    if told is None and properties.get("level") is not None:
        raise EventRefused(f"level {str(properties['level'])[:40]!r} is none of {', '.join(EventLevel)}")
    people = _number_or_nothing(properties, "population")
    return Event(
        source=source,
        external_id=identifier,
        kind=kind,
        title=str(properties.get("title") or ""),
        occurred_at=moment(properties.get("occurred_at")),
        updated_at=updated,
        ended_at=moment(properties["ended_at"]) if properties.get("ended_at") else None,
        geometry=geojson(feature.get("geometry")),
        level=told,
        magnitude=_number_or_nothing(properties, "magnitude"),
        magnitude_unit=str(properties.get("magnitude_unit") or ""),
        population=None if people is None else int(people),
        link=str(properties.get("link") or ""),
        cancelled=cancelled,
    )


def _number_or_nothing(properties: Feature, name: str) -> float | None:
    said = properties.get(name)
    found = number(said)
    if found is None and said is not None:
        raise EventRefused(f"{name} {str(said)[:40]!r} is no number")
    return found


def level(said: object) -> EventLevel | None:
    """A colour as GDACS and USGS name it; anything else is no level."""
    return _LEVELS.get(str(said).lower())
