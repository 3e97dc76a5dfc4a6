"""STAC search. Depends on pystac-client; everything it finds ends as an item or as a rejection with a reason.

A catalog is a STAC API, or plain files: a static catalog or collection whose links are followed, an item, or a
FeatureCollection of items.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from pystac.errors import STACError, STACTypeError
from pystac_client import Client
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import PystacClientWarning
from requests import Response
from requests.exceptions import ChunkedEncodingError
from shapely.geometry import box, mapping
from shapely.geometry.base import BaseGeometry
from urllib3 import Retry

from segwatch.geo.errors import BadItem, CatalogUnreachable, UnsafeHref
from segwatch.geo.identity import catalog_identity
from segwatch.geo.scenes import ANY_COLLECTION, MALFORMED, moment_of, parse_item, when_and_where
from segwatch.geo.sources import hrefs
from segwatch.geo.sources.deadline import within
from segwatch.geo.storable import shortened, storable
from segwatch.geo.types import Item, Profile

_log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = (10.0, 60.0)
#: Of one answer, with all retries.
_ANSWER_SECONDS = 300.0
_PAGE_ITEMS = 100
#: So few that a sample has several pages.
_SAMPLE_PAGE_ITEMS = 8
_RETRIES = 5
_CONNECT_RETRIES = 3
_BACK_OFF_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30
#: A catalog whose pages bring nothing new this often in a row repeats itself.
_STALE_PAGES = 5
#: Larger answers than any page of items.
_LARGEST_BYTES = 64 * 1024**2
_CHUNK_BYTES = 64 * 1024
#: Characters of a reason and of a name that are kept.
_LONGEST_REASON = 500
#: A static catalog of more files is searched in no time that anybody waits for.
_MOST_FILES = 100_000


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


class _GuardedIO(StacApiIO):
    """Requests to one host only: the paging links of a catalog are its text, not ours."""

    def __init__(self, host: str) -> None:
        retry = Retry(
            total=_RETRIES,
            connect=_CONNECT_RETRIES,
            backoff_factor=_BACK_OFF_SECONDS,
            backoff_max=_LONGEST_WAIT_SECONDS,
            backoff_jitter=0.2,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods=None,  # searches by POST change nothing, so they may be repeated
            respect_retry_after_header=True,
            retry_after_max=_LONGEST_WAIT_SECONDS,
            raise_on_status=False,
        )
        super().__init__(timeout=_TIMEOUT_SECONDS, max_retries=retry)
        self._host = host
        self.session.hooks["response"].append(self._check_response)

    def _check_response(self, response: Response, *_: object, **__: object) -> None:
        if response.is_redirect:
            hrefs.check_redirect(str(response.url), response.headers["location"], [self._host])
        # what its head says of its length may be wrong, or missing
        content = bytearray()
        for chunk in response.iter_content(_CHUNK_BYTES):
            content += chunk
            if len(content) > _LARGEST_BYTES:
                response.close()
                raise APIError(f"an answer of more than {_LARGEST_BYTES / 1e6:.0f} MB")
        response._content = bytes(content)  # where the library keeps what it has read

    def json_loads(self, txt: str, *_: Any, **__: Any) -> dict[str, Any]:
        """Also with NaN and Infinity, which some catalogs write: what has them is refused by itself."""
        document: dict[str, Any] = json.loads(txt)
        return document

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        hrefs.check(href, [self._host])
        attempt = 1
        while True:
            try:
                return within(
                    _ANSWER_SECONDS, lambda: StacApiIO.request(self, href, method, headers, parameters)
                )
            except TimeoutError as error:
                self.session.close()
                raise APIError(f"it has not answered within {_ANSWER_SECONDS:g} s") from error
            except APIError as error:
                # the session repeats what fails before the body comes, and not what is cut off within it
                if attempt == _CONNECT_RETRIES or not isinstance(error.__context__, ChunkedEncodingError):
                    raise
            time.sleep(_BACK_OFF_SECONDS * 2**attempt)
            attempt += 1


@dataclass(frozen=True, slots=True)
class Catalog:
    """A catalog whose root was read."""

    url: str
    io: _GuardedIO
    document: dict[str, Any]
    """The root."""

    @property
    def is_api(self) -> bool:
        """Whether it can be searched; files list their items themselves, and are read all for any part of them."""
        links = self.document.get("links")
        rels = (
            {link.get("rel") for link in links if isinstance(link, dict)}
            if isinstance(links, list)
            else set()
        )
        files = self.document.get("type") in {"Feature", "FeatureCollection", "Collection"} or bool(
            rels & {"item", "child"}
        )
        return "conformsTo" in self.document or "search" in rels or not files

    def client(self) -> Client:
        """Of an API."""
        client = self.io.stac_object_from_dict(self.document, href=self.url)
        if not isinstance(client, Client):
            raise TypeError(f"its root is a {type(client).__name__}")
        if not client.conforms_to("ITEM_SEARCH"):
            # some catalogs search although they do not say so
            client.add_conforms_to("ITEM_SEARCH")
        return client


def opened(url: str) -> Catalog:
    """Read the root of a catalog.

    Raises
    ------
    CatalogUnreachable
        It does not answer.
    """
    # the library logs all request headers at debug level, credentials among them
    logging.getLogger("pystac_client").setLevel(logging.INFO)
    with _translated(url):
        host = urlsplit(url).hostname or ""
        hrefs.check(url, [host])
        io = _GuardedIO(host)
        document = io.read_json(url)
        if not isinstance(document, dict):
            raise TypeError(f"{type(document).__name__} in place of an object")
    return Catalog(url, io, document)


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
        Root of a STAC API, or a file of a static catalog, http or https; or one that is opened.
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
    with _translated(catalog.url):
        declared = Client.from_dict(catalog.document)
        return API, {name for name in _CONFORMANCE if declared.conforms_to(name)}


def sample(catalog: Catalog, collection: str | None) -> Iterator[dict[str, Any]]:
    """Items as they come, of a collection or of any.

    Raises
    ------
    CatalogUnreachable
        It does not answer.
    """
    if not catalog.is_api:
        everywhere = box(-180, -90, 180, 90)
        always = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        files = _files(catalog, everywhere, *always)
        yield from (one for one in files if isinstance(one, dict))
        return
    with _translated(catalog.url):
        wanted = None if collection in {None, ANY_COLLECTION} else [collection]
        pages = catalog.client().search(collections=wanted, limit=_SAMPLE_PAGE_ITEMS).pages_as_dicts()
    yield from _features(catalog.url, pages)


def _parse(
    document: dict[str, Any], item_id: str, catalog_url: str, profile: Profile, source: str
) -> Item | Rejected:
    name = quote(shortened(str(storable(item_id)), _LONGEST_REASON), safe="")
    path = f"/collections/{quote(profile.collection, safe='')}/items/{name}"
    base = catalog_url.rstrip("/") + path
    try:
        return parse_item(document, profile, base=base, catalog=source)
    except BadItem as error:
        acquired_at, footprint = when_and_where(document)
        return replace(
            _rejected(error.item_id, base, error.reason), acquired_at=acquired_at, footprint=footprint
        )


def _rejected(item_id: str, href: str, reason: str) -> Rejected:
    """In words that can be stored: all of them are the catalog's."""
    item_id, href, reason = (
        shortened(str(storable(one)), _LONGEST_REASON) for one in (item_id, href, reason)
    )
    return Rejected(item_id, href, reason)


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
        yield from _files(catalog, area, start, end)
        return
    with _translated(catalog.url):
        client = catalog.client()
        query = client.search(
            collections=None if profile.collection == ANY_COLLECTION else [profile.collection],
            intersects=mapping(area),
            datetime=[_utc(start), _utc(end)],
            limit=_PAGE_ITEMS,
            **_since(client, updated_after),
        )
        pages = query.pages_as_dicts()
    yield from _features(catalog.url, pages)


