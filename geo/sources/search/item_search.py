"""Search a catalog for items. Every item found ends as an :class:`Item` or is rejected with a reason.

A search of an API is either proven complete, see :mod:`segwatch.geo.sources.search.completeness`, or raises an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any
from urllib.parse import quote

from shapely.geometry.base import BaseGeometry

from segwatch.geo.errors import BadItem, CatalogUnreachable, SearchIncomplete
from segwatch.geo.identity import identify_catalog
from segwatch.geo.items import ANY_COLLECTION, find_item_href, parse_item, parse_time_and_footprint
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.search.catalog import Catalog, open_catalog, select_collection
from segwatch.geo.sources.search.catalog_errors import is_outage, translate_errors
from segwatch.geo.sources.search.completeness import CompleteSearch
from segwatch.geo.sources.search.negotiation import search_pages
from segwatch.geo.sources.search.paging import PagingResult, StacResponse, get_property
from segwatch.geo.sources.search.requests import HttpRequest, PropertyFilter, SearchQuery, split_hemispheres
from segwatch.geo.sources.search.static_catalog import (
    IncompleteListing,
    SearchExtent,
    UnreadableFile,
    walk_files,
)
from segwatch.geo.text.printable import sanitize
from segwatch.geo.text.redaction import to_public_url
from segwatch.geo.text.storable import shorten, to_storable
from segwatch.geo.types.scene import Item
from segwatch.geo.types.source import Profile

SAMPLE_PAGE_ITEMS = 8
"""Page size of a sample: small enough for a sample to have several pages."""
#: Characters of reasons, ids and hrefs of rejected items.
_MAX_CHARS = 500


@dataclass(frozen=True, slots=True)
class RejectedItem:
    """An item that was found but cannot be used."""

    item_id: str
    href: str | None
    reason: str
    acquired_at: datetime | None = None
    """UTC; None where it is missing or invalid."""
    footprint: BaseGeometry | None = None
    """EPSG:4326; None where it is missing or invalid."""


def search(
    catalog: str | Catalog,
    profile: Profile,
    area: BaseGeometry,
    start: datetime,
    end: datetime,
    *,
    updated_after: datetime | None = None,
    identity: str = "",
) -> Iterator[Item | RejectedItem]:
    """Search for items of the profile's collection that intersect the area and were acquired in a period.

    Each item version is returned once, however the catalog pages.

    Parameters
    ----------
    catalog
        Opened catalog, or its URL: root of a STAC API, a collection or list of items in it, or a static file.
    area
        EPSG:4326.
    start, end
        Acquisition period, inclusive; timezone-aware.
    updated_after
        Return only items updated later. Catalogs without such a filter are filtered here. An item without ``updated``
        always passes.
    identity
        Catalog identity to store with the items; empty = :func:`identify_catalog` of its URL.

    Yields
    ------
    Item or Rejected

    Raises
    ------
    CatalogUnreachable
        The catalog does not respond after retries, or not as a STAC API.
    SearchIncomplete
        After all items found: the search could not be proven complete.
    NoSuchCollection
        The URL belongs to another collection than the profile's.
    """
    catalog = open_catalog(catalog) if isinstance(catalog, str) else catalog
    identity = identity or identify_catalog(catalog.url)
    # ids are unique only within a collection
    known: set[tuple[str, str, str]] = set()
    for document in _documents(catalog, profile, area, start, end, updated_after):
        if isinstance(document, RejectedItem):
            yield document
            continue
        item_id = str(document.get("id") or "?")
        version = (str(document.get("collection")), item_id, str(get_property(document, "updated")))
        if version in known:
            continue
        known.add(version)
        found = _parse(document, item_id, catalog.url, profile, identity)
        if isinstance(found, RejectedItem) or _matches(found, area, start, end, updated_after):
            yield found


def sample(
    catalog: Catalog, collection: str | None, count: int
) -> tuple[list[dict[str, Any]], PagingResult | None]:
    """Fetch the first items of a collection, or of any.

    Returns
    -------
    items
        Up to ``count`` item documents as the catalog returns them.
    paging
        Result of paging where these were all items; None otherwise.

    Raises
    ------
    CatalogUnreachable
        The catalog does not respond.
    """
    if not catalog.is_api:
        files = walk_files(
            catalog.url, catalog.document, lambda request: _fetch_file(catalog, request), SearchExtent()
        )
        return list(islice((one for one in files if isinstance(one, dict)), count)), None
    wanted = catalog.collection if collection in {None, ANY_COLLECTION} else collection
    pager = search_pages(catalog, SearchQuery(wanted), limit=SAMPLE_PAGE_ITEMS)
    found: list[dict[str, Any]] = []
    while len(found) < count:
        try:
            found.append(next(pager))
        except StopIteration as end:
            return found, end.value
    return found, None


def _parse(
    document: dict[str, Any], item_id: str, catalog_url: str, profile: Profile, identity: str
) -> Item | RejectedItem:
    given = document.get("collection")
    name, collection = (
        quote(shorten(str(to_storable(text)), _MAX_CHARS), safe="")
        for text in (item_id, given if isinstance(given, str) and given else profile.collection)
    )
    path = f"/collections/{collection}/items/{name}"
    base = to_public_url(catalog_url, query=False).rstrip("/") + path
    try:
        return parse_item(document, profile, base=base, catalog=identity)
    except BadItem as error:
        acquired_at, footprint = parse_time_and_footprint(document)
        rejected = _build_rejected(error.item_id, find_item_href(document, base), error.reason)
        return replace(rejected, acquired_at=acquired_at, footprint=footprint)


def _build_rejected(item_id: str, href: str, reason: str) -> RejectedItem:
    """Id, href and reason quote the catalog, so they are made storable and printable."""
    item_id, href = (shorten(str(to_storable(text)), _MAX_CHARS) for text in (item_id, to_public_url(href)))
    return RejectedItem(item_id, href, sanitize(reason, _MAX_CHARS))


def _matches(
    item: Item, area: BaseGeometry, start: datetime, end: datetime, updated_after: datetime | None
) -> bool:
    """Whether the item matches the search; not every catalog applies every parameter."""
    if updated_after is not None and item.updated_at is not None and item.updated_at <= updated_after:
        return False
    return start <= item.acquired_at <= end and bool(item.footprint.intersects(area))


def _documents(
    catalog: Catalog,
    profile: Profile,
    area: BaseGeometry,
    start: datetime,
    end: datetime,
    updated_after: datetime | None,
) -> Iterator[dict[str, Any] | RejectedItem]:
    if not catalog.is_api:
        yield from _documents_of_files(catalog, SearchExtent(area, start, end))
        return
    query = SearchQuery(select_collection(catalog, profile), None, start, end, updated_after)
    by_id = catalog.state.form.property_filter is not PropertyFilter.NONE
    for part in split_hemispheres(area):
        searches = CompleteSearch(
            hrefs.redact_href(catalog.url),
            lambda one: search_pages(catalog, one),
            catalog.state.limits,
            by_id=by_id,
            limit=lambda: catalog.state.form.limit,
        )
        yield from searches.run(replace(query, area=part))


def _documents_of_files(catalog: Catalog, extent: SearchExtent) -> Iterator[dict[str, Any] | RejectedItem]:
    incomplete: str | None = None
    for one in walk_files(
        catalog.url, catalog.document, lambda request: _fetch_file(catalog, request), extent
    ):
        if isinstance(one, UnreadableFile) and one.is_outage:
            # if it were rejected, the watermark would pass it and it would never be read again
            incomplete = incomplete or f"{hrefs.redact_href(one.href)} cannot be read now: {one.reason}"
        elif isinstance(one, UnreadableFile):
            # files of one name may lie in many folders
            folder = hrefs.redact_href(catalog.url).rpartition("/")[0]
            path = hrefs.redact_href(one.href).removeprefix(f"{folder}/")
            yield _build_rejected(path, one.href, one.reason)
        elif isinstance(one, IncompleteListing):
            incomplete = incomplete or one.reason
        else:
            yield one
    if incomplete is not None:
        raise SearchIncomplete(hrefs.redact_href(catalog.url), incomplete)


def _fetch_file(catalog: Catalog, request: HttpRequest) -> StacResponse | UnreadableFile:
    try:
        with translate_errors(request.href, is_file=True):
            return catalog.client.send(request)
    except CatalogUnreachable as error:
        return UnreadableFile(request.href, error.reason, is_outage=is_outage(error.__cause__))
