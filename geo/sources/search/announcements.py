"""Read CloudEvents 1.0 with which catalogs announce new STAC items.

An event comes in structured mode (one JSON object), in batch mode (a list of them), or in binary mode (its attributes
in ``ce-`` headers, its data as the body). Its data are an item, a FeatureCollection of items, or an object that has
either under ``item`` or ``items``. Nothing is read of an item but its id, collection, bounding box and the hosts of its
links: the catalog is searched for the rest, as if nobody had announced anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import to_box
from segwatch.geo.bounded.documents import parse_json
from segwatch.geo.errors import InvalidAnnouncement, TooComplex
from segwatch.geo.types.announcement import AnnouncedItem, Announcement

#: Events and items of one message.
MAX_EVENTS = 100
MAX_ITEMS = 1000
_MAX_TEXT = 500
_MAX_LINKS = 50
#: Tuples, as values of documents from outside need not be hashable.
_TYPES = ("Feature", "FeatureCollection")
_OWN_LINKS = ("self", "root", "parent", "collection")
_STRUCTURED = "application/cloudevents+json"
_BATCH = "application/cloudevents-batch+json"


def read_announcements(body: bytes, headers: Mapping[str, str]) -> list[Announcement]:
    """Read the events of a message.

    Parameters
    ----------
    headers
        Of the HTTP request, names in lower case.

    Raises
    ------
    InvalidAnnouncement
        It is not a CloudEvent about STAC items.
    """
    document = _parse_json(body)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == _BATCH or isinstance(document, list):
        events = document if isinstance(document, list) else []
        if not 0 < len(events) <= MAX_EVENTS:
            raise InvalidAnnouncement(
                f"a batch has 1 to {MAX_EVENTS} events; send more of them in several messages"
            )
    elif kind == _STRUCTURED or "ce-id" not in headers:
        events = [document]
    else:
        events = [
            {name[3:]: value for name, value in headers.items() if name.startswith("ce-")}
            | {"data": document}
        ]
    found = [_read_event(one) for one in events]
    if sum(len(one.items) for one in found) > MAX_ITEMS:
        raise InvalidAnnouncement(f"a message announces at most {MAX_ITEMS} items; send several")
    return found


def _parse_json(body: bytes) -> Any:
    try:
        return parse_json(body)
    except (ValueError, TooComplex) as error:
        raise InvalidAnnouncement(
            "the body is not JSON; send a CloudEvent with a STAC item as its data"
        ) from error


def _read_event(event: Any) -> Announcement:
    if not isinstance(event, dict):
        raise InvalidAnnouncement("an event is not a JSON object")
    if event.get("specversion") != "1.0":
        raise InvalidAnnouncement('specversion is not "1.0"; send CloudEvents 1.0')
    source, identity, _ = (_read_text(event, name) for name in ("source", "id", "type"))
    return Announcement(source, identity, tuple(_read_items(event.get("data"))))


def _read_text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT:
        raise InvalidAnnouncement(f"{name} is missing, or no text of at most {_MAX_TEXT} characters")
    return value


def _read_items(data: Any) -> Iterator[AnnouncedItem]:
    if isinstance(data, dict) and data.get("type") not in _TYPES:
        data = data.get("item", data.get("items"))
    if isinstance(data, dict) and data.get("type") == "FeatureCollection":
        data = data.get("features")
    items = data if isinstance(data, list) else [data]
    if not 0 < len(items) <= MAX_ITEMS:
        raise InvalidAnnouncement(f"an event announces 1 to {MAX_ITEMS} items")
    yield from map(_read_item, items)


def _read_item(item: Any) -> AnnouncedItem:
    if not isinstance(item, dict) or item.get("type") != "Feature":
        raise InvalidAnnouncement("data is not a STAC item; send a GeoJSON Feature with id and collection")
    return AnnouncedItem(
        _read_text(item, "id"),
        _read_text(item, "collection"),
        _read_box(item.get("bbox")),
        _read_hosts(item.get("links")),
    )


def _read_box(bbox: Any) -> BaseGeometry | None:
    """Read a bounding box; None if there is none, as an unknown place may concern every watch."""
    if bbox is None:
        return None
    numbers = [float(one) for one in bbox if _is_number(one)] if isinstance(bbox, list) else []
    if len(numbers) not in {4, 6} or len(numbers) != len(bbox):
        raise InvalidAnnouncement("bbox is not a list of 4 or 6 numbers")
    west, south = numbers[:2]
    east, north = numbers[len(numbers) // 2 :][:2]
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        raise InvalidAnnouncement("bbox is not west, south, east, north in degrees")
    return to_box((west, south, east, north))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_hosts(links: Any) -> frozenset[str]:
    found = set()
    for link in links[:_MAX_LINKS] if isinstance(links, list) else ():
        href = link.get("href") if isinstance(link, dict) else None
        if not isinstance(href, str) or link.get("rel") not in _OWN_LINKS:
            continue
        try:
            parts = urlsplit(href)
        except ValueError:
            continue
        if parts.scheme in {"http", "https"} and parts.hostname:
            found.add(parts.hostname.lower())
    return frozenset(found)
