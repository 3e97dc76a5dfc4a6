"""STAC search. Depends on pystac-client; everything it finds ends as an item or as a rejection with a reason.

A catalog is a STAC API, or plain files: a static catalog or collection whose links are followed, an item, or a
FeatureCollection of items. The address of an API may be that of its root, of a collection, or of a list of items.
Searches of an API are shown to be complete, see :mod:`segwatch.geo.sources.search.completeness`, or end with an error.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from itertools import islice
from typing import Any
from urllib.parse import quote

from pystac_client.exceptions import APIError
from shapely.geometry.base import BaseGeometry

from segwatch.geo.errors import (
    AddressRefused,
    BadItem,
    CatalogUnreachable,
    NoSuchCollection,
    SearchIncomplete,
    UnsafeHref,
)
from segwatch.geo.identity import catalog_identity
from segwatch.geo.items import ANY_COLLECTION, MALFORMED, parse_item, parse_time_and_footprint
from segwatch.geo.sources.http import faults, hrefs
from segwatch.geo.sources.http.stac import Patience, Refusal, StacHttp
from segwatch.geo.sources.search.collections import Holding, Missing, look_up
from segwatch.geo.sources.search.completeness import Completing, Learned
from segwatch.geo.sources.search.endpoints import (
    Location,
    conforms,
    endpoints_of,
    first_way,
    is_inside,
    lists_files,
    locate,
)
from segwatch.geo.sources.search.paging import Answer, Endless, NotAPage, Pager, Pages, features_of, follow
from segwatch.geo.sources.search.requests import (
    Endpoints,
    PropertyQuery,
    Query,
    Request,
    Way,
    fallbacks,
    hemispheres,
    request_for,
)
from segwatch.geo.sources.search.static_catalog import Reach, Unfinished, Unread, walk
from segwatch.geo.text.printable import clean
from segwatch.geo.text.redaction import public
from segwatch.geo.text.storable import shortened, storable
from segwatch.geo.types.scene import Item
from segwatch.geo.types.source import Profile

_log = logging.getLogger(__name__)

#: Of one answer, with all retries.
_ANSWER_SECONDS = 300.0
#: So few that a sample has several pages.
SAMPLE_PAGE_ITEMS = 8
_CONNECT_RETRIES = 3
_BACK_OFF_SECONDS = 0.5
#: Refusals that may be about the collection that was asked for.
_OF_THE_QUESTION = frozenset({400, 404, 422})
#: Refusals that are not about what was asked for, beside all of 500 and more.
_OF_THE_SERVER = frozenset({401, 408, 425, 429})
#: Forms of asking that are tried before a refusal is believed.
_MAX_WAYS = 12
#: Characters of a reason and of a name that are kept.
_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Rejected:
    """An item that was found but cannot be used."""

    item_id: str
    href: str | None
    reason: str
    acquired_at: datetime | None = None
    """None where the item does not tell it."""
    footprint: BaseGeometry | None = None
    """None where the item does not tell it."""


@dataclass(slots=True)
class _State:
    """What a catalog's answers taught of how to ask it."""

    way: Way
    paging: Learned = field(default_factory=Learned)


@dataclass(frozen=True, slots=True)
class Catalog:
    """A catalog whose root was read."""

    url: str
    """Of the root of an API, else the address that was given."""
    io: StacHttp
    document: dict[str, Any]
    """The root."""
    location: Location | None = None
    """None = files."""
    state: _State = field(default_factory=lambda: _State(Way()), compare=False)

    @property
    def is_api(self) -> bool:
        """Whether it can be searched; files list their items themselves, and are read all for any part of them."""
        return self.location is not None

    @property
    def collection(self) -> str | None:
        """The collection whose address was given; None for that of a whole catalog."""
        return self.location.collection if self.location is not None else None

    @property
    def endpoints(self) -> Endpoints:
        """Where an API is asked."""
        found = self.location.endpoints if self.location is not None else None
        return found or endpoints_of(self.url, self.document)


class NotACatalog(TypeError):
    """What is at an address is no part of a catalog; the message holds nothing of it."""


