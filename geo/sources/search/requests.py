"""Build search requests in the forms that STAC catalogs accept. Pure.

Catalogs implement different parts of the STAC API specification. A search starts in the form that the catalog's root
declares and falls back step by step when the catalog refuses it:

| status of the refusal | fallback |
| --- | --- |
| 405, 501, 403, 404, 415: method not supported | the other one of POST and GET, then the collection's items endpoint |
| 414, 431: URL too long | the bounding box instead of the geometry |
| 413, 400, 422: too large, or not understood | a lower ``limit``, down to none; the bounding box; the other method; \
  no ``updated`` filter |

Conditions that a catalog does not support are applied to its items afterwards, so every form finds the same items.
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

from segwatch.geo.antimeridian import crosses_antimeridian
from segwatch.geo.area import extract_polygons

PAGE_ITEMS = 100
"""Requested page size."""
#: Page sizes to try in turn after a refusal; None = the catalog's default.
_LOWER_LIMITS = (50, 20, 10, None)
#: Many servers and proxies refuse longer URLs.
_MAX_QUERY_CHARS = 2000
_NUMBER = re.compile(r"(?<![\w.])\d{1,4}(?![\w.]*\d)")
_UNSUPPORTED = frozenset({403, 404, 405, 411, 415, 501})
_TOO_LONG = frozenset({414, 431})
_NOT_UNDERSTOOD = frozenset({400, 413, 422})

Method = Literal["GET", "POST"]


class PropertyFilter(StrEnum):
    """Extension by which a catalog filters items by a property."""

    QUERY = "query"
    """Query extension."""
    FILTER = "filter"
    """Filter extension with CQL2 JSON."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """Conditions of one search; None = no condition."""

    collection: str | None
    area: BaseGeometry | None = None
    """EPSG:4326, on one side of 180 degrees longitude."""
    start: datetime | None = None
    end: datetime | None = None
    """Acquisition period, inclusive; timezone-aware."""
    updated_after: datetime | None = None
    after_id: str | None = None
    to_id: str | None = None
    """Ids in (``after_id``, ``to_id``], in the catalog's sort order."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request."""

    method: Method
    href: str
    parameters: dict[str, Any]
    """JSON body of a POST, query parameters of a GET."""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def fingerprint(self) -> str:
        """Equal for equal requests."""
        return json.dumps([self.method, self.href, self.parameters], sort_keys=True, default=str)


@dataclass(frozen=True, slots=True)
class RequestForm:
    """Form of a search request."""

    method: Method = "POST"
    limit: int | None = PAGE_ITEMS
    uses_bbox: bool = False
    """Send the bounding box of the area instead of its geometry."""
    property_filter: PropertyFilter = PropertyFilter.NONE
    uses_items: bool = False
    """Use the items endpoint of the collection (OGC API Features) instead of the search across collections."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Endpoints of a STAC API."""

    search: str
    items: str | None = None
    """URL template with ``{collection}``, or the items URL of the only known collection."""
    collections: str | None = None
    """List of collections; None where only a part of the API is known."""


def build_request(query: SearchQuery, form: RequestForm, endpoints: Endpoints) -> HttpRequest:
    """Build the first request of a search."""
    if form.uses_items:
        name = quote(query.collection or "", safe="")
        href = (endpoints.items or "").replace("{collection}", name)
        return HttpRequest("GET", href, _parameters(replace(query, collection=None), form))
    request = HttpRequest(form.method, endpoints.search, _parameters(query, form))
    too_long = form.method == "GET" and len(urlencode(request.parameters)) > _MAX_QUERY_CHARS
    if too_long and not form.uses_bbox:
        return build_request(query, replace(form, uses_bbox=True), endpoints)
    return request


