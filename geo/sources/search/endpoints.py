"""Find the STAC API behind a URL that people copied: its root, a collection, a list of items or a search.

Pure: the caller reads the documents.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from pystac_client.conformance import ConformanceClasses

from segwatch.geo.sources.http.hrefs import join_href
from segwatch.geo.sources.search.requests import Endpoints, PropertyFilter, RequestForm, join_url
from segwatch.geo.text.storable import to_storable

#: Paths inside an API, after its root.
_INSIDE = re.compile(
    r"^(?P<root>.*?)/(?:collections(?:/(?P<collection>[^/]+)(?:/items)?)?|search|conformance)/?$"
)

#: A tuple, as the type of a document from outside need not be hashable.
_TYPES_OF_FILES = ("Feature", "FeatureCollection", "Collection")
Document = dict[str, Any]
#: Reads the document at a URL; None where it cannot be read.
Read = Callable[[str], Document | None]


@dataclass(frozen=True, slots=True)
class ApiLocation:
    """An API and the part of it that a URL belongs to."""

    url: str
    document: Document
    """Root document; empty where only the items endpoint of one collection is known."""
    collection: str | None = None
    endpoints: Endpoints | None = None


def locate_api(url: str, document: Document, read: Read) -> ApiLocation | None:
    """Find the API that a URL belongs to; None for static files.

    Parameters
    ----------
    document
        Document at the URL.
    read
        Reads other documents.
    """
    kind = document.get("type")
    if is_api_root(document):
        return ApiLocation(url, document, endpoints=find_endpoints(url, document))
    if kind == "Feature" or not _may_be_inside(url, document):
        return None
    collection = _collection(url, document)
    for root in _roots(url, document):
        found = read(root)
        if found is not None and is_api_root(found):
            return ApiLocation(root, found, collection, find_endpoints(root, found))
    items = _items(url, document)
    if items is not None and collection is not None:
        return ApiLocation(url, {}, collection, Endpoints("", items))
    return None


def is_api_root(document: Document) -> bool:
    """Whether a document is the root (landing page) of an API."""
    if document.get("type") in _TYPES_OF_FILES or "collections" in document:
        return False
    rels = {str(link.get("rel")) for link in iter_links(document)}
    return bool(rels & {"search", "data"}) or ("conformsTo" in document and bool(rels))


def find_endpoints(root: str, document: Document) -> Endpoints:
    """Find the endpoints of an API: by its links, else by the paths of the STAC API specification."""
    searches = [link for link in iter_links(document) if link.get("rel") == "search"]
    data = [link for link in iter_links(document) if link.get("rel") == "data"]
    search = resolve_link(root, searches[0]) if searches else None
    collections = (resolve_link(root, data[0]) if data else None) or join_url(root, "collections")
    return Endpoints(
        search or join_url(root, "search"), join_url(collections, "{collection}/items"), collections
    )


def lists_files(document: Document) -> bool:
    """Whether a document belongs to static files: an item, a list of items, or a document that links to items."""
    rels = {str(link.get("rel")) for link in iter_links(document)}
    return document.get("type") in _TYPES_OF_FILES or bool(rels & {"item", "child"})


def choose_first_form(document: Document, location: ApiLocation | None) -> RequestForm:
    """Choose the form of the first search request by what the root declares."""
    methods = search_methods(document)
    if conforms(document, "QUERY"):
        property_filter = PropertyFilter.QUERY
    else:
        property_filter = PropertyFilter.FILTER if conforms(document, "FILTER") else PropertyFilter.NONE
    items = location is not None and location.endpoints is not None and not location.endpoints.search
    return RequestForm(
        "POST" if not methods or "POST" in methods else "GET",
        property_filter=property_filter,
        uses_items=items,
    )


def conforms(document: Document, name: str) -> bool:
    """Whether the root declares a conformance class such as ``SORT`` (names of pystac-client)."""
    declared = document.get("conformsTo")
    pattern = ConformanceClasses.get_by_name(name).pattern
    return any(
        pattern.match(one) for one in (declared if isinstance(declared, list) else ()) if isinstance(one, str)
    )


def search_methods(document: Document) -> frozenset[str]:
    """HTTP methods of the search links; GET is the default (STAC API, item search)."""
    searches = [link for link in iter_links(document) if link.get("rel") == "search"]
    return frozenset(str(link.get("method") or "GET").upper() for link in searches)


def iter_links(document: Document) -> Iterator[Document]:
    """Iterate over the links of a document, skipping malformed ones."""
    links = document.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict):
            yield link


def resolve_link(base: str, link: Document) -> str | None:
    """Return the absolute URL of a link; None where it has no href."""
    href = link.get("href")
    return join_href(base, str(to_storable(href)).strip()) if isinstance(href, str) and href.strip() else None


def is_inside_api(url: str) -> bool:
    """Whether a URL looks like one inside an API."""
    return _inside(url) is not None


def _may_be_inside(url: str, document: Document) -> bool:
    """Whether a document may come from an API, by its URL or by links that static files do not have."""
    rels = {str(link.get("rel")) for link in iter_links(document)}
    listed = "collections" in document or "conformsTo" in document
    of_api = (
        {"items", "search", "data"} if document.get("type") == "Collection" else {"next", "root", "search"}
    )
    in_api = bool(rels & of_api) and document.get("type") in _TYPES_OF_FILES[1:]
    return in_api or listed or is_inside_api(url)


def _inside(url: str) -> re.Match[str] | None:
    return _INSIDE.match(urlsplit(url).path)


def _roots(url: str, document: Document) -> Iterator[str]:
    """Candidate URLs of the root, most likely first, each once."""
    known = {url}
    links = [link for rel in ("root", "parent") for link in iter_links(document) if link.get("rel") == rel]
    candidates = [resolve_link(url, link) for link in links]
    inside = _inside(url)
    if inside is not None:
        parts = urlsplit(url)
        # some roots need the trailing slash, others refuse it
        candidates += [
            urlunsplit((parts.scheme, parts.netloc, inside["root"] + end, "", "")) for end in ("", "/")
        ]
    for candidate in candidates:
        if candidate is not None and candidate not in known:
            known.add(candidate)
            yield candidate


def _collection(url: str, document: Document) -> str | None:
    inside = _inside(url)
    if inside is not None and inside["collection"]:
        return unquote(inside["collection"])
    if document.get("type") == "Collection" and isinstance(document.get("id"), str):
        return str(document["id"])
    return None


def _items(url: str, document: Document) -> str | None:
    if document.get("type") == "FeatureCollection":
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    return next(
        (resolve_link(url, link) for link in iter_links(document) if link.get("rel") == "items"), None
    )
