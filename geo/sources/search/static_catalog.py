"""Catalogs that are plain files: links are followed from file to file. Pure but for the documents it is given.

Collections elsewhere or of other times are not opened. A list of items that goes on on a further page is followed
there; a page that cannot be had makes the search incomplete, as nothing tells what is on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from segwatch.geo.items import parse_time
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.search.endpoints import absolute, links_of
from segwatch.geo.sources.search.paging import Answer, next_request
from segwatch.geo.sources.search.requests import Request

#: A static catalog of more files is searched in no time that anybody waits for.
MAX_FILES = 100_000
_FOLLOWED = frozenset({"child", "item", "items"})

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that could not be had."""

    href: str
    reason: str
    passing: bool = False
    """Whether it is an outage that keeps it: nothing is known against the file."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Why the files may hold more than was found."""

    reason: str


#: Gives what is at an address, or why it cannot be had.
Fetch = Callable[[Request], Answer | Unread]


@dataclass(frozen=True, slots=True)
class _Step:
    request: Request
    page: bool = False
    """Whether it is a further page of a list, not a file of its own."""
    answer: Answer | None = None


def walk(
    url: str, document: Document, fetch: Fetch, reach: Reach
) -> Iterator[Document | Unread | Unfinished]:
    """Items of files, by their links from the one that was read."""
    first = Request("GET", url, {})
    waiting = deque([_Step(first, answer=Answer(document, url))])
    known = {first.fingerprint}
    while waiting:
        step = waiting.popleft()
        answer = step.answer or fetch(step.request)
        if isinstance(answer, Unread):
            reason = f"its further page {hrefs.shown(answer.href)} cannot be had: {answer.reason}"
            yield Unfinished(reason) if step.page else answer
            continue
        yield from _items(answer)
        followers = list(_followers(answer, step.request, reach))
        if not step.page and not any(one.page for one in followers):
            yield from _left_out(answer.document)
        for one in followers:
            if one.request.fingerprint in known:
                if one.page:
                    yield Unfinished(f"the link of {answer.href} to a further page leads back")
            elif len(known) < MAX_FILES:
                known.add(one.request.fingerprint)
                waiting.append(one)
    if len(known) >= MAX_FILES:
        yield Unfinished(f"it is made of more than {MAX_FILES} files; name a part of it")


def _items(answer: Answer) -> Iterator[Document]:
    kind, features = _said(answer.document, "type"), _said(answer.document, "features")
    if kind == "Feature":
        # found where it was: relative hrefs are relative to that
        yield {**answer.document, "links": [{"rel": "self", "href": answer.href}]}
    elif kind == "FeatureCollection":
        yield from (one for one in (features if isinstance(features, list) else ()) if isinstance(one, dict))


def _followers(answer: Answer, request: Request, reach: Reach) -> Iterator[_Step]:
    kind = _said(answer.document, "type")
    further = next_request(answer, request, request) if kind == "FeatureCollection" else None
    if further is not None:
        yield _Step(further, page=True)
    if kind in {"Feature", "FeatureCollection"} or (
        kind == "Collection" and not reach.may_hold(answer.document)
    ):
        return
    for link in links_of(answer.document) if isinstance(answer.document, dict) else ():
        href = absolute(answer.href, link) if link.get("rel") in _FOLLOWED else None
        if href is not None:
            yield _Step(Request("GET", href, {}))


def _left_out(document: Any) -> Iterator[Unfinished]:
    """What a list says that it lacks: the first page of a search, saved without the link to the next."""
    features, matched = _said(document, "features"), _said(document, "numberMatched")
    if isinstance(features, list) and isinstance(matched, int) and matched > len(features):
        yield Unfinished(
            f"it is a list of {len(features)} items that counts {matched} and links to no further page"
        )


def _said(document: Any, name: str) -> Any:
    return document.get(name) if isinstance(document, dict) else None


@dataclass(frozen=True, slots=True)
class Reach:
    """The area (EPSG:4326) and the period that items are wanted of; None = any."""

    area: BaseGeometry | None = None
    start: datetime | None = None
    end: datetime | None = None

    def may_hold(self, collection: Document) -> bool:
        """Whether items of a collection may be wanted, by its extent. What it does not say speaks for it."""
        extent = collection.get("extent")
        if not isinstance(extent, dict):
            return True
        return self._reaches(extent.get("spatial")) and self._overlaps(extent.get("temporal"))

    def _reaches(self, spatial: object) -> bool:
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
