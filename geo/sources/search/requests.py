"""What a search asks for, and the forms in which a catalog may be asked. Pure.

The standard leaves much open, and catalogs differ. A search begins in the form that the catalog's root declares and
falls back, step by step, when the catalog refuses it:

| a refusal | then |
| --- | --- |
| 405, 501, 403, 404, 415: this method is not offered | the other of POST and GET, then the collection's own items |
| 414, 431: the address is too long | the bounding box in the place of the geometry |
| 413, 400, 422: too much, or something not understood | a lower ``limit``, down to none; the bounding box; the other
  method; without the time of the update |

What a catalog cannot be asked for is held against each item that it gives, so every fallback finds the same items.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import shapely
from pystac_client import ItemSearch
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import crosses
from segwatch.geo.area import polygonal_parts

PAGE_ITEMS = 100
#: Tried in turn where a catalog refuses more; None = its own page size.
_LOWER_LIMITS = (50, 20, 10, None)
#: Longer addresses are refused by many servers and by what stands before them.
_MAX_QUERY_CHARS = 2000
_NUMBER = re.compile(r"(?<![\w.])\d{1,4}(?![\w.]*\d)")
_NOT_OFFERED = frozenset({403, 404, 405, 411, 415, 501})
_TOO_LONG = frozenset({414, 431})
_NOT_UNDERSTOOD = frozenset({400, 413, 422})

Method = Literal["GET", "POST"]


class PropertyQuery(StrEnum):
    """How a catalog can be asked by a property."""

    QUERY = "query"
    FILTER = "filter"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Query:
    """What one search asks for; a field that is None asks for everything."""

    collection: str | None
    area: BaseGeometry | None = None
    """EPSG:4326, split at 180 degrees."""
    start: datetime | None = None
    end: datetime | None = None
    """Of the acquisition, both inclusive."""
    updated_after: datetime | None = None
    after_id: str | None = None
    to_id: str | None = None
    """Ids of the range (``after_id``, ``to_id``] in the catalog's own order."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    method: Method
    href: str
    parameters: dict[str, Any]
    """Body of a POST, query of a GET."""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def fingerprint(self) -> str:
        """The same for requests that are the same."""
        return json.dumps([self.method, self.href, self.parameters], sort_keys=True, default=str)


@dataclass(frozen=True, slots=True)
class Way:
    """A form of asking."""

    method: Method = "POST"
    limit: int | None = PAGE_ITEMS
    by_box: bool = False
    """Asks with the area's bounding box in the place of the area."""
    by_property: PropertyQuery = PropertyQuery.NONE
    items: bool = False
    """Asks the collection's own items, as OGC API Features has it, in the place of the search across collections."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a catalog is asked."""

    search: str
    items: str | None = None
    """Template with ``{collection}``, or the items of the one collection that the address is of."""
    collections: str | None = None
    """The list of collections; None where only a part of the API is known."""


def request_for(query: Query, way: Way, endpoints: Endpoints) -> Request:
    """The first request of a search."""
    if way.items:
        name = quote(query.collection or "", safe="")
        href = (endpoints.items or "").replace("{collection}", name)
        return Request("GET", href, _parameters(replace(query, collection=None), way))
    request = Request(way.method, endpoints.search, _parameters(query, way))
    too_long = way.method == "GET" and len(urlencode(request.parameters)) > _MAX_QUERY_CHARS
    if too_long and not way.by_box:
        return request_for(query, replace(way, by_box=True), endpoints)
    return request


def _parameters(query: Query, way: Way) -> dict[str, Any]:
    """As the library writes them for the method."""
    times = [query.start, query.end]
    has_times = any(one is not None for one in times)
    box = query.area is not None and (way.by_box or way.items)
    search = ItemSearch(
        url="",
        method="GET" if way.items else way.method,
        limit=way.limit,
        collections=None if query.collection is None else [query.collection],
        intersects=mapping(query.area) if query.area is not None and not box else None,
        bbox=[round(side, 9) for side in query.area.bounds] if query.area is not None and box else None,
        datetime=[None if one is None else one.astimezone(UTC) for one in times] if has_times else None,
        **_conditions(query, way),
    )
    return search.get_parameters()


