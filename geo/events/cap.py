"""Read alerts of the Common Alerting Protocol 1.2 (OASIS).

One message is one event. Its ``info`` blocks are parts of the event (stretches of a river, each with its own severity)
or translations: the event covers the areas of all blocks, at the highest level. ``references`` names earlier messages
as ``sender,identifier,sent``, often only the last one; the ledger follows the chain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from xml.etree.ElementTree import Element

from shapely.geometry import Point
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import is_in_degrees
from segwatch.geo.errors import InvalidEvent
from segwatch.geo.events.dates import parse_time
from segwatch.geo.events.record import combine_geometries, read_each, recognize_kind, to_plain_line
from segwatch.geo.events.xml import (
    NAMESPACES,
    buffer_metres,
    get_text,
    get_texts,
    make_polygon,
    parse_numbers,
    parse_pairs,
)
from segwatch.geo.types.event import Event, EventKind, EventLevel, EventName, RefusedEntry, Withdrawal

_LEVELS = {
    "extreme": EventLevel.RED,
    "severe": EventLevel.ORANGE,
    "moderate": EventLevel.YELLOW,
    "minor": EventLevel.GREEN,
}
_ORDER = tuple(EventLevel)
_LANGUAGE = "en-US"
_TIME = r"\d{4}-\d\d-\d\dT[\d:.]+(?:[Zz]|[+-]\d\d:?\d\d)?"
#: Senders contain blanks and commas, quoted or not, so only the time at its end delimits a reference.
_END = re.compile(rf",\s*({_TIME})(?=[\s,;]|\Z)")
_BETWEEN = " \t\r\n,;"
_MAX_REFERENCES = 1_000


@dataclass(frozen=True, slots=True)
class _InfoBlock:
    """An ``info`` element."""

    element: Element
    kind: EventKind | None
    language: str
    level: EventLevel | None

    @property
    def severity(self) -> int:
        return -1 if self.level is None else _ORDER.index(self.level)


def read_alert(root: Element) -> Iterator[Event | Withdrawal | RefusedEntry]:
    """Yield the event of a message, and a refused entry for each info block about another event."""
    own = get_text(root, "cap:identifier")
    for found in read_each([root], lambda _: own, _event):
        yield found
        if not isinstance(found, Event):
            return
    infos = _infos(root)
    taken = _about_the_event(infos)
    for info in infos:
        if info not in taken:
            what = to_plain_line(get_text(info.element, "cap:event"), 60)
            yield RefusedEntry(f"{own}: {what}", "a message is one event; this block describes another one")


def _event(root: Element) -> Event | Withdrawal:
    status, message_type = get_text(root, "cap:status"), get_text(root, "cap:msgType")
    if status != "Actual":
        raise InvalidEvent(f"its status is {status[:20]!r}, not 'Actual'")
    if message_type not in {"Alert", "Update", "Cancel"}:
        raise InvalidEvent(f"its msgType is {message_type[:20]!r}, not Alert, Update or Cancel")
    sent = _time(root, "cap:sent")
    if sent is None:
        raise InvalidEvent("it does not say when it was sent")
    names = (*_references(root, cancels=message_type == "Cancel"), _own_name(root, sent))
    try:
        return _build_event(root, names, sent, cancelled=message_type == "Cancel")
    except InvalidEvent:
        if message_type == "Cancel":  # a cancellation may omit the info
            return Withdrawal(names, sent)
        raise


def _build_event(root: Element, names: Sequence[EventName], sent: datetime, *, cancelled: bool) -> Event:
    blocks = _infos(root)
    if not blocks:
        raise InvalidEvent("it has no info")
    infos = _about_the_event(blocks)
    main = max((one for one in infos if one.kind), key=lambda one: one.severity, default=None)
    if main is None or main.kind is None:
        words = (get_text(info, path) for info in root.findall("cap:info", NAMESPACES) for path in _WORDS)
        raise _unknown_kind(words)
    # the earliest message gives the event its name
    first = min(names, key=lambda one: one.since or sent)
    begun = [one.since or sent for one in names]
    ends = _times(infos, "cap:expires")
    return Event(
        source=first.source,
        external_id=first.external_id,
        kind=main.kind,
        title=get_text(main.element, "cap:headline") or get_text(main.element, "cap:event"),
        occurred_at=min(_times(infos, "cap:onset") or [*_times(infos, "cap:effective"), *begun]),
        updated_at=sent,
        ended_at=max(ends) if len(ends) == len(infos) else None,
        geometry=_read_geometry(infos),
        level=main.level,
        link=next(filter(None, (get_text(one.element, "cap:web") for one in (main, *infos))), ""),
        cancelled=cancelled,
        names=tuple(names),
    )


_WORDS = ("cap:event", "cap:headline")


def _unknown_kind(words: Iterator[str]) -> InvalidEvent:
    try:
        recognize_kind(*words)
    except InvalidEvent as error:
        return error
    return InvalidEvent("its info blocks name a kind only together")


def _infos(root: Element) -> list[_InfoBlock]:
    return [_info(one) for one in root.findall("cap:info", NAMESPACES)]


def _info(element: Element) -> _InfoBlock:
    language = (get_text(element, "cap:language") or _LANGUAGE).split("-")[0].lower()
    try:
        kind = recognize_kind(*(get_text(element, path) for path in _WORDS))
    except InvalidEvent:
        kind = None
    return _InfoBlock(element, kind, language, _LEVELS.get(get_text(element, "cap:severity").lower()))


def _about_the_event(infos: Sequence[_InfoBlock]) -> list[_InfoBlock]:
    """Return the blocks of the most severe block's kind, and translations whose kind is not recognized."""
    known = [one for one in infos if one.kind]
    if not known:
        return []
    kind = max(known, key=lambda one: one.severity).kind
    recognized = {one.language for one in known}
    return [one for one in infos if one.kind is kind or (one.kind is None and one.language not in recognized)]


