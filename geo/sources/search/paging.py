"""From page to page of one search, and what following them showed. Pure but for the answers it is given.

Links to the next page come in every form: by GET or POST, with a body to merge into the first one or in its place,
with a relative address, or in the ``Link`` header. Catalogs also give links that lead nowhere: back to a page that was
given, or on and on without an item.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from segwatch.geo.items import parse_time
from segwatch.geo.sources.search.requests import Method, Request
from segwatch.geo.text.storable import storable

#: Pages in a row that bring nothing new before the paging is given up as one that repeats itself.
MAX_STALE_PAGES = 20
MAX_PAGES = 10_000
#: Fields of a link's headers that are the connection's own.
_CONNECTION = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON document that a server gave."""

    document: Any
    href: str
    """Where it came from in the end."""
    next_href: str | None = None
    """Of its ``Link`` header."""


class NotAPage(ValueError):
    """An answer that is no page of items."""


class Endless(ValueError):
    """Pages that go on and on."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is kept of an item that was found, to judge a search by."""

    moment: datetime | None
    """Acquisition as the item says; None for a span of time, and where it says none that can be read."""
    box: tuple[float, float, float, float] | None
    """Degrees: west, south, east, north."""


@dataclass(slots=True)
class Pages:
    """What the pages of one search showed."""

    found: dict[tuple[str, str], Seen] = field(default_factory=dict)
    """By collection and id."""
    pages: int = 0
    last: int = 0
    """Features of the last page."""
    largest_before: int = 0
    """Features of the largest page that came with a link to the next."""
    matched: int | None = None
    """Items there are, as the catalog counts them: a hint."""
    limit: int | None = None
    """Page size in force, as the catalog says: a hint."""
    repeats: bool = False
    """The link to the next page leads back."""


Pager = Generator[Document, None, Pages]


def follow(first: Request, ask: Callable[[Request], Answer], answer: Answer | None = None) -> Pager:
    """Features of all pages as they come, the same one once; returns what the pages showed.

    Parameters
    ----------
    answer
        To the first request, where it is here already.

    Raises
    ------
    NotAPage
        An answer holds no list of features.
    Endless
        The pages go on and on.
    """
    result = Pages()
    request: Request | None = first
    known: set[bytes] = set()
    asked: set[str] = set()
    stale = 0
    while request is not None:
        answer = answer or ask(request)
        documents = features_of(answer.document)
        new = _unknown(documents, known)
        _note(result, answer.document, len(documents), new)
        yield from new
        stale = 0 if new else stale + 1
        repeated = not new and request.fingerprint in asked
        asked.add(request.fingerprint)
        request = next_request(answer, request, first)
        if request is not None and repeated and request.fingerprint in asked:
            result.repeats = True
            return result
        if request is not None and stale >= MAX_STALE_PAGES:
            raise Endless(f"{stale} pages in a row brought nothing new, each with a link to a next one")
        if request is not None and result.pages >= MAX_PAGES:
            raise Endless(f"it has more than {MAX_PAGES} pages; watch a smaller area or begin later")
        if request is not None:
            result.largest_before = max(result.largest_before, len(documents))
        answer = None
    return result


def features_of(document: Any) -> list[Document]:
    """Features of a page.

    Raises
    ------
    NotAPage
        It has no list of them.
    """
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list):
        raise NotAPage("a page of its search holds no list of features")
    return [feature for feature in features if isinstance(feature, dict)]


def _unknown(documents: list[Document], known: set[bytes]) -> list[Document]:
    """Those that are not known, each once; now they are."""
    new = []
    for one in documents:
        digest = hashlib.sha256(_spelled(one).encode()).digest()
        if digest not in known:
            known.add(digest)
            new.append(one)
    return new


def _spelled(document: Document) -> str:
    try:
        return json.dumps(document, sort_keys=True)
    except RecursionError:  # whoever reads the item refuses it
        return json.dumps(str(document.get("id")))


def _note(result: Pages, document: Document, count: int, new: list[Document]) -> None:
    result.pages += 1
    result.last = count
    context = document.get("context")
    hints: Mapping[str, Any] = context if isinstance(context, dict) else {}
    result.matched = _whole(document.get("numberMatched", hints.get("matched")))
    result.limit = _whole(hints.get("limit"))
    for one in new:
        result.found[str(one.get("collection")), str(one.get("id"))] = _seen(one)


def _seen(document: Document) -> Seen:
    properties = document.get("properties")
    given = properties if isinstance(properties, dict) else {}
    span = given.get("start_datetime") or given.get("end_datetime")
    return Seen(None if span else parse_time(given.get("datetime")), _box(document.get("bbox")))


def _box(given: object) -> tuple[float, float, float, float] | None:
    """In two dimensions; None where it is invalid."""
    if not isinstance(given, list) or not all(isinstance(one, int | float) for one in given):
        return None
    if len(given) not in {4, 6}:
        return None
    half = len(given) // 2
    return given[0], given[1], given[half], given[half + 1]


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def next_request(answer: Answer, current: Request, first: Request) -> Request | None:
    """What an answer links to as its next page; None where it links to none."""
    link = _next_link(answer.document)
    if link is None:
        return Request("GET", answer.next_href, {}) if answer.next_href else None
    href = link.get("href")
    target = urljoin(answer.href, str(storable(href)).strip()) if isinstance(href, str) else current.href
    body = link.get("body")
    method = _method(link, body, current, target)
    merged = link.get("merge") is True
    if method == "POST":
        given = body if isinstance(body, dict) else None
        own = {**first.parameters, **(given or {})} if merged or given is None else given
        return Request("POST", target, own, _headers(link, first, merged=merged))
    parameters = first.parameters if merged and first.method == "GET" else {}
    asked = {name: value for name, value in parameters.items() if f"{name}=" not in urlsplit(target).query}
    return Request("GET", target, asked, _headers(link, first, merged=merged))


def _next_link(document: Any) -> dict[str, Any] | None:
    """JSON before other types, where there are several."""
    links = document.get("links") if isinstance(document, dict) else None
    found = [
        link
        for link in (links if isinstance(links, list) else ())
        if isinstance(link, dict) and str(link.get("rel", "")).lower() == "next"
        if isinstance(link.get("href"), str) or isinstance(link.get("body"), dict)
    ]
    return min(found, key=lambda link: "json" not in str(link.get("type", "json")), default=None)


def _method(link: Mapping[str, Any], body: object, current: Request, target: str) -> Method:
    given = str(link.get("method") or "").upper()
    if given in {"GET", "POST"}:
        return "POST" if given == "POST" else "GET"
    # the standard's default is GET; with a body and nothing in the address it cannot be meant
    return "POST" if isinstance(body, dict) and body and not urlsplit(target).query else "GET"


def _headers(link: Mapping[str, Any], first: Request, *, merged: bool) -> tuple[tuple[str, str], ...]:
    given = link.get("headers")
    own = {
        str(name): str(value)
        for name, value in (given if isinstance(given, dict) else {}).items()
        if str(name).lower() not in _CONNECTION and isinstance(value, str | int)
    }
    return tuple(({**dict(first.headers), **own} if merged else own).items())
