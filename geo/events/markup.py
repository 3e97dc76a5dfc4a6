"""Events published as XML: GDACS RSS, any GeoRSS (RSS or Atom), CAP 1.2.

Sources: GDACS RSS as published; GeoRSS (OGC 17-002r1); Common Alerting Protocol 1.2 (OASIS).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from pyproj import Geod
from shapely.geometry import LineString, Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from segwatch.geo.errors import EventRefused
from segwatch.geo.events.feature import GDACS_KINDS, level
from segwatch.geo.events.record import each, kind_of_words, moment, number, track
from segwatch.geo.types import Event, EventLevel, RefusedEntry

_NAMES = {
    "atom": "http://www.w3.org/2005/Atom",
    "cap": "urn:oasis:names:tc:emergency:cap:1.2",
    "gdacs": "http://www.gdacs.org",
    "geo": "http://www.w3.org/2003/01/geo/wgs84_pos#",
    "georss": "http://www.georss.org/georss",
}
_CAP_LEVELS = {
    "Extreme": EventLevel.RED,
    "Severe": EventLevel.ORANGE,
    "Moderate": EventLevel.YELLOW,
    "Minor": EventLevel.GREEN,
}
_GEOD = Geod(ellps="WGS84")


def entries(root: Element, feed: str) -> Iterator[Event | RefusedEntry]:
    """Events of an RSS or Atom feed with places, or of one CAP alert.

    Args:
        root: the document.
        feed: short name of where it came from; part of a plain feed's source.

    Raises
    ------
    EventRefused
        The document is none of these.
    """
    if root.tag == f"{{{_NAMES['cap']}}}alert":
        yield from each([root], lambda one: _text(one, "cap:identifier"), _cap)
        return
    found = root.findall("channel/item") if root.tag == "rss" else root.findall("atom:entry", _NAMES)
    if root.tag not in {"rss", f"{{{_NAMES['atom']}}}feed"}:
        raise EventRefused(f"the document is XML, but {root.tag[:60]!r} is neither RSS, Atom nor CAP 1.2")
    yield from each(found, _id, lambda one: _entry(one, feed))


def _entry(one: Element, feed: str) -> Event:
    return _gdacs(one) if one.find("gdacs:eventtype", _NAMES) is not None else _georss(one, feed)


def _gdacs(one: Element) -> Event:
    code = _text(one, "gdacs:eventtype")
    if code not in GDACS_KINDS:
        raise EventRefused(f"eventtype {code[:20]!r} is none of {', '.join(GDACS_KINDS)}")
    severity, population = one.find("gdacs:severity", _NAMES), one.find("gdacs:population", _NAMES)
    exposed = number(population.get("value")) if population is not None else None
    modified, ended = _text(one, "gdacs:datemodified"), _text(one, "gdacs:todate")
    return Event(
        source="gdacs",
        external_id=f"{code}{_text(one, 'gdacs:eventid')}",
        kind=GDACS_KINDS[code],
        title=_text(one, "title"),
        occurred_at=moment(_text(one, "gdacs:fromdate")),
        ended_at=moment(ended) if ended else None,
        updated_at=moment(modified) if modified else None,
        geometry=_place(one),
        level=level(_text(one, "gdacs:alertlevel")),
        magnitude=number(severity.get("value")) if severity is not None else None,
        magnitude_unit=severity.get("unit", "") if severity is not None else "",
        population=int(exposed) if exposed is not None else None,
        link=_text(one, "link"),
    )


def _georss(one: Element, feed: str) -> Event:
    title = _text(one, "title") or _text(one, "atom:title")
    terms = [tag.get("term", "") for tag in one.findall("atom:category", _NAMES)]
    terms += [tag.text or "" for tag in one.findall("category")]
    published = _text(one, "pubDate") or _text(one, "atom:published") or _text(one, "atom:updated")
    updated = _text(one, "atom:updated")
    link = one.find("atom:link", _NAMES)
    return Event(
        source=f"georss:{feed}",
        external_id=_id(one),
        kind=kind_of_words(*terms, title),
        title=title,
        occurred_at=moment(published),
        updated_at=moment(updated) if updated else None,
        geometry=_place(one),
        link=link.get("href", "") if link is not None else _text(one, "link"),
    )


def _cap(alert: Element) -> Event:
    status, told = _text(alert, "cap:status"), _text(alert, "cap:msgType")
    if status != "Actual":
        raise EventRefused(f"its status is {status[:20]!r}, not 'Actual'")
    if told not in {"Alert", "Update", "Cancel"}:
        raise EventRefused(f"its msgType is {told[:20]!r}, not Alert, Update or Cancel")
    info = alert.find("cap:info", _NAMES)
    if info is None:
        raise EventRefused("it has no info")
    sent = moment(_text(alert, "cap:sent"))
    onset, expires = _text(info, "cap:onset") or _text(info, "cap:effective"), _text(info, "cap:expires")
    sender, identifier = _first(alert)
    return Event(
        source=f"cap:{sender}",
        external_id=identifier,
        kind=kind_of_words(_text(info, "cap:event"), _text(info, "cap:headline")),
        title=_text(info, "cap:headline") or _text(info, "cap:event"),
        occurred_at=moment(onset) if onset else sent,
        updated_at=sent,
        ended_at=moment(expires) if expires else None,
        geometry=track(shape for area in info.findall("cap:area", _NAMES) for shape in _shapes(area)),
        level=_CAP_LEVELS.get(_text(info, "cap:severity")),
        link=_text(info, "cap:web"),
        cancelled=told == "Cancel",
    )


def _first(alert: Element) -> tuple[str, str]:
    """Sender and identifier of the message that began it: updates name those before them as sender,id,sent."""
    told = [part.split(",") for part in _text(alert, "cap:references").split()]
    earlier = sorted((moment(part[2]), part[0], part[1]) for part in told if len(part) == 3)
    if earlier:
        return earlier[0][1], earlier[0][2]
    return _text(alert, "cap:sender"), _text(alert, "cap:identifier")


def _shapes(area: Element) -> Iterator[BaseGeometry]:
    for ring in area.findall("cap:polygon", _NAMES):
        yield _polygon(_pairs((ring.text or "").replace(",", " ")))
    for circle in area.findall("cap:circle", _NAMES):
        centre, _, radius = (circle.text or "").strip().partition(" ")
        pairs = _pairs(centre.replace(",", " "))
        km = number(radius)
        if km is None or not 0 <= km <= 5000:
            raise EventRefused(f"the radius {radius[:20]!r} km of its circle is none")
        lon, lat = pairs[0]
        if len(pairs) != 1 or abs(lat) > 90 or abs(lon) > 180:
            raise EventRefused(
                f"the centre {centre[:40]!r} of its circle is no latitude and longitude in degrees"
            )
        yield _disc(lon, lat, km * 1000) if km else Point(lon, lat)


def _disc(lon: float, lat: float, radius_m: float) -> Polygon:
    bearings = list(range(0, 360, 5))
    count = len(bearings)
    lons, lats, _ = _GEOD.fwd([lon] * count, [lat] * count, bearings, [radius_m] * count)
    return Polygon(zip(lons, lats, strict=True))


def _place(one: Element) -> BaseGeometry:
    """GeoRSS Simple; latitude comes first."""
    if ring := _text(one, "georss:polygon"):
        return _polygon(_pairs(ring))
    if corners := _text(one, "georss:box"):
        pairs = _pairs(corners)
        if len(pairs) != 2:
            raise EventRefused(f"its box {corners[:60]!r} has not two corners")
        return box(*pairs[0], *pairs[1])
    if line := _text(one, "georss:line"):
        pairs = _pairs(line)
        return LineString(pairs) if len(pairs) > 1 else Point(pairs[0])
    said = _text(one, "georss:point")
    lat, lon = _text(one, "geo:Point/geo:lat"), _text(one, "geo:Point/geo:long")
    if not said and not lat:
        raise EventRefused("it has no place")
    pairs = _pairs(said or f"{lat} {lon}")
    if len(pairs) != 1:
        raise EventRefused(f"its point {said[:60]!r} is not one latitude and one longitude")
    return Point(pairs[0])


def _polygon(pairs: list[tuple[float, float]]) -> Polygon:
    if len(pairs) < 4:
        raise EventRefused("its polygon has fewer than four corners, the last like the first")
    return Polygon(pairs)


def _pairs(said: str) -> list[tuple[float, float]]:
    numbers = [number(one) for one in re.split(r"[\s,]+", said.strip())]
    if not numbers or len(numbers) % 2 or None in numbers:
        raise EventRefused(f"{said[:60]!r} are no pairs of latitude and longitude")
    values = [one for one in numbers if one is not None]
    return [(lon, lat) for lat, lon in zip(values[::2], values[1::2], strict=True)]


def _id(one: Element) -> str:
    return next(filter(None, (_text(one, name) for name in ("guid", "atom:id", "link"))), "")


def _text(one: Element, path: str) -> str:
    return (one.findtext(path, "", _NAMES) or "").strip()