def opened(url: str) -> Catalog:
    """Read the root of a catalog, or of the one that an address is a part of.

    Raises
    ------
    CatalogUnreachable
        It does not answer.
    """
    # the library logs all request headers at debug level, credentials among them
    logging.getLogger("pystac_client").setLevel(logging.INFO)
    with _translated(url):
        hosts = hrefs.own_hosts(url)
        hrefs.check(url, hosts)
        io = StacHttp(hosts, Patience(_ANSWER_SECONDS, _CONNECT_RETRIES, _BACK_OFF_SECONDS))
        document = _root(io, url)
        location = locate(url, document, lambda at: _readable(io, at))
        if location is None and not lists_files(document):
            if document.get("type") != "Catalog":
                raise NotACatalog("neither a catalog nor items; give the address of the API's landing page")
            location = Location(url, document)
        found = location.document if location is not None else document
        at = location.url if location is not None else url
        return Catalog(at, io, found, location, _State(first_way(found, location)))


def _root(io: StacHttp, url: str) -> dict[str, Any]:
    """What is at an address; nothing where a part of an API refuses to show itself, as some searches do."""
    try:
        document = io.answer(Request("GET", url, {})).document
    except APIError as error:
        if _status(error) not in {400, 404, 405, 422} or not is_inside(url):
            raise
        location = locate(url, {}, lambda at: _readable(io, at))
        if location is None:
            raise
        return {}
    if not isinstance(document, dict):
        raise NotACatalog(f"{type(document).__name__} in place of an object")
    return document


def _readable(io: StacHttp, url: str) -> dict[str, Any] | None:
    try:
        document = io.answer(Request("GET", url, {})).document
    except (APIError, UnsafeHref, *MALFORMED):
        return None
    return document if isinstance(document, dict) else None


def require_collection(catalog: Catalog, profile: Profile) -> Holding | None:
    """The profile's collection, as an API describes it; None where that does not tell, and for files.

    Raises
    ------
    NoSuchCollection
        The catalog does not have it.
    """
    return _looked_up(catalog, _collection_asked(catalog, profile))


def _looked_up(catalog: Catalog, name: str | None) -> Holding | None:
    collections = catalog.endpoints.collections
    if not catalog.is_api or name is None or collections is None:
        return None

    def ask(request: Request) -> Answer | None:
        try:
            return catalog.io.answer(request)
        except (APIError, UnsafeHref, *MALFORMED):
            return None

    found = look_up(collections, name, ask)
    if isinstance(found, Missing):
        raise NoSuchCollection(hrefs.shown(catalog.url), str(found))
    return found


def search(
    catalog: str | Catalog,
    profile: Profile,
    area: BaseGeometry,
    start: datetime,
    end: datetime,
    *,
    updated_after: datetime | None = None,
    identity: str = "",
) -> Iterator[Item | Rejected]:
    """Items of the profile's collection that meet the area and were acquired from ``start`` to ``end``.

    Every item version comes once, whatever the catalog's paging does. An item that cannot be used comes as
    :class:`Rejected`. ``updated_after`` is asked of catalogs that can search by it, and held against every item;
    one without an update time passes: nothing is known against it.

    Parameters
    ----------
    catalog
        Root of a STAC API, or a collection or list of items in it, or a file of a static catalog, http or https; or
        one that is opened.
    area
        EPSG:4326.
    start, end
        Timezone-aware.
    identity
        Identity of the catalog that the items bear; empty = its address, as :func:`catalog_identity` takes it.

    Raises
    ------
    CatalogUnreachable
        The catalog did not answer, or not as a STAC API, after retries with back-off.
    SearchIncomplete
        After what was found: it cannot be shown that this is all.
    NoSuchCollection
        The address is of another collection than the profile's.
    """
    catalog = opened(catalog) if isinstance(catalog, str) else catalog
    source = identity or catalog_identity(catalog.url)
    # ids are unique within a collection only
    seen: set[tuple[str, str, str]] = set()
    for document in _documents(catalog, profile, area, start, end, updated_after):
        if isinstance(document, Rejected):
            yield document
            continue
        name = str(document.get("id") or "?")
        version = (str(document.get("collection")), name, str(property_of(document, "updated")))
        if version in seen:
            continue
        seen.add(version)
        found = _parse(document, name, catalog.url, profile, source)
        if isinstance(found, Rejected) or _wanted(found, area, start, end, updated_after):
            yield found


