"""Read a document of any supported event format."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from segwatch.geo.errors import InvalidEvent
from segwatch.geo.events.json_feeds import read_features
from segwatch.geo.events.record import parse_json_object
from segwatch.geo.events.xml_feeds import read_entries
from segwatch.geo.types.event import Event, RefusedEntry, Withdrawal

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins with the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(rb"\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z][A-Za-z0-9._-]{0,40})[\"']")
#: Accepted character sets; some of Python's other codecs take more than linear time.
_ENCODINGS = re.compile(
    r"(?:ascii|utf-(?:8|16|32)(?:-[lb]e)?|iso8859-\d+|cp\d+|koi8-[ru]|gb2312|gbk|gb18030|big5|shift_jis|euc_(?:jp|kr))\Z"
)
#: Start and end tags; each element takes some hundred bytes of memory.
_MAX_TAGS = 2_000_000


def read_events(document: bytes, feed: str, charset: str = "") -> Iterator[Event | Withdrawal | RefusedEntry]:
    """Yield the events of a document.

    Formats: GeoJSON of GDACS, USGS, EONET and segwatch's own form, GDACS RSS, GeoRSS in RSS or Atom, CAP 1.2.

    Parameters
    ----------
    document
        As received.
    feed
        Short name of its origin.
    charset
        Character set named by the HTTP header ``content-type``; empty if none.

    Raises
    ------
    InvalidEvent
        The document as a whole cannot be read. A single bad entry is yielded as :class:`RefusedEntry`.
    """
    text = decode_text(document, charset).lstrip(" \t\r\n")
    start = text[:1]
    if start in {"{", "["}:
        yield from read_features(parse_json_object(text, to_be_stored=True), feed)
        return
    if start != "<":
        raise InvalidEvent("the document is neither JSON nor XML")
    if text.count("<") > _MAX_TAGS:
        raise InvalidEvent(f"the document has more than {_MAX_TAGS} tags")
    try:
        root = fromstring(text, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        at = getattr(error, "position", None)
        where = f" (line {at[0]}, column {at[1]})" if at else ""
        raise InvalidEvent(f"the document is not safe XML{where}") from error
    yield from read_entries(root, feed)


def decode_text(document: bytes, charset: str = "") -> str:
    """Decode a document by its byte order mark, as UTF-8, by the HTTP charset, or by its XML declaration.

    Valid UTF-8 is taken as UTF-8 whatever the header says, because servers send wrong default headers; RFC 7303 prefers
    the header.

    Raises
    ------
    InvalidEvent
        None of these decodes the document.
    """
    for mark, encoding in _MARKS:
        if document.startswith(mark):
            return _decode(document[len(mark) :], encoding)
    if document[:2] in {b"<\0", b"{\0"}:
        return _decode(document, "utf-16-le")
    if document[:2] in {b"\0<", b"\0{"}:
        return _decode(document, "utf-16-be")
    found = _DECLARED.match(document)
    declared = _check_encoding(found[1].decode("ascii")) if found else "utf-8"
    try:
        return document.decode()
    except UnicodeDecodeError:
        return _decode(document, charset or declared)


def _decode(document: bytes, encoding: str) -> str:
    try:
        return document.decode(_check_encoding(encoding))
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"the document is not text in {encoding[:40]}: {error.reason}") from error


def _check_encoding(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding.strip().strip("\"'")).name
    except LookupError:
        name = ""
    if not _ENCODINGS.match(name):
        raise InvalidEvent(f"the document has the unsupported encoding {encoding[:40]!r}")
    return name
