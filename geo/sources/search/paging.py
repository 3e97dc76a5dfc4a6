"""Follow the pages of one search. Pure: the caller sends the requests.

Catalogs link the next page by GET or POST, with a body that replaces the first one or is merged into it (STAC API,
"pagination"), with a relative URL, or in the ``Link`` header. Some links lead back to an earlier page, or on and on
without an item.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from segwatch.geo.items import parse_time
from segwatch.geo.sources.http.hrefs import join_href
from segwatch.geo.sources.search.requests import HttpRequest, Method
from segwatch.geo.text.storable import to_storable

MAX_STALE_PAGES = 20
"""Consecutive pages without a new item after which paging is given up."""
MAX_PAGES = 10_000
"""Maximum pages of one search."""
#: Headers that a link must not set.
_CONNECTION = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StacResponse:
    """JSON response of a STAC server."""

    document: Any
    href: str
    """URL of the response, after redirects."""
    next_href: str | None = None
    """Next page in the ``Link`` header."""


class InvalidPage(ValueError):
    """A response is not a page of items."""


class EndlessPaging(ValueError):
    """Paging does not end."""


@dataclass(frozen=True, slots=True)
class FoundItem:
    """Time and extent of an item that was found, to check the completeness of a search."""

    moment: datetime | None
    """Acquisition time in UTC; None where it is a period, missing or invalid."""
    box: tuple[float, float, float, float] | None
    """Bounding box in degrees: west, south, east, north."""


@dataclass(slots=True)
class PagingResult:
    """Result of following the pages of one search."""

    found: dict[tuple[str, str], FoundItem] = field(default_factory=dict)
    """Items found, by collection and id."""
    pages: int = 0
    last: int = 0
    """Number of features of the last page."""
    largest_before: int = 0
    """Largest number of features of a page that links to a next one."""
    matched: int | None = None
    """Total number of items (``numberMatched``); a hint, as some catalogs miscount."""
    limit: int | None = None
    """Page size that the catalog reports; a hint."""
    repeats: bool = False
    """Whether the link to the next page leads back."""


Pager = Generator[Document, None, PagingResult]


def follow_pages(
    first: HttpRequest, send: Callable[[HttpRequest], StacResponse], response: StacResponse | None = None
) -> Pager:
    """Yield the features of all pages, identical ones once, and return the result of paging.

    Parameters
    ----------
    send
        Sends a request.
    response
        Response to the first request, where it was sent already.

    Raises
    ------
    InvalidPage
        A response has no list of features.
    EndlessPaging
        Paging does not end.
    """
    result = PagingResult()
    request: HttpRequest | None = first
    known: set[bytes] = set()
    sent: set[str] = set()
    stale = 0
    while request is not None:
        response = response or send(request)
        documents = get_features(response.document)
        new = _select_new(documents, known)
        _update(result, response.document, len(documents), new)
        yield from new
        stale = 0 if new else stale + 1
        repeated = not new and request.fingerprint in sent
        sent.add(request.fingerprint)
        request = find_next_request(response, request, first)
        if request is not None and repeated and request.fingerprint in sent:
            result.repeats = True
            return result
        if request is not None and stale >= MAX_STALE_PAGES:
            raise EndlessPaging(f"{stale} consecutive pages had no new item but a link to a next page")
        if request is not None and result.pages >= MAX_PAGES:
            raise EndlessPaging(f"it has more than {MAX_PAGES} pages; watch a smaller area or start later")
        if request is not None:
            result.largest_before = max(result.largest_before, len(documents))
        response = None
    return result


def get_property(document: Document, name: str) -> object:
    """Get a property of an item document; None where it is missing."""
    properties = document.get("properties")
    return properties.get(name) if isinstance(properties, dict) else None


def get_features(document: Any) -> list[Document]:
    """Get the features of a page.

    Raises
    ------
    InvalidPage
        The page has no list of features.
    """
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list):
        raise InvalidPage("a page of its search has no list of features")
    return [feature for feature in features if isinstance(feature, dict)]


def _select_new(documents: list[Document], known: set[bytes]) -> list[Document]:
    """Return the new documents, each once, and remember them in ``known``."""
    new = []
    for one in documents:
        digest = hashlib.sha256(_to_canonical_json(one).encode()).digest()
        if digest not in known:
            known.add(digest)
            new.append(one)
    return new


def _to_canonical_json(document: Document) -> str:
    try:
        return json.dumps(document, sort_keys=True)
    except RecursionError:  # parse_item rejects such an item
        return json.dumps(str(document.get("id")))


def _update(result: PagingResult, document: Document, count: int, new: list[Document]) -> None:
    result.pages += 1
    result.last = count
    context = document.get("context")
    hints: Mapping[str, Any] = context if isinstance(context, dict) else {}
    result.matched = _to_count(document.get("numberMatched", hints.get("matched")))
    result.limit = _to_count(hints.get("limit"))
    for one in new:
        result.found[str(one.get("collection")), str(one.get("id"))] = _to_found_item(one)


def _to_found_item(document: Document) -> FoundItem:
    properties = document.get("properties")
    given = properties if isinstance(properties, dict) else {}
    span = given.get("start_datetime") or given.get("end_datetime")
    return FoundItem(None if span else parse_time(given.get("datetime")), _box(document.get("bbox")))


def _box(given: object) -> tuple[float, float, float, float] | None:
    """Bounding box in two dimensions; None where it is invalid."""
    if not isinstance(given, list) or not all(isinstance(one, int | float) for one in given):
        return None
    if len(given) not in {4, 6}:
        return None
    half = len(given) // 2
    return given[0], given[1], given[half], given[half + 1]


def _to_count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def find_next_request(response: StacResponse, current: HttpRequest, first: HttpRequest) -> HttpRequest | None:
    """Build the request of the next page; None where the response does not link to one."""
    link = _next_link(response.document)
    if link is None:
        return HttpRequest("GET", response.next_href, {}) if response.next_href else None
    href = link.get("href")
    target = (
        join_href(response.href, str(to_storable(href)).strip()) if isinstance(href, str) else current.href
    )
    body = link.get("body")
    method = _method(link, body, current, target)
    merged = link.get("merge") is True
    if method == "POST":
        given = body if isinstance(body, dict) else None
        own = {**first.parameters, **(given or {})} if merged or given is None else given
        return HttpRequest("POST", target, own, _headers(link, first, merged=merged))
    parameters = first.parameters if merged and first.method == "GET" else {}
    own = {name: value for name, value in parameters.items() if f"{name}=" not in urlsplit(target).query}
    return HttpRequest("GET", target, own, _headers(link, first, merged=merged))


def _next_link(document: Any) -> dict[str, Any] | None:
    """The ``next`` link, of several the one of a JSON type."""
    links = document.get("links") if isinstance(document, dict) else None
    found = [
        link
        for link in (links if isinstance(links, list) else ())
        if isinstance(link, dict) and str(link.get("rel", "")).lower() == "next"
        if isinstance(link.get("href"), str) or isinstance(link.get("body"), dict)
    ]
    return min(found, key=lambda link: "json" not in str(link.get("type", "json")), default=None)


def _method(link: Mapping[str, Any], body: object, current: HttpRequest, target: str) -> Method:
    given = str(link.get("method") or "").upper()
    if given in {"GET", "POST"}:
        return "POST" if given == "POST" else "GET"
    # the specification defaults to GET, but a body without URL parameters can only mean POST
    return "POST" if isinstance(body, dict) and body and not urlsplit(target).query else "GET"


def _headers(link: Mapping[str, Any], first: HttpRequest, *, merged: bool) -> tuple[tuple[str, str], ...]:
    given = link.get("headers")
    own = {
        str(name): str(value)
        for name, value in (given if isinstance(given, dict) else {}).items()
        if str(name).lower() not in _CONNECTION and isinstance(value, str | int)
    }
    return tuple(({**dict(first.headers), **own} if merged else own).items())