def _features(url: str, pages: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Features of all pages; ends when the pages repeat themselves."""
    known: set[bytes] = set()
    stale = 0
    while True:
        with _translated(url):
            page = next(pages, None)
        if page is None:
            return
        features = page.get("features") if isinstance(page, dict) else None
        if not isinstance(features, list):
            raise CatalogUnreachable(hrefs.shown(url), "a page of its search holds no list of features")
        documents = [feature for feature in features if isinstance(feature, dict)]
        new = {_digest(document) for document in documents} - known
        stale = 0 if new else stale + 1
        if stale >= _STALE_PAGES:
            _log.warning("catalog %s: %d pages in a row brought nothing new; paging ends", url, stale)
            return
        known |= new
        yield from documents


def _digest(document: dict[str, Any]) -> bytes:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).digest()


def _since(client: Client, moment: datetime | None) -> dict[str, Any]:
    """How the catalog is asked for what was updated after a moment; empty where it cannot be."""
    if moment is None:
        return {}
    text = _utc(moment).isoformat().replace("+00:00", "Z")
    if client.conforms_to("QUERY"):
        return {"query": {"updated": {"gt": text}}}
    if client.conforms_to("FILTER"):
        after = {"op": ">", "args": [{"property": "updated"}, {"timestamp": text}]}
        return {"filter": after, "filter_lang": "cql2-json"}
    return {}


def _files(
    catalog: Catalog, area: BaseGeometry, start: datetime, end: datetime
) -> Iterator[dict[str, Any] | Rejected]:
    """Items of static files, by their links; collections elsewhere or of other times are not opened."""
    url = catalog.url
    waiting: deque[tuple[str, dict[str, Any] | None]] = deque([(url, catalog.document)])
    known = {url}
    while waiting:
        at, content = waiting.popleft()
        if content is None:
            try:
                with _translated(at):
                    content = catalog.io.read_json(at)
            except CatalogUnreachable as error:
                yield _rejected(at.rsplit("/", 1)[-1], hrefs.shown(at), error.reason)
                continue
        kind = content.get("type")
        if kind == "Feature":
            yield _with_self_link(content, at)
        elif kind == "FeatureCollection":
            features = content.get("features")
            for feature in features if isinstance(features, list) else ():
                if isinstance(feature, dict):
                    yield feature
        elif kind != "Collection" or _may_hold(content, area, start, end):
            for link in _links(content, at):
                if link not in known and len(known) < _MOST_FILES:
                    known.add(link)
                    waiting.append((link, None))
    if len(known) >= _MOST_FILES:
        raise CatalogUnreachable(
            hrefs.shown(url), f"it is made of more than {_MOST_FILES} files; name a part of it"
        )


def _with_self_link(item: dict[str, Any], at: str) -> dict[str, Any]:
    """The item, found where it was: relative hrefs are relative to that."""
    return {**item, "links": [{"rel": "self", "href": at}]}


def _links(document: dict[str, Any], at: str) -> Iterator[str]:
    links = document.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") in {"child", "item", "items", "next"}:
            href = link.get("href")
            if isinstance(href, str):
                yield urljoin(at, str(storable(href)))


def _may_hold(document: dict[str, Any], area: BaseGeometry, start: datetime, end: datetime) -> bool:
    """Whether items of a static collection may be wanted, by its extent. What it does not say speaks for it."""
    extent = document.get("extent")
    if not isinstance(extent, dict):
        return True
    return _reaches(extent.get("spatial"), area) and _overlaps(extent.get("temporal"), start, end)


def _reaches(spatial: object, area: BaseGeometry) -> bool:
    boxes = spatial.get("bbox") if isinstance(spatial, dict) else None
    if not isinstance(boxes, list) or not boxes:
        return True
    for one in boxes:
        if not (
            isinstance(one, list) and len(one) in {4, 6} and all(isinstance(n, int | float) for n in one)
        ):
            return True
        west, south, east, north = one[0], one[1], one[len(one) // 2], one[len(one) // 2 + 1]
        if west > east or box(west, south, east, north).intersects(area):
            return True
    return False


def _overlaps(temporal: object, start: datetime, end: datetime) -> bool:
    spans = temporal.get("interval") if isinstance(temporal, dict) else None
    if not isinstance(spans, list) or not spans:
        return True
    for one in spans:
        if not (isinstance(one, list) and len(one) == 2):
            return True
        first, last = (moment_of(value) for value in one)
        if (first is None or first <= end) and (last is None or last >= start):
            return True
    return False


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PystacClientWarning)
            yield
    except UnsafeHref as error:
        raise CatalogUnreachable(hrefs.shown(url), f"{error.reason}: {error.href}") from error
    except APIError as error:
        code = getattr(error, "status_code", None)
        status = f"HTTP {code}: " if code else ""
        raise CatalogUnreachable(hrefs.shown(url), f"{status}{_brief(error)}") from error
    except (STACError, STACTypeError, ClientTypeError, *MALFORMED) as error:
        reason = f"it does not answer as a STAC API ({type(error).__name__}: {_brief(error)})"
        raise CatalogUnreachable(hrefs.shown(url), reason) from error


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:300] or type(error).__name__


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