def _parameters(query: SearchQuery, form: RequestForm) -> dict[str, Any]:
    """Search parameters as pystac-client writes them for the method."""
    times = [query.start, query.end]
    has_times = any(one is not None for one in times)
    box = query.area is not None and (form.uses_bbox or form.uses_items)
    search = ItemSearch(
        url="",
        method="GET" if form.uses_items else form.method,
        limit=form.limit,
        collections=None if query.collection is None else [query.collection],
        intersects=mapping(query.area) if query.area is not None and not box else None,
        bbox=[round(side, 9) for side in query.area.bounds] if query.area is not None and box else None,
        datetime=[None if one is None else one.astimezone(UTC) for one in times] if has_times else None,
        **_conditions(query, form),
    )
    return search.get_parameters()


def _conditions(query: SearchQuery, form: RequestForm) -> dict[str, Any]:
    """Conditions on properties, where the catalog supports them."""
    conditions = [
        ("updated", "gt", ">", _timestamp(query.updated_after)),
        ("id", "gt", ">", query.after_id),
        ("id", "lte", "<=", query.to_id),
    ]
    given = [condition for condition in conditions if condition[3] is not None]
    if not given or form.property_filter is PropertyFilter.NONE:
        return {}
    if form.property_filter is PropertyFilter.QUERY:
        operators: dict[str, dict[str, Any]] = {}
        for name, operator, _, value in given:
            operators.setdefault(name, {})[operator] = value
        return {"query": operators}
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


def list_fallbacks(
    form: RequestForm, status: int, text: str, query: SearchQuery, endpoints: Endpoints
) -> Iterator[RequestForm]:
    """Yield the forms to try, best first, after a catalog refused one with this HTTP status and response text."""
    other: Method = "GET" if form.method == "POST" else "POST"
    if status in _UNSUPPORTED and not form.uses_items:
        yield replace(form, method=other)
        if endpoints.items is not None and query.collection is not None:
            yield replace(form, uses_items=True)
    elif status in _TOO_LONG:
        yield replace(form, uses_bbox=True)
        yield replace(form, method="POST")
    elif status in _NOT_UNDERSTOOD:
        limits = [*_named_limits(text), *_LOWER_LIMITS]
        yield from (replace(form, limit=one) for one in limits if _is_lower(one, form.limit))
        yield replace(form, uses_bbox=True)
        yield replace(form, method=other)
        yield from (replace(form, method=other, limit=one) for one in (10, None))
        if query.updated_after is not None and query.after_id is query.to_id is None:
            yield replace(form, property_filter=PropertyFilter.NONE)


def _named_limits(text: str) -> list[int]:
    """Up to two numbers in the response text, largest first: one may be the catalog's maximum ``limit``."""
    numbers = {int(one) for one in _NUMBER.findall(text[:2000])} if "limit" in text.lower() else set()
    return sorted((one for one in numbers if 1 <= one < PAGE_ITEMS), reverse=True)[:2]


def _is_lower(limit: int | None, than: int | None) -> bool:
    return than is not None and (limit is None or limit < than)


def split_hemispheres(area: BaseGeometry) -> list[BaseGeometry]:
    """Split an area (EPSG:4326) at 180 degrees longitude: the bounding box of both sides would span the earth."""
    if not crosses_antimeridian(area):
        return [area]
    west = [one for one in extract_polygons(area) if one.bounds[0] < 0]
    east = [one for one in extract_polygons(area) if one.bounds[0] >= 0]
    return [shapely.MultiPolygon(west), shapely.MultiPolygon(east)]


def split_quarters(area: BaseGeometry) -> list[BaseGeometry]:
    """Split an area by the four quarters of its bounding box; empty parts are omitted."""
    west, south, east, north = area.bounds
    x, y = (west + east) / 2, (south + north) / 2
    boxes = [(west, south, x, y), (x, south, east, y), (west, y, x, north), (x, y, east, north)]
    parts = [area.intersection(shapely.box(*one)) for one in boxes]
    return [shapely.MultiPolygon(kept) for kept in map(extract_polygons, parts) if kept]


def join_url(root: str, path: str) -> str:
    """Append a path to a URL and keep its query, which may hold an API key."""
    parts = urlsplit(root)
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/{path}", parts.query, ""))
