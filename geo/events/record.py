"""Check and normalize the values of feeds; all input is untrusted."""

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

from segwatch.geo.antimeridian import is_in_degrees, iterate_parts, split_at_antimeridian
from segwatch.geo.area import compute_area_m2, extract_polygons
from segwatch.geo.bounded import operations
from segwatch.geo.bounded.documents import parse_json
from segwatch.geo.bounded.geojson import MALFORMED, read_geometry
from segwatch.geo.errors import InvalidEvent, TooComplex
from segwatch.geo.events.dates import parse_time  # noqa: F401 - the times of a record
from segwatch.geo.text.storable import to_storable
from segwatch.geo.types.event import Event, EventKind, EventName, RefusedEntry, Withdrawal

#: Larger than any country: such an event does not say where to look.
MAX_AREA_M2 = 2e13
MAX_ENTRIES = 5_000
_MAX_POPULATION = 10**10
_MAX_TITLE_CHARS = 300
_MAX_ID_CHARS = 200
_MAX_URL_CHARS = 2_000
_T = TypeVar("_T")

#: Patterns of titles and categories, the most specific first.
_KIND_PATTERNS = (
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


def recognize_kind(*words: str) -> EventKind:
    """Recognize the kind of an event in titles and categories.

    Raises
    ------
    InvalidEvent
        No known kind is mentioned.
    """
    text = " ".join(words).lower()
    for kind, pattern in _KIND_PATTERNS:
        if re.search(rf"\b(?:{pattern})", text):
            return kind
    raise InvalidEvent(f"{text[:80]!r} mentions no known kind of event ({', '.join(EventKind)})")


def parse_number(value: object) -> float | None:
    """Convert to a finite number; None if that is impossible."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def require_object(value: object, name: str) -> Mapping[str, Any]:
    """Return the value if it is a JSON object, else raise InvalidEvent."""
    if not isinstance(value, dict):
        raise InvalidEvent(f"{name} is {type(value).__name__}, not an object")
    return value


def parse_json_object(document: bytes | str, *, to_be_stored: bool = False) -> Mapping[str, Any]:
    """Parse a document that is a JSON object; with ``to_be_stored``, without characters that PostgreSQL refuses.

    Raises
    ------
    InvalidEvent
        The document is something else.
    """
    try:
        parsed = parse_json(document)
        return require_object(_to_storable(parsed, document) if to_be_stored else parsed, "the document")
    except (ValueError, RecursionError, TooComplex) as error:
        raise InvalidEvent(f"the document is not JSON: {error}") from error


def _to_storable(parsed: object, document: bytes | str) -> object:
    try:
        return to_storable(parsed)
    except RecursionError:
        # parse again without what is nested too deeply, to keep the other entries
        return to_storable(parse_json(document, shallow=True))


def parse_geometry(value: object) -> BaseGeometry:
    """Convert a GeoJSON geometry to two dimensions, without checking its coordinates.

    Raises
    ------
    InvalidEvent
        The value is not a geometry.
    """
    try:
        return read_geometry(require_object(value, "geometry"))
    except (TooComplex, *MALFORMED) as error:
        raise InvalidEvent(f"its geometry cannot be read ({error})") from error


def combine_geometries(parts: Iterable[BaseGeometry]) -> BaseGeometry:
    """Combine the geometries of one event: the union of its polygons, or without any, its lines and points in order.

    Returns
    -------
    BaseGeometry
        EPSG:4326, split at the antimeridian; empty without parts.

    Raises
    ------
    InvalidEvent
        A coordinate is invalid.
    """
    simple = [part for one in parts for part in iterate_parts(normalize_location(one))]
    areas = [one for one in simple if one.geom_type == "Polygon"]
    # repairing an invalid polygon may leave a line
    valid = [one if one.is_valid else operations.make_valid(one) for one in areas]
    whole = extract_polygons(operations.union_all(valid))
    if whole:
        return whole[0] if len(whole) == 1 else MultiPolygon(whole)
    simple = [
        part for one in simple for part in iterate_parts(one if one.is_valid else operations.make_valid(one))
    ]
    lines: list[Any] = [one for one in simple if not isinstance(one, Point)]
    points = [one for one in simple if isinstance(one, Point)]
    if lines and points:
        return GeometryCollection([*lines, *points])
    if lines:
        return lines[0] if len(lines) == 1 else MultiLineString(lines)
    return points[0] if len(points) == 1 else MultiPoint(points)


def normalize_location(place: BaseGeometry) -> BaseGeometry:
    """Bring the longitudes of a geometry into -180..180 and split it at the antimeridian.

    Raises
    ------
    InvalidEvent
        The geometry is too complex, or a coordinate is not a longitude or latitude in degrees.
    """
    try:
        operations.check(place)
    except TooComplex as error:
        raise InvalidEvent(str(error)) from error
    coords = shapely.get_coordinates(place)
    if not np.isfinite(coords).all():
        raise InvalidEvent("its location has a coordinate that is not a number")
    if not is_in_degrees(place, max_longitude=360.0):
        worst = tuple(np.abs(coords).max(axis=0).tolist())
        raise InvalidEvent(
            f"its location has coordinates up to {worst}, not degrees of longitude and latitude"
        )
    return split_at_antimeridian(place)


def check_event(event: Event) -> Event:
    """Return the event with clean text and a valid geometry, split at the antimeridian.

    Raises
    ------
    InvalidEvent
        The event has no valid name or geometry.
    """
    if event.geometry.is_empty:
        raise InvalidEvent("it has no location")
    geometry = normalize_location(event.geometry)
    geometry = geometry if geometry.is_valid else operations.make_valid(geometry)
    covers = compute_area_m2(geometry)
    if covers > MAX_AREA_M2:
        raise InvalidEvent(
            f"it covers {covers / 1e6:.0f} km2; more than {MAX_AREA_M2 / 1e6:.0f} is not a location"
        )
    people = event.population
    own = check_name(EventName(event.source, event.external_id))
    return replace(
        event,
        source=own.source,
        geometry=geometry,
        external_id=own.external_id,
        title=to_plain_line(event.title, _MAX_TITLE_CHARS) or event.kind.value,
        link=_to_url(event.link),
        shaking=_to_url(event.shaking),
        magnitude_unit=to_plain_line(event.magnitude_unit, 20),
        population=people if people is not None and 0 <= people <= _MAX_POPULATION else None,
        names=tuple(check_name(one) for one in event.names),
    )


def check_name(name: EventName) -> EventName:
    """Return the name in a form that can be stored and compared.

    Raises
    ------
    InvalidEvent
        The id is empty, too long or has control characters.
    """
    external_id = to_plain_line(name.external_id, _MAX_ID_CHARS)
    if not external_id or external_id != name.external_id.strip():
        raise InvalidEvent(f"its id {name.external_id[:40]!r} is empty, too long or has control characters")
    return replace(name, source=to_plain_line(name.source, _MAX_ID_CHARS), external_id=external_id)


def _to_url(text: str) -> str:
    """Return the text if it is a web address, else an empty string."""
    fits = len(text) <= _MAX_URL_CHARS and text.isprintable() and re.match(r"https?://[^\s<>\"']+\Z", text)
    return text if fits else ""


def to_plain_line(text: str, longest: int) -> str:
    """Return one line of printable text of at most ``longest`` characters; markup is kept as text."""
    return re.sub(r"\s+", " ", "".join(c for c in text if c.isprintable() or c.isspace())).strip()[:longest]


def read_each(
    entries: Iterable[_T], name: Callable[[_T], str], read: Callable[[_T], Event | Withdrawal]
) -> Iterator[Event | Withdrawal | RefusedEntry]:
    """Read and check every entry by itself, so that a bad one does not hide the others."""
    for position, entry in enumerate(entries):
        if position == MAX_ENTRIES:
            yield RefusedEntry("the rest", f"the feed has more than {MAX_ENTRIES} entries")
            return
        try:
            found = read(entry)
            yield check_event(found) if isinstance(found, Event) else _checked_names(found)
        except (InvalidEvent, TooComplex) as error:
            yield RefusedEntry(_named(entry, name, position), str(error))
        except Exception as error:
            # a bug that one entry triggers must not keep the others from being read
            reason = f"it cannot be read ({type(error).__name__})"
            yield RefusedEntry(_named(entry, name, position), reason)


def _checked_names(withdrawal: Withdrawal) -> Withdrawal:
    return replace(withdrawal, names=tuple(check_name(one) for one in withdrawal.names))


def _named(entry: _T, name: Callable[[_T], str], position: int) -> str:
    return to_plain_line(name(entry), _MAX_ID_CHARS) or f"entry {position + 1}"