def _conditions(query: Query, way: Way) -> dict[str, Any]:
    """What is asked of properties, where the catalog can be asked for that."""
    wanted = [
        ("updated", "gt", ">", _timestamp(query.updated_after)),
        ("id", "gt", ">", query.after_id),
        ("id", "lte", "<=", query.to_id),
    ]
    given = [one for one in wanted if one[3] is not None]
    if not given or way.by_property is PropertyQuery.NONE:
        return {}
    if way.by_property is PropertyQuery.QUERY:
        asked: dict[str, dict[str, Any]] = {}
        for name, operator, _, value in given:
            asked.setdefault(name, {})[operator] = value
        return {"query": asked}
    terms = [
        {"op": sign, "args": [{"property": name}, {"timestamp": value} if name == "updated" else value]}
        for name, _, sign, value in given
    ]
    return {
        "filter": terms[0] if len(terms) == 1 else {"op": "and", "args": terms},
        "filter_lang": "cql2-json",
    }


def _timestamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def fallbacks(way: Way, status: int, text: str, query: Query, endpoints: Endpoints) -> Iterator[Way]:
    """Ways to try, best first, after a catalog refused one with an HTTP status and its words."""
    other: Method = "GET" if way.method == "POST" else "POST"
    if status in _NOT_OFFERED and not way.items:
        yield replace(way, method=other)
        if endpoints.items is not None and query.collection is not None:
            yield replace(way, items=True)
    elif status in _TOO_LONG:
        yield replace(way, by_box=True)
        yield replace(way, method="POST")
    elif status in _NOT_UNDERSTOOD:
        limits = [*_named_limits(text), *_LOWER_LIMITS]
        yield from (replace(way, limit=one) for one in limits if _is_lower(one, way.limit))
        yield replace(way, by_box=True)
        yield replace(way, method=other)
        yield from (replace(way, method=other, limit=one) for one in (10, None))
        if query.updated_after is not None and query.after_id is query.to_id is None:
            yield replace(way, by_property=PropertyQuery.NONE)


def _named_limits(text: str) -> list[int]:
    """Numbers that a refusal names, the largest first: one may be the largest limit."""
    numbers = {int(one) for one in _NUMBER.findall(text[:2000])} if "limit" in text.lower() else set()
    return sorted((one for one in numbers if 1 <= one < PAGE_ITEMS), reverse=True)[:2]


def _is_lower(limit: int | None, than: int | None) -> bool:
    return than is not None and (limit is None or limit < than)


def hemispheres(area: BaseGeometry) -> list[BaseGeometry]:
    """The area; where it crosses 180 degrees its parts on both sides, as a bounding box of both spans the earth."""
    if not crosses(area):
        return [area]
    west = [one for one in polygonal_parts(area) if one.bounds[0] < 0]
    east = [one for one in polygonal_parts(area) if one.bounds[0] >= 0]
    return [shapely.MultiPolygon(west), shapely.MultiPolygon(east)]


def quarters(area: BaseGeometry) -> list[BaseGeometry]:
    """The parts of an area in the four quarters of its bounding box."""
    west, south, east, north = area.bounds
    x, y = (west + east) / 2, (south + north) / 2
    boxes = [(west, south, x, y), (x, south, east, y), (west, y, x, north), (x, y, east, north)]
    parts = [area.intersection(shapely.box(*one)) for one in boxes]
    return [shapely.MultiPolygon(kept) for kept in map(polygonal_parts, parts) if kept]


def joined(root: str, path: str) -> str:
    """An address below a root, whose query (a key, it may be) is kept."""
    parts = urlsplit(root)
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/{path}", parts.query, ""))