def _read_geometry(infos: Sequence[_InfoBlock]) -> BaseGeometry:
    areas = [area for info in infos for area in info.element.findall("cap:area", NAMESPACES)]
    shapes = [shape for area in areas for shape in _shapes(area)]
    codes = [code for area in areas for code in get_texts(area, "cap:geocode/cap:valueName")]
    if not shapes and codes:
        named = ", ".join(dict.fromkeys(to_plain_line(one, 20) for one in codes))
        raise InvalidEvent(
            f"its location is given only by area codes ({named[:80]}), without polygon or circle"
        )
    if not shapes:
        raise InvalidEvent("it has no location")
    return combine_geometries(shapes)


def _shapes(area: Element) -> Iterator[BaseGeometry]:
    for ring in get_texts(area, "cap:polygon"):
        yield make_polygon(parse_pairs(ring))
    for circle in get_texts(area, "cap:circle"):
        yield _read_circle(circle)


def _read_circle(text: str) -> BaseGeometry:
    values = parse_numbers(text)
    if len(values) < 3:
        raise InvalidEvent(f"its circle {text[:40]!r} is not latitude, longitude and radius")
    *corner, km = values
    place = Point(corner[1], corner[0])
    if len(corner) != 2 or not is_in_degrees(place):
        centre = ",".join(f"{one:g}" for one in corner)
        raise InvalidEvent(f"the centre {centre!r} of its circle is not a latitude and longitude in degrees")
    return buffer_metres(place, km * 1000)


def _own_name(root: Element, sent: datetime) -> EventName:
    return EventName(f"cap:{_sender(get_text(root, 'cap:sender'))}", get_text(root, "cap:identifier"), sent)


def _references(root: Element, *, cancels: bool) -> list[EventName]:
    text = get_text(root, "cap:references")
    found, begin = [], 0
    for end in _END.finditer(text):
        sender, _, identifier = text[begin : end.start()].rpartition(",")
        if sender.strip() and identifier.strip():
            found.append(EventName(f"cap:{_sender(sender)}", identifier.strip(), _parse_sent(end[1])))
        begin = end.end()
    if len(found) > _MAX_REFERENCES:
        raise InvalidEvent(f"it references more than {_MAX_REFERENCES} messages")
    rest = text[begin:].strip(_BETWEEN)
    if cancels and (rest or (text and not found)):
        raise InvalidEvent(
            f"the messages that it cancels cannot be read: {text[:60]!r} is not sender,identifier,sent"
        )
    return found


def _sender(text: str) -> str:
    return to_plain_line(text.strip(_BETWEEN).strip('"'), 180)


def _parse_sent(text: str) -> datetime | None:
    try:
        return parse_time(text.upper(), zone_required=True)
    except InvalidEvent:
        return None


def _time(one: Element, path: str) -> datetime | None:
    text = get_text(one, path)
    return parse_time(text, zone_required=True) if text else None


def _times(infos: Sequence[_InfoBlock], path: str) -> list[datetime]:
    return [found for info in infos if (found := _time(info.element, path)) is not None]
