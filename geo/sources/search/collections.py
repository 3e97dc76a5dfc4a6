"""Whether a catalog has the collection that a source names: a search for one that it lacks finds nothing, and is
answered with success. Pure but for the documents it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any
from urllib.parse import quote

from segwatch.geo.sources.search.paging import Answer, next_request
from segwatch.geo.sources.search.requests import Request, joined
from segwatch.geo.text.storable import shortened, storable

_MAX_PAGES = 50
_MAX_NAMED = 5
_MAX_NAME_CHARS = 100

#: Gives what a request is answered with, None where the answer is no document.
Ask = Callable[[Request], Answer | None]


@dataclass(frozen=True, slots=True)
class Holding:
    """A collection that a catalog has."""

    name: str
    extent: str
    """What it covers, in words; empty where it does not say."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A collection that a catalog does not have."""

    name: str
    nearest: tuple[str, ...]
    """Names that are most like it, else the first ones of the catalog."""
    count: int
    """Collections of the catalog."""

    def __str__(self) -> str:
        if not self.count:
            return f"has no collection {self.name!r}; it lists no collection at all"
        names = ", ".join(self.nearest)
        more = f" and {self.count - len(self.nearest)} more" if self.count > len(self.nearest) else ""
        return f"has no collection {self.name!r}; it has {names}{more}"


def look_up(collections: str, name: str, ask: Ask) -> Holding | Missing | None:
    """The collection of a name; None where the catalog does not tell which it has.

    Parameters
    ----------
    collections
        Address of the list of collections.
    """
    answer = ask(Request("GET", joined(collections, quote(name, safe="")), {}))
    document = answer.document if answer is not None else None
    if (
        isinstance(document, dict)
        and document.get("type") == "Collection"
        and document.get("id") in {name, None}
    ):
        return Holding(name, describe_extent(document))
    names = _names(collections, ask)
    if names is None:
        return None
    if name in names:
        return Holding(name, "")
    return Missing(name, _nearest(name, names), len(names))


def _names(collections: str, ask: Ask) -> list[str] | None:
    """Names of all collections; None where the list cannot be had to its end."""
    first = Request("GET", collections, {})
    request: Request | None = first
    names: list[str] = []
    for _ in range(_MAX_PAGES):
        answer = ask(request) if request is not None else None
        listed = answer.document.get("collections") if answer and isinstance(answer.document, dict) else None
        if answer is None or request is None or not isinstance(listed, list):
            return None
        new = [one for one in _ids(listed) if one not in set(names)]
        names += new
        request = next_request(answer, request, first)
        if request is None:
            return names
        if not new:
            return None
    return None


def _ids(listed: list[Any]) -> Iterator[str]:
    for one in listed:
        if isinstance(one, dict) and isinstance(one.get("id"), str):
            yield shortened(str(storable(one["id"])), _MAX_NAME_CHARS)


def _nearest(name: str, names: list[str]) -> tuple[str, ...]:
    folded = {one.casefold(): one for one in names}
    near = get_close_matches(name.casefold(), folded, n=_MAX_NAMED, cutoff=0.5)
    return tuple(folded[one] for one in near) or tuple(names[:_MAX_NAMED])


def describe_extent(collection: dict[str, Any]) -> str:
    """Period and bounding box of a collection in words; empty where it does not say."""
    extent = collection.get("extent")
    given = extent if isinstance(extent, dict) else {}
    period, box = _first(given, "temporal", "interval"), _first(given, "spatial", "bbox")
    words = []
    if len(period) == 2:
        begin, end = (shortened(str(storable(one)), 40) if one is not None else "" for one in period)
        words.append(f"{begin or 'always'} to {end or 'now'}")
    if len(box) in {4, 6} and all(isinstance(one, int | float) for one in box):
        half = len(box) // 2
        words.append(f"longitude {box[0]:g} to {box[half]:g}, latitude {box[1]:g} to {box[half + 1]:g}")
    return ", ".join(words)


def _first(extent: dict[str, Any], part: str, name: str) -> list[Any]:
    """The first of several, which covers all of them."""
    within = extent.get(part)
    every = within.get(name) if isinstance(within, dict) else None
    first = every[0] if isinstance(every, list) and every else None
    return first if isinstance(first, list) else []
