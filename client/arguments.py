"""Arguments as people write them, and what they become: times in UTC, boxes in degrees, ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from segwatch.client.errors import BadRequest

#: A time: aware, or naive and then UTC; a date; or text in ISO 8601.
TimeLike = datetime | date | str
#: West, south, east, north in degrees (EPSG:4326); west > east crosses the antimeridian.
BoxLike = Sequence[float]
Box = tuple[float, float, float, float]


def parse_time(given: TimeLike | None, name: str, *, whole_day: bool = False) -> datetime | None:
    """Convert a time to UTC.

    Parameters
    ----------
    whole_day
        A date is its last moment instead of its first.

    Raises
    ------
    BadRequest
        It is no time.
    """
    moment: object = given
    if isinstance(given, str):
        try:
            moment = _parse_text(given)
        except ValueError:
            moment = None
            if given:
                raise BadRequest(
                    f"{name}: {given!r} is no time; write 2024-05-31 or 2024-05-31T10:00:00Z"
                ) from None
    if isinstance(moment, date) and not isinstance(moment, datetime):
        first = datetime(moment.year, moment.month, moment.day)
        moment = first + timedelta(days=1) - timedelta(microseconds=1) if whole_day else first
    if moment is None and given is None:
        return None
    if not isinstance(moment, datetime) or _is_missing(moment):
        raise BadRequest(f"{name}: {given!r} is no time; write 2024-05-31 or 2024-05-31T10:00:00Z")
    # a Timestamp of pandas is a datetime, which drivers may not know
    plain = moment.to_pydatetime() if hasattr(moment, "to_pydatetime") else moment
    made: datetime = plain.replace(tzinfo=UTC) if plain.tzinfo is None else plain.astimezone(UTC)
    return made


def _parse_text(given: str) -> date:
    try:
        return date.fromisoformat(given)
    except ValueError:
        return datetime.fromisoformat(given)


def _is_missing(moment: datetime) -> bool:
    """Tell whether a time is NaT, which is a datetime for Python."""
    return str(moment) == "NaT"


def parse_box(given: BoxLike | None) -> tuple[Box, ...] | None:
    """Convert a box to one or, across the antimeridian, two boxes whose west is not east of their east.

    Raises
    ------
    BadRequest
        It does not have four numbers, or they are no degrees.
    """
    if given is None:
        return None
    try:
        west, south, east, north = (float(one) for one in given)
    except (TypeError, ValueError):
        raise BadRequest(f"bbox: {given!r} is no box; write (west, south, east, north) in degrees") from None
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        raise BadRequest(
            f"bbox: {west}, {south}, {east}, {north} is no box; write (west, south, east, north) in degrees, "
            "longitudes from -180 to 180"
        )
    if west <= east:
        return ((west, south, east, north),)
    return (west, south, 180.0, north), (-180.0, south, east, north)


def parse_id(given: object) -> UUID:
    """Convert an id, or a row of a table of objects, to the id of the object.

    Raises
    ------
    BadRequest
        It is neither.
    """
    if isinstance(given, Mapping) or hasattr(given, "to_dict"):
        row: Any = given
        given = row.get("object_id") or row.get("track_id")
    try:
        return UUID(str(given))
    except ValueError:
        raise BadRequest(
            f"{given!r} is no id of an object; give object_id or track_id from s.objects(watch), or one of its rows"
        ) from None
