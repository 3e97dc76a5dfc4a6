"""Fetch the ShakeMap contours of an earthquake and compute the area that shook."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx
from shapely.geometry.base import BaseGeometry

from segwatch.flows.config.settings.events import EventSettings
from segwatch.flows.events import fetch
from segwatch.geo.errors import InvalidEvent, UnsafeHref
from segwatch.geo.events import shaking
from segwatch.geo.types.event import Event

_log = logging.getLogger(__name__)


def find_shaken_area(
    settings: EventSettings, entries: Sequence[Event], *, least: float, largest_km2: float
) -> BaseGeometry | None:
    """Compute the area that shook with at least an intensity, from the first entry that links to usable contours.

    Parameters
    ----------
    entries
        Feed entries about one earthquake.
    least
        Modified Mercalli intensity.
    largest_km2
        Maximum area; a higher intensity is used where more shook.

    Returns
    -------
    BaseGeometry | None
        Polygon or MultiPolygon, EPSG:4326; None, with the reason in the log, if no entry leads to contours.
    """
    for event in entries:
        name = f"{event.source}/{event.external_id}"
        if not event.shaking:
            continue
        try:
            document = _contours(settings, event.shaking)
            intensity, area = shaking.compute_shaken_area(
                document, event, least=least, largest_km2=largest_km2
            )
        except (InvalidEvent, UnsafeHref, httpx.HTTPError, httpx.InvalidURL) as error:
            _log.warning("%s: no contours of shaking: %s", name, fetch.describe_failure(error))
            continue
        _log.info("%s: area is where the intensity was %g or more", name, intensity)
        return area
    _log.info("%s/%s: no feed has usable contours of shaking", entries[0].source, entries[0].external_id)
    return None


def _contours(settings: EventSettings, link: str) -> bytes:
    """Fetch the contours at a link, or at the link inside the event's own document."""
    document = _fetch(settings, link)
    further = shaking.find_link_in(document)
    return _fetch(settings, further) if further else document


def _fetch(settings: EventSettings, url: str) -> bytes:
    """Fetch a link from a feed, only from the hosts of the configured feeds."""
    if _host(url) not in {_host(feed) for feed in settings.feeds}:
        raise InvalidEvent("its link leads to a host that SEGWATCH_FEEDS does not name")
    return fetch.fetch_document(url, settings).content


def _host(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port
    except ValueError as error:
        raise InvalidEvent("its link is not a valid URL") from error
