"""STAC search. Depends on pystac-client; everything it finds ends as an item or as a rejection with a reason."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from pystac.errors import STACError
from pystac_client import Client
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import PystacClientWarning
from requests import Response
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry
from urllib3 import Retry

from segwatch.geo.errors import BadItem, CatalogUnreachable, UnsafeHref
from segwatch.geo.scenes import parse_item
from segwatch.geo.sources import hrefs
from segwatch.geo.types import Item, Profile

_log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = (10.0, 60.0)
_PAGE_ITEMS = 100
_RETRIES = 5
_CONNECT_RETRIES = 3
_BACK_OFF_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30
#: A catalog whose pages bring nothing new this often in a row repeats itself.
_STALE_PAGES = 5


@dataclass(frozen=True, slots=True)
class Rejected:
    """An item that was found but cannot be used."""

    item_id: str
    href: str | None
    reason: str


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
        self.session.hooks["response"].append(self._check_redirect)

    def _check_redirect(self, response: Response, *_: object, **__: object) -> None:
        if response.is_redirect:
            hrefs.check_redirect(str(response.url), response.headers["location"], [self._host])

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        hrefs.check(href, [self._host])
        return super().request(href, method, headers, parameters)


def search(
    catalog_url: str,
    profile: Profile,
    area: BaseGeometry,
    start: datetime,
    end: datetime,
    *,
    updated_after: datetime | None = None,
) -> Iterator[Item | Rejected]:
    """Items of the profile's collection that meet the area and were acquired from ``start`` to ``end``.

    Every item version comes once, whatever the catalog's paging does. An item that cannot be used comes as
    :class:`Rejected`. Items without an update time pass ``updated_after``: nothing is known against them.

    Parameters
    ----------
    catalog_url
        Root of a STAC API, http or https.
    area
        EPSG:4326.
    start, end
        Timezone-aware.

    Raises
    ------
    CatalogUnreachable
        The catalog did not answer, or not as a STAC API, after retries with back-off.
    """
    seen: set[tuple[str, str]] = set()
    for document in _documents(catalog_url, profile, area, start, end):
        identity = str(document.get("id") or "?")
        version = (identity, str(_property(document, "updated")))
        if version in seen:
            continue
        seen.add(version)
        found = _parse(document, identity, catalog_url, profile)
        if isinstance(found, Rejected) or _wanted(found, area, start, end, updated_after):
            yield found


def _parse(document: dict[str, Any], identity: str, catalog_url: str, profile: Profile) -> Item | Rejected:
    path = f"/collections/{quote(profile.collection, safe='')}/items/{quote(identity, safe='')}"
    base = catalog_url.rstrip("/") + path
    try:
        return parse_item(document, profile, base=base)
    except BadItem as error:
        return Rejected(identity, base, error.reason)


def _wanted(
    item: Item, area: BaseGeometry, start: datetime, end: datetime, updated_after: datetime | None
) -> bool:
    """Whether the item is what was asked for; not every catalog applies every parameter."""
    if updated_after is not None and item.updated_at is not None and item.updated_at <= updated_after:
        return False
    return start <= item.acquired_at <= end and bool(item.footprint.intersects(area))


def _property(document: dict[str, Any], name: str) -> object:
    properties = document.get("properties")
    return properties.get(name) if isinstance(properties, dict) else None


def _documents(
    url: str, profile: Profile, area: BaseGeometry, start: datetime, end: datetime
) -> Iterator[dict[str, Any]]:
    """Features of all pages; ends when the pages repeat themselves."""
    with _translated(url):
        client = _open(url)
        query = client.search(
            collections=[profile.collection],
            intersects=mapping(area),
            datetime=[_utc(start), _utc(end)],
            limit=_PAGE_ITEMS,
        )
        pages = query.pages_as_dicts()
    known: set[str] = set()
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
        new = {json.dumps(document, sort_keys=True) for document in documents} - known
        stale = 0 if new else stale + 1
        if stale >= _STALE_PAGES:
            _log.warning("catalog %s: %d pages in a row brought nothing new; paging ends", url, stale)
            return
        known |= new
        yield from documents


def _open(url: str) -> Client:
    # the library logs all request headers at debug level, credentials among them
    logging.getLogger("pystac_client").setLevel(logging.INFO)
    parts = urlsplit(url)
    hrefs.check(url, [parts.hostname or ""])
    client = Client.open(url, stac_io=_GuardedIO(parts.hostname or ""))
    if not client.conforms_to("ITEM_SEARCH"):
        # some catalogs search although they do not say so
        client.add_conforms_to("ITEM_SEARCH")
    return client


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
    except (STACError, ClientTypeError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"it does not answer as a STAC API ({type(error).__name__}: {_brief(error)})"
        raise CatalogUnreachable(hrefs.shown(url), reason) from error


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:300] or type(error).__name__


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