API, FILES = "STAC API", "static files"
_CONFORMANCE = ("ITEM_SEARCH", "SORT", "QUERY", "FILTER")


def describe(catalog: Catalog) -> tuple[str, set[str]]:
    """What a catalog is, and which of search, sort, query and filter it declares."""
    if not catalog.is_api:
        return FILES, set()
    return API, {name for name in _CONFORMANCE if conforms(catalog.document, name)}


def sample(catalog: Catalog, collection: str | None, count: int) -> tuple[list[dict[str, Any]], Pages | None]:
    """The first items as they come, of a collection or of any, and what their pages showed if these were all.

    Raises
    ------
    CatalogUnreachable
        It does not answer.
    """
    if not catalog.is_api:
        files = walk(catalog.url, catalog.document, lambda request: _fetched(catalog, request), Reach())
        return list(islice((one for one in files if isinstance(one, dict)), count)), None
    wanted = catalog.collection if collection in {None, ANY_COLLECTION} else collection
    pager = _pages(catalog, Query(wanted), limit=SAMPLE_PAGE_ITEMS)
    found: list[dict[str, Any]] = []
    while len(found) < count:
        try:
            found.append(next(pager))
        except StopIteration as end:
            return found, end.value
    return found, None


def _parse(
    document: dict[str, Any], item_id: str, catalog_url: str, profile: Profile, source: str
) -> Item | Rejected:
    name = quote(shortened(str(storable(item_id)), _LONGEST_REASON), safe="")
    path = f"/collections/{quote(profile.collection, safe='')}/items/{name}"
    base = public(catalog_url, query=False).rstrip("/") + path
    try:
        return parse_item(document, profile, base=base, catalog=source)
    except BadItem as error:
        acquired_at, footprint = parse_time_and_footprint(document)
        return replace(
            _rejected(error.item_id, base, error.reason), acquired_at=acquired_at, footprint=footprint
        )


def _rejected(item_id: str, href: str, reason: str) -> Rejected:
    """In words that can be stored and shown: all of them are the catalog's."""
    item_id, href = (shortened(str(storable(one)), _LONGEST_REASON) for one in (item_id, public(href)))
    return Rejected(item_id, href, clean(reason, _LONGEST_REASON))


def _wanted(
    item: Item, area: BaseGeometry, start: datetime, end: datetime, updated_after: datetime | None
) -> bool:
    """Whether the item is what was asked for; not every catalog applies every parameter."""
    if updated_after is not None and item.updated_at is not None and item.updated_at <= updated_after:
        return False
    return start <= item.acquired_at <= end and bool(item.footprint.intersects(area))


def property_of(document: dict[str, Any], name: str) -> object:
    """A property of an item's document, None where it has none."""
    properties = document.get("properties")
    return properties.get(name) if isinstance(properties, dict) else None


def _documents(
    catalog: Catalog,
    profile: Profile,
    area: BaseGeometry,
    start: datetime,
    end: datetime,
    updated_after: datetime | None,
) -> Iterator[dict[str, Any] | Rejected]:
    if not catalog.is_api:
        yield from _files(catalog, Reach(area, start, end))
        return
    query = Query(_collection_asked(catalog, profile), None, start, end, updated_after)
    by_id = catalog.state.way.by_property is not PropertyQuery.NONE
    for part in hemispheres(area):
        searches = Completing(
            hrefs.shown(catalog.url),
            lambda one: _pages(catalog, one),
            catalog.state.paging,
            by_id=by_id,
            limit=lambda: catalog.state.way.limit,
        )
        yield from searches.run(replace(query, area=part))


def _collection_asked(catalog: Catalog, profile: Profile) -> str | None:
    """The collection to search; None = every one."""
    if profile.collection == ANY_COLLECTION:
        return catalog.collection
    if catalog.collection not in {None, profile.collection}:
        raise NoSuchCollection(
            hrefs.shown(catalog.url),
            f"was given by the address of its collection {catalog.collection!r}, and profile {profile.name} asks for "
            f"{profile.collection!r}",
        )
    return profile.collection


