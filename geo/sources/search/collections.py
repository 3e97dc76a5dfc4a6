"""Check whether a catalog has a collection. A search in a missing one often succeeds without items.

Pure: the caller sends the requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Self
from urllib.parse import quote

from segwatch.geo.sources.search.paging import StacResponse, find_next_request
from segwatch.geo.sources.search.requests import HttpRequest, join_url
from segwatch.geo.text.storable import shorten, to_storable

_MAX_PAGES = 50
_MAX_NAMED = 5
_MAX_NAME_CHARS = 100

#: Sends a request; None where there is no document.
Send = Callable[[HttpRequest], StacResponse | None]


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection of a catalog."""

    name: str
    extent: str
    """Period and bounding box in words; empty where they are unknown."""


@dataclass(frozen=True, slots=True)
class MissingCollection:
    """A collection that a catalog does not have, and those it has."""

    name: str
    nearest: tuple[str, ...]
    """The most similar names, else the first ones of the catalog."""
    count: int
    """Number of collections of the catalog."""

    @classmethod
    def among(cls, name: str, names: list[str]) -> Self:
        """Make it from the names of all collections of the catalog."""
        return cls(name, _nearest(name, names), len(names))

    def __str__(self) -> str:
        if not self.count:
            return f"has no collection {self.name!r}; it lists no collections"
        names = ", ".join(self.nearest)
        more = f" and {self.count - len(self.nearest)} more" if self.count > len(self.nearest) else ""
        return f"has no collection {self.name!r}; it has {names}{more}"


def look_up_collection(collections: str, name: str, send: Send) -> CollectionInfo | MissingCollection | None:
    """Look up a collection by name; None where the catalog does not list its collections.

    Parameters
    ----------
    collections
        URL of the list of collections.
    """
    response = send(HttpRequest("GET", join_url(collections, quote(name, safe="")), {}))
    document = response.document if response is not None else None
    if (
        isinstance(document, dict)
        and document.get("type") == "Collection"
        and document.get("id") in (name, None)
    ):
        return CollectionInfo(name, describe_extent(document))
    names = _names(collections, send)
    if names is None:
        return None
    if name in names:
        return CollectionInfo(name, "")
    return MissingCollection.among(name, names)


def _names(collections: str, send: Send) -> list[str] | None:
    """Names of all collections; None where the list cannot be read completely."""
    first = HttpRequest("GET", collections, {})
    request: HttpRequest | None = first
    names: list[str] = []
    for _ in range(_MAX_PAGES):
        response = send(request) if request is not None else None
        listed = (
            response.document.get("collections") if response and isinstance(response.document, dict) else None
        )
        if response is None or request is None or not isinstance(listed, list):
            return None
        new = [one for one in _ids(listed) if one not in set(names)]
        names += new
        request = find_next_request(response, request, first)
        if request is None:
            return names
        if not new:
            return None
    return None


def _ids(listed: list[Any]) -> Iterator[str]:
    for one in listed:
        if isinstance(one, dict) and isinstance(one.get("id"), str):
            yield shorten(str(to_storable(one["id"])), _MAX_NAME_CHARS)


def _nearest(name: str, names: list[str]) -> tuple[str, ...]:
    folded = {one.casefold(): one for one in names}
    near = get_close_matches(name.casefold(), folded, n=_MAX_NAMED, cutoff=0.5)
    return tuple(folded[one] for one in near) or tuple(names[:_MAX_NAMED])


def describe_extent(collection: dict[str, Any]) -> str:
    """Describe the period and bounding box of a collection; empty where they are unknown."""
    extent = collection.get("extent")
    given = extent if isinstance(extent, dict) else {}
    period, box = _first(given, "temporal", "interval"), _first(given, "spatial", "bbox")
    words = []
    if len(period) == 2:
        begin, end = (shorten(str(to_storable(one)), 40) if one is not None else "" for one in period)
        words.append(f"{begin or 'always'} to {end or 'now'}")
    if len(box) in {4, 6} and all(isinstance(one, int | float) for one in box):
        half = len(box) // 2
        words.append(f"longitude {box[0]:g} to {box[half]:g}, latitude {box[1]:g} to {box[half + 1]:g}")
    return ", ".join(words)


def _first(extent: dict[str, Any], part: str, name: str) -> list[Any]:
    """The first extent, which covers all others (STAC collection specification)."""
    within = extent.get(part)
    every = within.get(name) if isinstance(within, dict) else None
    first = every[0] if isinstance(every, list) and every else None
    return first if isinstance(first, list) else []
