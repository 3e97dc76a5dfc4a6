"""Parameters of several APIs: ``datetime`` of OGC APIs and STAC APIs, and boxes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from ciso8601 import parse_rfc3339
from shapely.geometry.base import BaseGeometry

from segwatch.geo.antimeridian import is_bounding_box, to_box

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_OPEN = frozenset({"", ".."})


def parse_interval(text: str) -> tuple[datetime | None, datetime | None]:
    """Parse a time or interval in RFC 3339 into its first and last moment, UTC; None = open.

    A date means its whole day.

    Raises
    ------
    ValueError
        It is no interval; the message says what is.
    """
    parts = text.split("/")
    try:
        spans = [None if one in _OPEN else _parse_span(one) for one in parts]
    except (ValueError, OverflowError):
        spans = []
    if not any(spans) or len(parts) > 2:
        raise ValueError("datetime: write a time in RFC 3339, or two separated by /, one of which may be ..")
    first, last = spans[0], spans[-1]
    if first is not None and last is not None and first[0] > last[1]:
        raise ValueError("datetime: the end is before the beginning")
    return first and first[0], last and last[1]


def _parse_span(one: str) -> tuple[datetime, datetime]:
    if _DATE.fullmatch(one):
        day = parse_rfc3339(f"{one}T00:00:00Z")
        return day, day.replace(hour=23, minute=59, second=59, microsecond=999_999)
    moment = parse_rfc3339(one).astimezone(UTC)
    return moment, moment


def parse_box(numbers: Sequence[object]) -> BaseGeometry:
    """Parse a box of four numbers, or six with heights that do not count: west, south, east, north in degrees.

    Raises
    ------
    ValueError
        It is none; the message says what is.
    """
    wrong = "bbox: write west,south,east,north in degrees"
    try:
        found = [float(one) for one in numbers if isinstance(one, str | int | float)]
    except ValueError as error:
        raise ValueError(wrong) from error
    half = len(found) // 2
    if len(found) != len(numbers) or half not in {2, 3} or len(found) % 2:
        raise ValueError(wrong)
    box = (found[0], found[1], found[half], found[half + 1])
    if not all(map(math.isfinite, box)) or not is_bounding_box(box):
        raise ValueError(wrong)
    return to_box(box)
