"""Read events published as XML: GDACS RSS, any GeoRSS (RSS or Atom), CAP 1.2.

Why without a feed library: docs/adr/0014-own-feed-readers.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from segwatch.geo.errors import EventRefused
from segwatch.geo.events.cap import alert
from segwatch.geo.events.dates import moment
from segwatch.geo.events.georss import place
from segwatch.geo.events.json_feeds import GDACS_KINDS, level
from segwatch.geo.events.record import each, kind_of_words, number
from segwatch.geo.events.xml import NAMES, text_of, texts_of
from segwatch.geo.types.event import Event, RefusedEntry, Withdrawal

_IDS = ("guid", "atom:id")
#: Atom link relations that lead to a page about the event, the best first.
_RELATIONS = ("alternate", "related", "via")


def entries(root: Element, feed: str) -> Iterator[Event | Withdrawal | RefusedEntry]:
    """Yield the events of an RSS or Atom feed with locations, or of one CAP alert.

    Parameters
    ----------
    root
        Root element.
    feed
        Short name of the origin; part of the source of GeoRSS events.

    Raises
    ------
    EventRefused
        The document has another format.
    """
    if root.tag == f"{{{NAMES['cap']}}}alert":
        yield from alert(root)
        return
    found = root.findall("channel/item") if root.tag == "rss" else root.findall("atom:entry", NAMES)
    if root.tag not in {"rss", f"{{{NAMES['atom']}}}feed"}:
        raise EventRefused(f"the document is XML, but {root.tag[:60]!r} is neither RSS, Atom nor CAP 1.2")
    shared = _shared_links(root, found)
    yield from each(found, _label, lambda one: _entry(one, feed, shared))


def _entry(one: Element, feed: str, shared: frozenset[str]) -> Event:
    return _gdacs(one) if one.find("gdacs:eventtype", NAMES) is not None else _georss(one, feed, shared)


def _gdacs(one: Element) -> Event:
    code, identifier = text_of(one, "gdacs:eventtype"), text_of(one, "gdacs:eventid")
    if code not in GDACS_KINDS:
        raise EventRefused(f"eventtype {code[:20]!r} is not one of {', '.join(GDACS_KINDS)}")
    if not identifier:
        raise EventRefused("it has no eventid")
    severity, population = one.find("gdacs:severity", NAMES), one.find("gdacs:population", NAMES)
    unit = severity.get("unit", "").strip() if severity is not None else ""
    exposed = number(population.get("value")) if population is not None else None
    modified, ended = text_of(one, "gdacs:datemodified"), text_of(one, "gdacs:todate")
    return Event(
        source="gdacs",
        external_id=f"{code}{identifier}",
        kind=GDACS_KINDS[code],
        title=text_of(one, "title"),
        occurred_at=moment(text_of(one, "gdacs:fromdate")),
        ended_at=moment(ended) if ended else None,
        updated_at=moment(modified) if modified else None,
        geometry=place(one),
        level=level(text_of(one, "gdacs:alertlevel")),
        # GDACS gives floods a severity of 0 without a unit
        magnitude=number(severity.get("value")) if severity is not None and unit else None,
        magnitude_unit=unit,
        population=int(exposed) if exposed is not None else None,
        link=text_of(one, "link"),
    )


def _georss(one: Element, feed: str, shared: frozenset[str]) -> Event:
    title = text_of(one, "title") or text_of(one, "atom:title")
    terms = [tag.get(name, "") for tag in one.findall("atom:category", NAMES) for name in ("term", "label")]
    terms += texts_of(one, "category") + texts_of(one, "dc:subject")
    published = next(filter(None, (text_of(one, name) for name in _PUBLISHED)), "")
    updated = text_of(one, "atom:updated")
    if not published:
        raise EventRefused("it has no date")
    return Event(
        source=f"georss:{feed}",
        external_id=_identity(one, shared),
        kind=kind_of_words(*terms, title),
        title=title,
        occurred_at=moment(published),
        updated_at=moment(updated) if updated else None,
        geometry=place(one),
        link=_link(one),
    )


_PUBLISHED = ("pubDate", "atom:published", "dc:date", "atom:updated")


def _identity(one: Element, shared: frozenset[str]) -> str:
    """Return the permanent id of an entry: its own, or a link that no other entry has."""
    own = next(filter(None, (text_of(one, name) for name in _IDS)), "")
    if own:
        return own
    link = _link(one)
    if not link:
        raise EventRefused("it has no id, no guid and no link to identify it")
    if link in shared:
        raise EventRefused(f"it has no id, and its link {link[:80]!r} is shared with others")
    return link


def _shared_links(root: Element, found: Sequence[Element]) -> frozenset[str]:
    """Collect links shared by several entries without an id, and the links of the feed itself."""
    without_id = [one for one in found if not any(text_of(one, name) for name in _IDS)]
    count = Counter(_link(one) for one in without_id)
    of_feed = {
        text_of(root, "channel/link"),
        *(tag.get("href", "") for tag in root.findall("atom:link", NAMES)),
    }
    return frozenset({link for link, times in count.items() if times > 1} | of_feed)


def _link(one: Element) -> str:
    if text := text_of(one, "link"):
        return text
    tags = [(tag.get("rel") or "alternate", tag.get("href", "")) for tag in one.findall("atom:link", NAMES)]
    known = [(_RELATIONS.index(rel), href) for rel, href in tags if rel in _RELATIONS and href]
    return min(known, key=lambda one: one[0])[1] if known else ""


def _label(one: Element) -> str:
    return next(filter(None, (*(text_of(one, name) for name in _IDS), _link(one))), "")
