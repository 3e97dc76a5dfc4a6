"""A feed's document, whatever it is."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from segwatch.geo.errors import EventRefused
from segwatch.geo.events.feature import features
from segwatch.geo.events.markup import entries
from segwatch.geo.events.record import json_object
from segwatch.geo.types import Event, RefusedEntry


def read(document: bytes, feed: str) -> Iterator[Event | RefusedEntry]:
    """Events of a document: GeoJSON of GDACS, USGS, EONET or in the own form, GDACS RSS, GeoRSS, or CAP 1.2.

    Args:
        document: as received.
        feed: short name of where it came from.

    Raises
    ------
    EventRefused
        The document as a whole cannot be read. A bad entry is a :class:`RefusedEntry` among the events.
    """
    start = document.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start in {b"{", b"["}:
        yield from features(json_object(document, to_be_stored=True), feed)
        return
    if start != b"<":
        raise EventRefused("the document is neither JSON nor XML")
    try:
        root = fromstring(document, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise EventRefused(f"the document is no safe XML: {error}") from error
    yield from entries(root, feed)
