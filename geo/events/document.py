"""A feed's document, whatever it is."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from segwatch.geo.errors import EventRefused
from segwatch.geo.events.json_feeds import features
from segwatch.geo.events.record import json_object
from segwatch.geo.events.xml_feeds import entries
from segwatch.geo.types.event import Event, RefusedEntry, Withdrawal

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins with that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(rb"\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z][A-Za-z0-9._-]{0,40})[\"']")
#: Character sets of texts; Python has further codecs, some of which cost time that grows faster than the document.
_ENCODINGS = re.compile(
    r"(?:ascii|utf-(?:8|16|32)(?:-[lb]e)?|iso8859-\d+|cp\d+|koi8-[ru]|gb2312|gbk|gb18030|big5|shift_jis|euc_(?:jp|kr))\Z"
)

#: Beginnings and ends of elements; each element takes some hundred bytes of memory.
_MAX_TAGS = 2_000_000


def read(document: bytes, feed: str, charset: str = "") -> Iterator[Event | Withdrawal | RefusedEntry]:
    """Events of a document: GeoJSON of GDACS, USGS, EONET or in the own form, GDACS RSS, GeoRSS, or CAP 1.2.

    Args:
        document: as received.
        feed: short name of where it came from.
        charset: as the HTTP header ``content-type`` names it; empty where it does not.

    Raises
    ------
    EventRefused
        The document as a whole cannot be read. A bad entry is a :class:`RefusedEntry` among the events.
    """
    text = decoded(document, charset).lstrip(" \t\r\n")
    start = text[:1]
    if start in {"{", "["}:
        yield from features(json_object(text, to_be_stored=True), feed)
        return
    if start != "<":
        raise EventRefused("the document is neither JSON nor XML")
    if text.count("<") > _MAX_TAGS:
        raise EventRefused(f"the document has more than {_MAX_TAGS} tags")
    try:
        root = fromstring(text, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        at = getattr(error, "position", None)
        where = f" (line {at[0]}, column {at[1]})" if at else ""
        raise EventRefused(f"the document is no safe XML{where}") from error
    yield from entries(root, feed)


def decoded(document: bytes, charset: str = "") -> str:
    """A document's text: by its byte order mark, as UTF-8, in the charset of HTTP, or in that of its XML declaration.

    What can be read as UTF-8 is UTF-8, whatever a header says by default (RFC 7303 trusts the header more).

    Raises
    ------
    EventRefused
        It is text in none of these.
    """
    for mark, encoding in _MARKS:
        if document.startswith(mark):
            return _decoded(document[len(mark) :], encoding)
    if document[:2] in {b"<\0", b"{\0"}:
        return _decoded(document, "utf-16-le")
    if document[:2] in {b"\0<", b"\0{"}:
        return _decoded(document, "utf-16-be")
    found = _DECLARED.match(document)
    declared = _known(found[1].decode("ascii")) if found else "utf-8"
    try:
        return document.decode()
    except UnicodeDecodeError:
        return _decoded(document, charset or declared)


def _decoded(document: bytes, encoding: str) -> str:
    try:
        return document.decode(_known(encoding))
    except UnicodeDecodeError as error:
        raise EventRefused(f"the document is no text in {encoding[:40]}: {error.reason}") from error


def _known(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding.strip().strip("\"'")).name
    except LookupError:
        name = ""
    if not _ENCODINGS.match(name):
        raise EventRefused(f"the document is in encoding {encoding[:40]!r}, which is none that is known")
    return name
