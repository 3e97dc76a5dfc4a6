"""Read events published as XML: GDACS RSS, any GeoRSS (RSS or Atom), CAP 1.2.

Why without a feed library: docs/adr/0014-own-feed-readers.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from segwatch.geo.errors import InvalidEvent
from segwatch.geo.events.cap import read_alert
from segwatch.geo.events.dates import parse_time
from segwatch.geo.events.georss import read_location
from segwatch.geo.events.json_feeds import GDACS_KINDS, parse_level
from segwatch.geo.events.record import parse_number, read_each, recognize_kind
from segwatch.geo.events.xml import NAMESPACES, get_text, get_texts
from segwatch.geo.types.event import Event, RefusedEntry, Withdrawal

_IDS = ("guid", "atom:id")
#: Atom link relations that lead to a page about the event, the best first.
_RELATIONS = ("alternate", "related", "via")


def read_entries(root: Element, feed: str) -> Iterator[Event | Withdrawal | RefusedEntry]:
    """Yield the events of an RSS or Atom feed with locations, or of one CAP alert.

    Parameters
    ----------
    root
        Root element.
    feed
        Short name of the origin; part of the source of GeoRSS events.

    Raises
    ------
    InvalidEvent
        The document has another format.
    """
    if root.tag == f"{{{NAMESPACES['cap']}}}alert":
        yield from read_alert(root)
        return
    found = root.findall("channel/item") if root.tag == "rss" else root.findall("atom:entry", NAMESPACES)
    if root.tag not in {"rss", f"{{{NAMESPACES['atom']}}}feed"}:
        raise InvalidEvent(f"the document is XML, but {root.tag[:60]!r} is neither RSS, Atom nor CAP 1.2")
    shared = _shared_links(root, found)
    yield from read_each(found, _label, lambda one: _entry(one, feed, shared))


def _entry(one: Element, feed: str, shared: frozenset[str]) -> Event:
    return _gdacs(one) if one.find("gdacs:eventtype", NAMESPACES) is not None else _georss(one, feed, shared)


def _gdacs(one: Element) -> Event:
    code, identifier = get_text(one, "gdacs:eventtype"), get_text(one, "gdacs:eventid")
    if code not in GDACS_KINDS:
        raise InvalidEvent(f"eventtype {code[:20]!r} is not one of {', '.join(GDACS_KINDS)}")
    if not identifier:
        raise InvalidEvent("it has no eventid")
    severity, population = one.find("gdacs:severity", NAMESPACES), one.find("gdacs:population", NAMESPACES)
    unit = severity.get("unit", "").strip() if severity is not None else ""
    exposed = parse_number(population.get("value")) if population is not None else None
    modified, ended = get_text(one, "gdacs:datemodified"), get_text(one, "gdacs:todate")
    return Event(
        source="gdacs",
        external_id=f"{code}{identifier}",
        kind=GDACS_KINDS[code],
        title=get_text(one, "title"),
        occurred_at=parse_time(get_text(one, "gdacs:fromdate")),
        ended_at=parse_time(ended) if ended else None,
        updated_at=parse_time(modified) if modified else None,
        geometry=read_location(one),
        level=parse_level(get_text(one, "gdacs:alertlevel")),
        # GDACS gives floods a severity of 0 without a unit
        magnitude=parse_number(severity.get("value")) if severity is not None and unit else None,
        magnitude_unit=unit,
        population=int(exposed) if exposed is not None else None,
        link=get_text(one, "link"),
    )


def _georss(one: Element, feed: str, shared: frozenset[str]) -> Event:
    title = get_text(one, "title") or get_text(one, "atom:title")
    terms = [
        tag.get(name, "") for tag in one.findall("atom:category", NAMESPACES) for name in ("term", "label")
    ]
    terms += get_texts(one, "category") + get_texts(one, "dc:subject")
    published = next(filter(None, (get_text(one, name) for name in _PUBLISHED)), "")
    updated = get_text(one, "atom:updated")
    if not published:
        raise InvalidEvent("it has no date")
    return Event(
        source=f"georss:{feed}",
        external_id=_identity(one, shared),
        kind=recognize_kind(*terms, title),
        title=title,
        occurred_at=parse_time(published),
        updated_at=parse_time(updated) if updated else None,
        geometry=read_location(one),
        link=_link(one),
    )


_PUBLISHED = ("pubDate", "atom:published", "dc:date", "atom:updated")


def _identity(one: Element, shared: frozenset[str]) -> str:
    """Return the permanent id of an entry: its own, or a link that no other entry has."""
    own = next(filter(None, (get_text(one, name) for name in _IDS)), "")
    if own:
        return own
    link = _link(one)
    if not link:
        raise InvalidEvent("it has no id, no guid and no link to identify it")
    if link in shared:
        raise InvalidEvent(f"it has no id, and its link {link[:80]!r} is shared with others")
    return link


def _shared_links(root: Element, found: Sequence[Element]) -> frozenset[str]:
    """Collect links shared by several entries without an id, and the links of the feed itself."""
    without_id = [one for one in found if not any(get_text(one, name) for name in _IDS)]
    count = Counter(_link(one) for one in without_id)
    of_feed = {
        get_text(root, "channel/link"),
        *(tag.get("href", "") for tag in root.findall("atom:link", NAMESPACES)),
    }
    return frozenset({link for link, times in count.items() if times > 1} | of_feed)


def _link(one: Element) -> str:
    if text := get_text(one, "link"):
        return text
    tags = [
        (tag.get("rel") or "alternate", tag.get("href", "")) for tag in one.findall("atom:link", NAMESPACES)
    ]
    known = [(_RELATIONS.index(rel), href) for rel, href in tags if rel in _RELATIONS and href]
    return min(known, key=lambda one: one[0])[1] if known else ""


def _label(one: Element) -> str:
    return next(filter(None, (*(get_text(one, name) for name in _IDS), _link(one))), "")
