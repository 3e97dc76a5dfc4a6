"""Search a static catalog (STAC catalog specification) by following its links. Pure: the caller reads the files.

Collections whose extent does not intersect the search are skipped. A paged list of items is followed; a page that
cannot be read makes the search incomplete, as its items are unknown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from segwatch.geo.items import parse_time
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.search.collections import CollectionInfo
from segwatch.geo.sources.search.endpoints import iter_links, resolve_link
from segwatch.geo.sources.search.paging import StacResponse, find_next_request
from segwatch.geo.sources.search.requests import HttpRequest
from segwatch.geo.text.storable import shorten, to_storable

MAX_FILES = 100_000
"""Maximum files of one search; more take longer than anybody waits."""
#: Files, and items of each catalog or collection, that are read to learn which collections there are.
_MAX_SAMPLED, _SAMPLED_ITEMS = 200, 2
_MAX_NAME_CHARS = 255
#: Tuples, as values of documents from outside need not be hashable.
_FOLLOWED = ("child", "item", "items")
_ITEM_TYPES = ("Feature", "FeatureCollection")

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file could not be read."""

    href: str
    reason: str
    is_outage: bool = False
    """Whether an outage is the cause, not the file."""


@dataclass(frozen=True, slots=True)
class IncompleteListing:
    """The listing may be incomplete, and why."""

    reason: str


#: Reads the document at a URL, or tells why it cannot be read.
Fetch = Callable[[HttpRequest], StacResponse | UnreadableFile]


@dataclass(frozen=True, slots=True)
class _Step:
    request: HttpRequest
    page: bool = False
    """Whether it is a further page of a list, not a separate file."""
    response: StacResponse | None = None


def walk_files(
    url: str, document: Document, fetch: Fetch, extent: SearchExtent
) -> Iterator[Document | UnreadableFile | IncompleteListing]:
    """Yield the items of all files that are linked from a root document.

    Parameters
    ----------
    url, document
        The root document, already read.
    fetch
        Reads other documents.
    """
    first = HttpRequest("GET", url, {})
    waiting = deque([_Step(first, response=StacResponse(document, url))])
    known = {first.fingerprint}
    while waiting:
        step = waiting.popleft()
        response = step.response or fetch(step.request)
        if isinstance(response, UnreadableFile):
            reason = f"its further page {hrefs.redact_href(response.href)} cannot be read: {response.reason}"
            yield IncompleteListing(reason) if step.page else response
            continue
        yield from _items(response)
        followers = list(_next_steps(response, step.request, extent))
        if not step.page and not any(one.page for one in followers):
            yield from _find_missing(response.document)
        for one in followers:
            if one.request.fingerprint in known:
                if one.page:
                    yield IncompleteListing(f"the link of {response.href} to a further page leads back")
            elif len(known) < MAX_FILES:
                known.add(one.request.fingerprint)
                waiting.append(one)
    if len(known) >= MAX_FILES:
        yield IncompleteListing(f"it consists of more than {MAX_FILES} files; give the URL of a part of it")


def sample_collections(
    url: str, document: Document, fetch: Fetch
) -> Iterator[CollectionInfo | UnreadableFile]:
    """Yield the collections that the items of static files name, from the first items of each catalog or collection.

    Parameters are as in :func:`walk_files`. Ends after :data:`_MAX_SAMPLED` files, with an unreadable one in place of
    what was not looked at.
    """
    first = HttpRequest("GET", url, {})
    waiting = deque([_Step(first, response=StacResponse(document, url))])
    known = {first.fingerprint}
    while waiting:
        step = waiting.popleft()
        response = step.response or fetch(step.request)
        if isinstance(response, UnreadableFile):
            yield response
            continue
        for item in islice(_items(response), _SAMPLED_ITEMS):
            yield from _name_collection(item)
        items = 0
        for href, is_item in _children(response):
            request = HttpRequest("GET", href, {})
            items += is_item
            if request.fingerprint in known or (is_item and items > _SAMPLED_ITEMS):
                continue
            if len(known) >= _MAX_SAMPLED:
                yield UnreadableFile(href, f"only the first {_MAX_SAMPLED} files were read")
                return
            known.add(request.fingerprint)
            waiting.append(_Step(request))


