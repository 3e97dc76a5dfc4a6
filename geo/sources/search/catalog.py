"""Open a catalog: a STAC API, static files, or a registered source of local files.

The URL of an API may be that of its root, of a collection, or of a list of items. Static files are a catalog or
collection whose links are followed, a single item, or a FeatureCollection of items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pystac_client.exceptions import APIError

from segwatch.geo.errors import NoSuchCollection, UnknownSource, UnsafeHref
from segwatch.geo.items import ANY_COLLECTION, MALFORMED
from segwatch.geo.local_addresses import is_local
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.http.retries import RetryPolicy
from segwatch.geo.sources.local import registry
from segwatch.geo.sources.search.catalog_errors import NotACatalog, get_status, translate_errors
from segwatch.geo.sources.search.collections import CollectionInfo, MissingCollection, look_up_collection
from segwatch.geo.sources.search.completeness import LearnedLimits
from segwatch.geo.sources.search.endpoints import (
    ApiLocation,
    choose_first_form,
    conforms,
    find_endpoints,
    is_inside_api,
    lists_files,
    locate_api,
)
from segwatch.geo.sources.search.paging import StacResponse
from segwatch.geo.sources.search.requests import Endpoints, HttpRequest, RequestForm
from segwatch.geo.sources.search.stac_client import StacClient, StacRetries
from segwatch.geo.sources.search.static_catalog import UnreadableFile, sample_collections
from segwatch.geo.types.source import Profile

#: Time limit for one response, including all retries.
_RESPONSE_SECONDS = 300.0
_MAX_ATTEMPTS = 6
_MAX_CONNECT_ATTEMPTS = 4
_BACK_OFF_SECONDS = 0.5
_MAX_WAIT_SECONDS = 30.0
#: Statuses with which some APIs answer a GET of a URL inside them, although the API works.
_INSIDE_STATUSES = frozenset({400, 404, 405, 422})

API, FILES = "STAC API", "static files"
_CONFORMANCE = ("ITEM_SEARCH", "SORT", "QUERY", "FILTER")


@dataclass(slots=True)
class SearchState:
    """What earlier responses of a catalog showed about how to search it."""

    form: RequestForm
    """Form of the last request that the catalog accepted."""
    limits: LearnedLimits = field(default_factory=LearnedLimits)


@dataclass(frozen=True, slots=True)
class Catalog:
    """A catalog whose root document was read."""

    url: str
    """Root of an API, else the given URL."""
    client: StacClient
    document: dict[str, Any]
    """Root document."""
    location: ApiLocation | None = None
    """None = static files."""
    state: SearchState = field(default_factory=lambda: SearchState(RequestForm()), compare=False)

    @property
    def is_api(self) -> bool:
        """Whether the catalog can be searched. Static files are read completely for any search."""
        return self.location is not None

    @property
    def collection(self) -> str | None:
        """Collection whose URL was given; None for the URL of a whole catalog."""
        return self.location.collection if self.location is not None else None

    @property
    def endpoints(self) -> Endpoints:
        """Endpoints of the API."""
        found = self.location.endpoints if self.location is not None else None
        return found or find_endpoints(self.url, self.document)


def open_catalog(url: str) -> Catalog:
    """Read the root of a catalog, given its URL or that of one of its parts.

    Raises
    ------
    CatalogUnreachable
        The URL does not respond, or not as a STAC catalog; UnknownSource where it is that of a registered source which
        is not registered here.
    """
    if is_local(url):
        return _open_registered(url)
    with translate_errors(url):
        hosts = hrefs.list_url_hosts(url)
        hrefs.check(url, hosts)
        client = _make_client(hosts)
        document = _read_root(client, url)
        location = locate_api(url, document, lambda at: _try_read(client, at))
        if location is None and not lists_files(document):
            if document.get("type") != "Catalog":
                raise NotACatalog("neither a catalog nor items; give the URL of the API's landing page")
            location = ApiLocation(url, document)
        if location is None:
            return Catalog(url, client, document, None, SearchState(choose_first_form(document, None)))
        form = choose_first_form(location.document, location)
        return Catalog(location.url, client, location.document, location, SearchState(form))


def _open_registered(url: str) -> Catalog:
    """Open the catalog of a registered source: its items are read at once, and no request follows."""
    source = registry.find_by_url(url)
    try:
        document = source.build_catalog()
    except (OSError, *MALFORMED) as error:
        raise UnknownSource(source.name, f"has a catalog that cannot be read: {error}") from error
    return Catalog(source.url, _make_client([]), document)


def _make_client(hosts: Sequence[str]) -> StacClient:
    policy = RetryPolicy(_MAX_ATTEMPTS, _BACK_OFF_SECONDS, _MAX_WAIT_SECONDS)
    return StacClient(hosts, StacRetries(_RESPONSE_SECONDS, policy, _MAX_CONNECT_ATTEMPTS))


def _read_root(client: StacClient, url: str) -> dict[str, Any]:
    """The document at a URL; empty where a part of an API refuses a GET, as some searches do."""
    try:
        document = client.send(HttpRequest("GET", url, {})).document
    except APIError as error:
        if get_status(error) not in _INSIDE_STATUSES or not is_inside_api(url):
            raise
        if locate_api(url, {}, lambda at: _try_read(client, at)) is None:
            raise
        return {}
    if not isinstance(document, dict):
        raise NotACatalog(f"{type(document).__name__} in place of an object")
    return document


def _try_read(client: StacClient, url: str) -> dict[str, Any] | None:
    try:
        document = client.send(HttpRequest("GET", url, {})).document
    except (APIError, UnsafeHref, *MALFORMED):
        return None
    return document if isinstance(document, dict) else None


def describe(catalog: Catalog) -> tuple[str, set[str]]:
    """Return the kind of a catalog (:data:`API` or :data:`FILES`) and the conformance classes that it declares.

    The classes are those of ITEM_SEARCH, SORT, QUERY and FILTER (STAC API specification).
    """
    if not catalog.is_api:
        return FILES, set()
    return API, {name for name in _CONFORMANCE if conforms(catalog.document, name)}


def select_collection(catalog: Catalog, profile: Profile) -> str | None:
    """Return the collection to search; None = all.

    Raises
    ------
    NoSuchCollection
        The catalog was given by the URL of another collection.
    """
    if profile.collection == ANY_COLLECTION:
        return catalog.collection
    if catalog.collection not in {None, profile.collection}:
        raise NoSuchCollection(
            hrefs.redact_href(catalog.url),
            f"was given by the URL of its collection {catalog.collection!r}, but profile {profile.name} needs "
            f"{profile.collection!r}",
        )
    return profile.collection


def require_collection(catalog: Catalog, profile: Profile) -> CollectionInfo | None:
    """Return the profile's collection as the catalog describes it; None where it cannot be determined.

    Raises
    ------
    NoSuchCollection
        The catalog does not have it.
    """
    return check_collection(catalog, select_collection(catalog, profile))


def check_collection(catalog: Catalog, name: str | None) -> CollectionInfo | None:
    """Look up a collection by name, see :func:`require_collection`."""
    if name is None or name == ANY_COLLECTION:
        return None
    if not catalog.is_api:
        return _check_files(catalog, name)
    collections = catalog.endpoints.collections
    if collections is None:
        return None

    def send(request: HttpRequest) -> StacResponse | None:
        try:
            return catalog.client.send(request)
        except (APIError, UnsafeHref, *MALFORMED):
            return None

    found = look_up_collection(collections, name, send)
    if isinstance(found, MissingCollection):
        raise NoSuchCollection(hrefs.redact_href(catalog.url), str(found))
    return found


def _check_files(catalog: Catalog, name: str) -> CollectionInfo | None:
    """Look for a collection among static files; None where no file names its collection, or one cannot be read."""

    def fetch(request: HttpRequest) -> StacResponse | UnreadableFile:
        try:
            return catalog.client.send(request)
        except (APIError, UnsafeHref, *MALFORMED) as error:
            return UnreadableFile(request.href, str(error))

    names: dict[str, None] = {}
    unread = False
    for found in sample_collections(catalog.url, catalog.document, fetch):
        if isinstance(found, UnreadableFile):
            unread = True
        elif found.name in {name, ""}:
            return found if found.name else None  # an item that names none belongs to any collection
        else:
            names[found.name] = None
    if unread or not names:
        return None
    missing = MissingCollection.among(name, list(names))
    raise NoSuchCollection(hrefs.redact_href(catalog.url), str(missing))
