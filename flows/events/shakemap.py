"""From an earthquake's link to the ground that it shook, fetched as feeds are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx
from shapely.geometry.base import BaseGeometry

from segwatch.flows.config.settings.events import EventSettings
from segwatch.flows.events import fetch
from segwatch.geo.errors import EventRefused, UnsafeHref
from segwatch.geo.events import shaking
from segwatch.geo.types.event import Event

_log = logging.getLogger(__name__)


def ground(
    settings: EventSettings, told: Sequence[Event], *, least: float, largest_km2: float
) -> BaseGeometry | None:
    """The ground that shook at least so much, by the first entry about the event that leads to contours.

    None, and a line in the log that says why, where none does.
    """
    for event in told:
        name = f"{event.source}/{event.external_id}"
        if not event.shaking:
            continue
        try:
            document = _contours(settings, event.shaking)
            intensity, area = shaking.shaken(document, event, least=least, largest_km2=largest_km2)
        except (EventRefused, UnsafeHref, httpx.HTTPError, httpx.InvalidURL) as error:
            _log.warning("%s: no contours of shaking: %s", name, fetch.told(error))
            continue
        _log.info("%s: looking at the ground that shook with an intensity of %g or more", name, intensity)
        return area
    _log.info("%s/%s: nothing tells what ground it shook", told[0].source, told[0].external_id)
    return None


def _contours(settings: EventSettings, link: str) -> bytes:
    """The document behind a link, or behind the one in the event's own document."""
    document = _fetch(settings, link)
    further = shaking.link_in(document)
    return _fetch(settings, further) if further else document


def _fetch(settings: EventSettings, url: str) -> bytes:
    """Links come from outside: they lead nowhere but to where feeds are read from anyway."""
    if _host(url) not in {_host(feed) for feed in settings.feeds}:
        raise EventRefused("it leads to a host that is none of SEGWATCH_FEEDS")
    return fetch.fetch(url, settings).content


def _host(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port
    except ValueError as error:
        raise EventRefused("it leads to an address that is none") from error
