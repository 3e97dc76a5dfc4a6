"""What people write on the command line: negative coordinates, bounding boxes and times."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

#: A negative number, or several with commas. No option of segwatch begins with a digit.
_NEGATIVE = re.compile(r"-\.?\d[\d.eE,+-]*")
_NUMBERS = re.compile(r"[+-]?\.?\d[\d.eE,+-]*")
_BBOX = "--bbox"
_CORNERS = 4
_NO_CHOICE = re.compile(r"'(?P<given>.*)' is not one of (?P<known>'.*')\.")
_QUOTED = re.compile(r"'([^']*)'")
TIME_FORMS = "2026-03-01 or 2026-03-01T12:00Z"


class Command(TyperCommand):
    """A command that takes negative numbers without ``--``, and a bounding box as one word or four."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual; what looks like a negative number is a value."""
        given = _join_boxes(args)
        before = given[: given.index("--")] if "--" in given else given
        words = [one for one in before if one.startswith("-") and one != "-"]
        options = [one.partition("=")[0] for one in words if not _NEGATIVE.fullmatch(one)]
        known = {name for one in self.get_params(ctx) for name in (*one.opts, *one.secondary_opts)}
        # unknown options are refused as ever, unless all that is unknown are numbers
        if len(options) < len(words) and known.issuperset(options):
            ctx.ignore_unknown_options = True
        try:
            return super().parse_args(ctx, given)
        except typer.BadParameter as error:
            error.message = _suggest_choice(error.message)
            raise


def _suggest_choice(said: str) -> str:
    """Name the choice that was probably meant; Typer lists them all and puts pydantic's words before it."""
    from segwatch.geo.text.spelling import find_nearest

    plain = said.removeprefix("Value error, ")
    found = _NO_CHOICE.fullmatch(plain)
    near = None if found is None else find_nearest(found["given"], _QUOTED.findall(found["known"]))
    return plain if near is None else f"{plain} Did you mean {near}?"


def _join_boxes(args: list[str]) -> list[str]:
    """Join the words after ``--bbox`` up to four numbers: ``--bbox -70 -33 -69 -32`` is one value."""
    made: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*made, word, *rest]
        name, equals, value = word.partition("=")
        if name != _BBOX:
            made.append(word)
            continue
        parts = [value] if equals else []
        while (
            rest and _NUMBERS.fullmatch(rest[0]) and len(",".join(parts).split(",")) < _CORNERS + (not parts)
        ):
            parts.append(rest.pop(0))
        made.append(f"{_BBOX}={','.join(parts)}" if parts else word)
    return made


def parse_bbox(text: str | tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Parse a bounding box: west, south, east, north in degrees.

    Raises
    ------
    typer.BadParameter
        It is not four numbers that bound a part of the earth.
    """
    if not isinstance(text, str):
        return text
    try:
        west, south, east, north = (float(one) for one in text.replace(",", " ").split())
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not WEST,SOUTH,EAST,NORTH in degrees, such as -70.1,-33.5,-70.0,-33.4"
        ) from error
    from segwatch.geo.antimeridian import is_bounding_box

    box = (west, south, east, north)
    if not is_bounding_box(box):
        swapped = is_bounding_box((south, west, north, east))
        hint = "; it looks as if latitudes came first" if swapped else ""
        raise typer.BadParameter(f"{text!r} is not west, south, east, north in degrees{hint}")
    return box


def parse_moment(text: str | datetime) -> datetime:
    """Parse a time; one without a zone is UTC, and a date is its first moment.

    Raises
    ------
    typer.BadParameter
        It is no time of the calendar.
    """
    if isinstance(text, datetime):
        return text
    try:
        found = datetime.fromisoformat(text.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # an offset may lead out of the calendar
        raise typer.BadParameter(
            f"{text!r} is not a time; write {TIME_FORMS} (UTC unless an offset is given, such as +02:00)"
        ) from error


def parse_last_moment(text: str | datetime) -> datetime:
    """Parse a time as :func:`parse_moment` does; a date is its last moment."""
    found = parse_moment(text)
    is_whole_day = isinstance(text, str) and _is_date(text.strip())
    # not the next day less a microsecond: after 9999-12-31 there is none
    return found + timedelta(days=1, microseconds=-1) if is_whole_day else found


def _is_date(text: str) -> bool:
    """Tell whether a time of ISO 8601 has no time of day: 2026-03-01, 20260301 or 2026-W09-7."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


From = Annotated[
    datetime | None,
    typer.Option(
        "--from", metavar="TIME", parser=parse_moment, help=f"Only at this time or later: {TIME_FORMS}, UTC."
    ),
]
To = Annotated[
    datetime | None,
    typer.Option(
        "--to", metavar="TIME", parser=parse_moment, help=f"Only before this time: {TIME_FORMS}, UTC."
    ),
]
Box = Annotated[
    Any,
    typer.Option(
        _BBOX,
        metavar="W,S,E,N",
        parser=parse_bbox,
        help="Bounding box in degrees (WGS 84): west,south,east,north; west of east unless it crosses 180°.",
    ),
]
