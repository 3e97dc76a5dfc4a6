"""Which API stands behind an address that people copied: its root, a collection, a list of items or a search. Pure but
for the documents it is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from pystac_client.conformance import ConformanceClasses

from segwatch.geo.sources.search.requests import Endpoints, PropertyQuery, Way, joined
from segwatch.geo.text.storable import storable

#: Ends of addresses inside an API, and what comes before them.
_INSIDE = re.compile(
    r"^(?P<root>.*?)/(?:collections(?:/(?P<collection>[^/]+)(?:/items)?)?|search|conformance)/?$"
)

Document = dict[str, Any]
#: Gives the document at an address, None where there is none that can be read.
Read = Callable[[str], Document | None]


@dataclass(frozen=True, slots=True)
class Location:
    """An API, and the part of it that an address names."""

    url: str
    document: Document
    """The root; empty where none can be read and the collection's items alone are known."""
    collection: str | None = None
    endpoints: Endpoints | None = None


def locate(address: str, document: Document, read: Read) -> Location | None:
    """The API that an address is of; None where it is of files.

    Parameters
    ----------
    document
        What is at the address.
    """
    kind = document.get("type")
    if is_landing(document):
        return Location(address, document, endpoints=endpoints_of(address, document))
    if kind == "Feature" or not _may_be_inside(address, document):
        return None
    collection = _collection(address, document)
    for root in _roots(address, document):
        found = read(root)
        if found is not None and is_landing(found):
            return Location(root, found, collection, endpoints_of(root, found))
    items = _items(address, document)
    if items is not None and collection is not None:
        return Location(address, {}, collection, Endpoints("", items))
    return None


def is_landing(document: Document) -> bool:
    """Whether a document is the root of an API that can be searched."""
    if document.get("type") in {"Feature", "FeatureCollection", "Collection"} or "collections" in document:
        return False
    rels = {str(link.get("rel")) for link in links_of(document)}
    return bool(rels & {"search", "data"}) or ("conformsTo" in document and bool(rels))


def endpoints_of(root: str, document: Document) -> Endpoints:
    """Where an API is searched: as it says, else where the standard puts it."""
    searches = [link for link in links_of(document) if link.get("rel") == "search"]
    data = [link for link in links_of(document) if link.get("rel") == "data"]
    search = absolute(root, searches[0]) if searches else None
    collections = (absolute(root, data[0]) if data else None) or joined(root, "collections")
    return Endpoints(search or joined(root, "search"), joined(collections, "{collection}/items"), collections)


def lists_files(document: Document) -> bool:
    """Whether a document is one of files: items, a list of them, or what links to them."""
    rels = {str(link.get("rel")) for link in links_of(document)}
    return document.get("type") in {"Feature", "FeatureCollection", "Collection"} or bool(
        rels & {"item", "child"}
    )


def first_way(document: Document, location: Location | None) -> Way:
    """How an API is asked first, by what its root declares."""
    methods = search_methods(document)
    if conforms(document, "QUERY"):
        by_property = PropertyQuery.QUERY
    else:
        by_property = PropertyQuery.FILTER if conforms(document, "FILTER") else PropertyQuery.NONE
    items = location is not None and location.endpoints is not None and not location.endpoints.search
    return Way("POST" if not methods or "POST" in methods else "GET", by_property=by_property, items=items)


def conforms(document: Document, name: str) -> bool:
    """Whether an API's root declares a conformance class, such as ``SORT``."""
    declared = document.get("conformsTo")
    pattern = ConformanceClasses.get_by_name(name).pattern
    return any(
        pattern.match(one) for one in (declared if isinstance(declared, list) else ()) if isinstance(one, str)
    )


def search_methods(document: Document) -> frozenset[str]:
    """Methods of an API's search as its root says; GET where a link names none, as the standard has it."""
    searches = [link for link in links_of(document) if link.get("rel") == "search"]
    return frozenset(str(link.get("method") or "GET").upper() for link in searches)


def links_of(document: Document) -> Iterator[Document]:
    """Links of a document of any shape."""
    links = document.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict):
            yield link


def absolute(base: str, link: Document) -> str | None:
    """Where a link leads to; None where it has no address."""
    href = link.get("href")
    return urljoin(base, str(storable(href)).strip()) if isinstance(href, str) and href.strip() else None


def is_inside(address: str) -> bool:
    """Whether an address looks like one inside an API."""
    return _inside(address) is not None


def _may_be_inside(address: str, document: Document) -> bool:
    """Whether a document comes from an API: its address tells, or links that files do not have."""
    rels = {str(link.get("rel")) for link in links_of(document)}
    listed = "collections" in document or "conformsTo" in document
    of_api = (
        {"items", "search", "data"} if document.get("type") == "Collection" else {"next", "root", "search"}
    )
    in_api = bool(rels & of_api) and document.get("type") in {"Collection", "FeatureCollection"}
    return in_api or listed or is_inside(address)


def _inside(address: str) -> re.Match[str] | None:
    return _INSIDE.match(urlsplit(address).path)


def _roots(address: str, document: Document) -> Iterator[str]:
    """Addresses that the root may have, likely ones first, each once."""
    known = {address}
    links = [link for rel in ("root", "parent") for link in links_of(document) if link.get("rel") == rel]
    told = [absolute(address, link) for link in links]
    inside = _inside(address)
    if inside is not None:
        parts = urlsplit(address)
        # one root may want the slash that another refuses
        told += [urlunsplit((parts.scheme, parts.netloc, inside["root"] + end, "", "")) for end in ("", "/")]
    for url in told:
        if url is not None and url not in known:
            known.add(url)
            yield url


def _collection(address: str, document: Document) -> str | None:
    inside = _inside(address)
    if inside is not None and inside["collection"]:
        return unquote(inside["collection"])
    if document.get("type") == "Collection" and isinstance(document.get("id"), str):
        return str(document["id"])
    return None


def _items(address: str, document: Document) -> str | None:
    if document.get("type") == "FeatureCollection":
        parts = urlsplit(address)
        return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    return next((absolute(address, link) for link in links_of(document) if link.get("rel") == "items"), None)