def _children(response: StacResponse) -> Iterator[tuple[str, bool]]:
    """Yield the addresses that a file links to, and whether each is that of an item."""
    if _get(response.document, "type") in _ITEM_TYPES:
        return
    for link in iter_links(response.document) if isinstance(response.document, dict) else ():
        href = resolve_link(response.href, link) if link.get("rel") in _FOLLOWED else None
        if href is not None:
            yield href, link.get("rel") == "item"


def _name_collection(item: Document) -> Iterator[CollectionInfo]:
    properties = item.get("properties")
    name = item.get("collection") or (properties.get("collection") if isinstance(properties, dict) else None)
    if isinstance(name, str):
        yield CollectionInfo(shorten(str(to_storable(name)), _MAX_NAME_CHARS), "")
    else:  # belongs to any collection
        yield CollectionInfo("", "")


def _items(response: StacResponse) -> Iterator[Document]:
    kind, features = _get(response.document, "type"), _get(response.document, "features")
    if kind == "Feature":
        # relative hrefs are relative to the URL where the item was found
        yield {**response.document, "links": [{"rel": "self", "href": response.href}]}
    elif kind == "FeatureCollection":
        for one in features if isinstance(features, list) else ():
            if isinstance(one, dict):
                yield _with_self_link(one, response.href)


def _with_self_link(item: Document, address: str) -> Document:
    """Give an item of a list a self link: its own, relative to the list's address, else that address."""
    links = list(iter_links(item))
    own = next((resolve_link(address, one) for one in links if one.get("rel") == "self"), None)
    return {**item, "links": [{"rel": "self", "href": own or address}, *links]}


def _next_steps(response: StacResponse, request: HttpRequest, extent: SearchExtent) -> Iterator[_Step]:
    kind = _get(response.document, "type")
    further = find_next_request(response, request, request) if kind == "FeatureCollection" else None
    if further is not None:
        yield _Step(further, page=True)
    if kind in _ITEM_TYPES or (kind == "Collection" and not extent.may_hold(response.document)):
        return
    for link in iter_links(response.document) if isinstance(response.document, dict) else ():
        href = resolve_link(response.href, link) if link.get("rel") in _FOLLOWED else None
        if href is not None:
            yield _Step(HttpRequest("GET", href, {}))


def _find_missing(document: Any) -> Iterator[IncompleteListing]:
    """Report a list that counts more items than it has, such as a saved first page without its next link."""
    features, matched = _get(document, "features"), _get(document, "numberMatched")
    if isinstance(features, list) and isinstance(matched, int) and matched > len(features):
        yield IncompleteListing(
            f"it is a list of {len(features)} items that reports {matched} and links to no further page"
        )


def _get(document: Any, name: str) -> Any:
    return document.get(name) if isinstance(document, dict) else None


@dataclass(frozen=True, slots=True)
class SearchExtent:
    """Area (EPSG:4326) and acquisition period of a search; None = any."""

    area: BaseGeometry | None = None
    start: datetime | None = None
    end: datetime | None = None

    def may_hold(self, collection: Document) -> bool:
        """Whether a collection may hold matching items, by its extent; True where the extent is missing or invalid."""
        extent = collection.get("extent")
        if not isinstance(extent, dict):
            return True
        return self._intersects(extent.get("spatial")) and self._overlaps(extent.get("temporal"))

    def _intersects(self, spatial: object) -> bool:
        boxes = spatial.get("bbox") if isinstance(spatial, dict) else None
        if self.area is None or not isinstance(boxes, list) or not boxes:
            return True
        for one in boxes:
            numbers = isinstance(one, list) and all(isinstance(n, int | float) for n in one)
            if not numbers or len(one) not in {4, 6}:
                return True
            west, south, east, north = one[0], one[1], one[len(one) // 2], one[len(one) // 2 + 1]
            if west > east or box(west, south, east, north).intersects(self.area):
                return True
        return False

    def _overlaps(self, temporal: object) -> bool:
        spans = temporal.get("interval") if isinstance(temporal, dict) else None
        if not isinstance(spans, list) or not spans:
            return True
        for one in spans:
            if not (isinstance(one, list) and len(one) == 2):
                return True
            first, last = (parse_time(value) for value in one)
            begins_later = first is not None and self.end is not None and first > self.end
            ended_before = last is not None and self.start is not None and last < self.start
            if not begins_later and not ended_before:
                return True
        return False
