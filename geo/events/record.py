"""From a feed's words to a checked event. Everything here comes from outside."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import shapely
from shapely.geometry import GeometryCollection, MultiLineString, MultiPoint, MultiPolygon, Point
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import in_degrees, parts_of, split
from segwatch.geo.area import geodesic_m2, polygonal_parts
from segwatch.geo.bounded import operations
from segwatch.geo.bounded.documents import parse_json
from segwatch.geo.bounded.geojson import MALFORMED, read_geometry
from segwatch.geo.errors import EventRefused, TooComplex
from segwatch.geo.events.dates import moment  # noqa: F401 - the times of a record
from segwatch.geo.text.storable import storable
from segwatch.geo.types.event import Event, EventKind, EventName, RefusedEntry, Withdrawal

#: Larger than any country; an event of this size says nothing about where to look.
LARGEST_M2 = 2e13
MOST_ENTRIES = 5_000
_MOST_PEOPLE = 10**10
_LONGEST_TITLE = 300
_LONGEST_ID = 200
_LONGEST_ADDRESS = 2_000
_T = TypeVar("_T")

_WORDS = (
    (EventKind.OIL_SPILL, r"oil (?:spill|slick)"),
    (EventKind.EARTHQUAKE, r"earthquake|seismic"),
    (EventKind.TSUNAMI, r"tsunami"),
    (EventKind.VOLCANO, r"volcan|eruption|volcanic ash"),
    (EventKind.LANDSLIDE, r"landslide|mudslide|mud ?flow|debris flow"),
    (EventKind.CYCLONE, r"cyclone|hurricane|typhoon|tropical storm"),
    (EventKind.WILDFIRE, r"wild ?fire|forest fire|bush ?fire"),
    (EventKind.FLOOD, r"flood|inundation"),
    (EventKind.DROUGHT, r"drought"),
)


def kind_of_words(*words: str) -> EventKind:
    """Kind of an event that a feed names in words only.

    Raises
    ------
    EventRefused
        None of the words is a kind that can be watched.
    """
    said = " ".join(words).lower()
    for kind, pattern in _WORDS:
        if re.search(rf"\b(?:{pattern})", said):
            return kind
    raise EventRefused(f"{said[:80]!r} names no kind of event that is known ({', '.join(EventKind)})")


def number(said: object) -> float | None:
    """A finite number, or nothing."""
    if isinstance(said, bool) or not isinstance(said, int | float | str):
        return None
    try:
        found = float(said)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def mapping(said: object, name: str) -> Mapping[str, Any]:
    """A JSON object.

    Raises
    ------
    EventRefused
        It is something else.
    """
    if not isinstance(said, dict):
        raise EventRefused(f"{name} is {type(said).__name__}, not an object")
    return said


def json_object(document: bytes | str, *, to_be_stored: bool = False) -> Mapping[str, Any]:
    """A document that is a JSON object; what is ``to_be_stored`` in a form that can be.

    Raises
    ------
    EventRefused
        It is something else.
    """
    try:
        said = parse_json(document)
        return mapping(_storable(said, document) if to_be_stored else said, "the document")
    except (ValueError, RecursionError, TooComplex) as error:
        raise EventRefused(f"the document is no JSON: {error}") from error


def _storable(said: object, document: bytes | str) -> object:
    try:
        return storable(said)
    except RecursionError:
        # one entry that is nested too deeply hides no other
        return storable(parse_json(document, shallow=True))


def geojson(said: object) -> BaseGeometry:
    """A GeoJSON geometry, in two dimensions; its coordinates are not looked at.

    Raises
    ------
    EventRefused
        It is none.
    """
    try:
        return read_geometry(mapping(said, "geometry"))
    except (TooComplex, *MALFORMED) as error:
        raise EventRefused(f"its geometry cannot be read ({error})") from error


def track(parts: Iterable[BaseGeometry]) -> BaseGeometry:
    """What one event covers that a feed tells place by place: its areas, or else its lines and all points in order.

    Returns
    -------
    In degrees and split at the antimeridian; empty without parts.

    Raises
    ------
    EventRefused
        A coordinate is none.
    """
    simple = [part for one in parts for part in parts_of(on_earth(one))]
    areas = [one for one in simple if one.geom_type == "Polygon"]
    # what an invalid area leaves may be a line
    valid = [one if one.is_valid else operations.make_valid(one) for one in areas]
    whole = polygonal_parts(operations.union_all(valid))
    if whole:
        return whole[0] if len(whole) == 1 else MultiPolygon(whole)
    simple = [
        part for one in simple for part in parts_of(one if one.is_valid else operations.make_valid(one))
    ]
    lines: list[Any] = [one for one in simple if not isinstance(one, Point)]
    points = [one for one in simple if isinstance(one, Point)]
    if lines and points:
        return GeometryCollection([*lines, *points])
    if lines:
        return lines[0] if len(lines) == 1 else MultiLineString(lines)
    return points[0] if len(points) == 1 else MultiPoint(points)


def on_earth(place: BaseGeometry) -> BaseGeometry:
    """A place with its longitudes brought into -180..180, and split at the antimeridian.

    Raises
    ------
    EventRefused
        It is too complex, or has a coordinate that is no longitude or latitude in degrees.
    """
    try:
        operations.check(place)
    except TooComplex as error:
        raise EventRefused(str(error)) from error
    coords = shapely.get_coordinates(place)
    if not np.isfinite(coords).all():
        raise EventRefused("its place has a coordinate that is no number")
    if not in_degrees(place, max_longitude=360.0):
        worst = tuple(np.abs(coords).max(axis=0).tolist())
        raise EventRefused(
            f"its place has coordinates up to {worst}, not in degrees of longitude and latitude"
        )
    return split(place)


def checked(event: Event) -> Event:
    """The event with its text cleaned, and its place split at the antimeridian.

    Raises
    ------
    EventRefused
        It has no name or place of its own, or one that cannot be.
    """
    if event.geometry.is_empty:
        raise EventRefused("it has no place")
    geometry = on_earth(event.geometry)
    geometry = geometry if geometry.is_valid else operations.make_valid(geometry)
    covers = geodesic_m2(geometry)
    if covers > LARGEST_M2:
        raise EventRefused(
            f"it covers {covers / 1e6:.0f} km2; more than {LARGEST_M2 / 1e6:.0f} tells no place"
        )
    people = event.population
    own = checked_name(EventName(event.source, event.external_id))
    return replace(
        event,
        source=own.source,
        geometry=geometry,
        external_id=own.external_id,
        title=plain(event.title, _LONGEST_TITLE) or event.kind.value,
        link=_address(event.link),
        shaking=_address(event.shaking),
        magnitude_unit=plain(event.magnitude_unit, 20),
        population=people if people is not None and 0 <= people <= _MOST_PEOPLE else None,
        names=tuple(checked_name(one) for one in event.names),
    )


def checked_name(name: EventName) -> EventName:
    """A name that can be stored and compared.

    Raises
    ------
    EventRefused
        It is empty, too long or holds control characters.
    """
    external_id = plain(name.external_id, _LONGEST_ID)
    if not external_id or external_id != name.external_id.strip():
        raise EventRefused(f"its id {name.external_id[:40]!r} is empty, too long or holds control characters")
    return replace(name, source=plain(name.source, _LONGEST_ID), external_id=external_id)


def _address(said: str) -> str:
    """An address of the web, or nothing."""
    fits = len(said) <= _LONGEST_ADDRESS and said.isprintable() and re.match(r"https?://[^\s<>\"']+\Z", said)
    return said if fits else ""


def plain(said: str, longest: int) -> str:
    """One line of printable text; what is markup stays text."""
    return re.sub(r"\s+", " ", "".join(c for c in said if c.isprintable() or c.isspace())).strip()[:longest]


def each(
    entries: Iterable[_T], name: Callable[[_T], str], read: Callable[[_T], Event | Withdrawal]
) -> Iterator[Event | Withdrawal | RefusedEntry]:
    """Every entry read and checked by itself, so that a bad one hides no other."""
    for position, entry in enumerate(entries):
        if position == MOST_ENTRIES:
            yield RefusedEntry("the rest", f"the feed has more than {MOST_ENTRIES} entries")
            return
        try:
            found = read(entry)
            yield checked(found) if isinstance(found, Event) else _checked_names(found)
        except (EventRefused, TooComplex) as error:
            yield RefusedEntry(_named(entry, name, position), str(error))
        except Exception as error:
            # what nobody thought of in one entry must not keep the others from being read
            reason = f"it cannot be read ({type(error).__name__})"
            yield RefusedEntry(_named(entry, name, position), reason)


def _checked_names(withdrawal: Withdrawal) -> Withdrawal:
    return replace(withdrawal, names=tuple(checked_name(one) for one in withdrawal.names))


def _named(entry: _T, name: Callable[[_T], str], position: int) -> str:
    return plain(name(entry), _LONGEST_ID) or f"entry {position + 1}"