def _pages(catalog: Catalog, query: Query, *, limit: int | None = None) -> Pager:
    """Features of all pages of one search."""
    at = catalog.url

    def ask(request: Request) -> Answer:
        with _translated(at):
            return catalog.io.answer(request)

    try:
        with _translated(at):
            request, answer = _begun(catalog, query, limit)
        return (yield from follow(request, ask, answer))
    except NotAPage as error:
        raise CatalogUnreachable(hrefs.shown(at), str(error)) from error
    except Endless as error:
        raise SearchIncomplete(hrefs.shown(at), str(error)) from error


def _begun(catalog: Catalog, query: Query, limit: int | None) -> tuple[Request, Answer]:
    """The first page, asked for in the form that the catalog takes, which is remembered."""
    state, endpoints = catalog.state, catalog.endpoints
    ways = deque([replace(state.way, limit=limit or state.way.limit)])
    tried: set[str] = set()
    refusals: list[Exception] = []
    while ways and len(tried) < _MAX_WAYS:
        way = ways.popleft()
        request = request_for(query, way, endpoints)
        if request.fingerprint in tried:
            continue
        tried.add(request.fingerprint)
        try:
            answer = catalog.io.answer(request)
            features_of(answer.document)
        except APIError as error:
            refusals.append(error)
            code = _status(error)
            if code is None:
                break
            ways.extend(fallbacks(way, code, _words(error), query, endpoints))
        except NotAPage as error:
            refusals.append(error)
            ways.extend(fallbacks(way, HTTPStatus.METHOD_NOT_ALLOWED, "", query, endpoints))
        else:
            if refusals:
                _log.info("catalog %s: asked by %s", hrefs.shown(catalog.url), way)
            state.way = replace(way, limit=state.way.limit) if limit is not None else way
            return request, answer
    if isinstance(refusals[0], APIError) and _status(refusals[0]) in _OF_THE_QUESTION:
        _looked_up(catalog, query.collection)
    raise refusals[0]


def _files(catalog: Catalog, reach: Reach) -> Iterator[dict[str, Any] | Rejected]:
    """Items of static files."""
    unfinished: str | None = None
    for one in walk(catalog.url, catalog.document, lambda request: _fetched(catalog, request), reach):
        if isinstance(one, Unread) and one.passing:
            # taken as rejected it would be forgotten once the watermark has passed it
            unfinished = unfinished or f"{hrefs.shown(one.href)} cannot be had now: {one.reason}"
        elif isinstance(one, Unread):
            yield _rejected(one.href.rsplit("/", 1)[-1], hrefs.shown(one.href), one.reason)
        elif isinstance(one, Unfinished):
            unfinished = unfinished or one.reason
        else:
            yield one
    if unfinished is not None:
        raise SearchIncomplete(hrefs.shown(catalog.url), unfinished)


def _fetched(catalog: Catalog, request: Request) -> Answer | Unread:
    try:
        with _translated(request.href):
            return catalog.io.answer(request)
    except CatalogUnreachable as error:
        return Unread(request.href, error.reason, passing=_is_outage(error.__cause__))


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except UnsafeHref as error:
        raise CatalogUnreachable(hrefs.shown(url), f"{error.reason}: {error.href}") from error
    except APIError as error:
        code = _status(error)
        raise CatalogUnreachable(hrefs.shown(url), f"HTTP {code}" if code else _brief(error)) from error
    except NotAPage:
        raise
    except MALFORMED as error:
        told = _brief(error) if isinstance(error, NotACatalog) else faults.describe(error)
        reason = f"it does not answer as a STAC API ({told})"
        raise CatalogUnreachable(hrefs.shown(url), reason) from error


def _is_outage(cause: BaseException | None) -> bool:
    """Whether no answer came, or one that tells of the server and not of what was asked for."""
    if isinstance(cause, AddressRefused):
        return True
    if not isinstance(cause, APIError):
        return False
    code = _status(cause)
    return code is None or code in _OF_THE_SERVER or code >= HTTPStatus.INTERNAL_SERVER_ERROR


def _status(error: APIError) -> int | None:
    """Of the answer; None where none came."""
    code: int | None = getattr(error, "status_code", None)
    return code


def _words(error: APIError) -> str:
    """What a catalog that refused said, to find what it would take."""
    return error.words if isinstance(error, Refusal) else ""


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:300] or type(error).__name__
