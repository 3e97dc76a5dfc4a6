"""Parse the times of feeds; a time in an unknown zone is refused, not guessed.

ISO 8601 without a zone is UTC, as GDACS writes it. RFC 822 requires a zone, so dates of that form without one are
refused. Zone names are accepted if RFC 822 defines them or they mean one offset everywhere.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

from segwatch.geo.errors import InvalidEvent

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_YEAR = 2200
_MAX_CHARS = 100
_CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?")
_COMMENT = re.compile(r"\([^()]*\)")
_OFFSET = re.compile(r"(?:UTC|GMT|UT)?\s*([+-])(\d{1,2}):?(\d{2})?\Z", re.IGNORECASE)
_YEAR = re.compile(r"\d{4}\Z")
#: Offset from UTC in hours.
_ZONES = {
    # RFC 822
    "UT": 0, "UTC": 0, "GMT": 0, "Z": 0,
    "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
    # unambiguous worldwide
    "WET": 0, "WEST": 1, "CET": 1, "CEST": 2, "MEZ": 1, "MESZ": 2, "MET": 1, "MEST": 2, "EET": 2, "EEST": 3,
    "MSK": 3, "TRT": 3, "WAT": 1, "CAT": 2, "SAST": 2, "EAT": 3, "PKT": 5, "NPT": 5.75, "ICT": 7, "WIB": 7,
    "WITA": 8, "WIT": 9, "PHT": 8, "HKT": 8, "SGT": 8, "JST": 9, "KST": 9, "AWST": 8, "ACST": 9.5, "ACDT": 10.5,
    "AEST": 10, "AEDT": 11, "CHST": 10, "PGT": 10, "NZST": 12, "NZDT": 13, "FJT": 12, "HST": -10, "AKST": -9,
    "AKDT": -8, "NST": -3.5, "NDT": -2.5, "BRT": -3, "ART": -3, "CLT": -4, "CLST": -3, "PET": -5, "COT": -5,
}  # fmt: skip
_AMBIGUOUS = {
    "ADT": "Atlantic or Arabia", "AMT": "Amazon or Armenia", "AST": "Atlantic or Arabia",
    "BST": "British Summer, Bangladesh or Bougainville", "ECT": "Ecuador or Eastern Caribbean",
    "GST": "Gulf or South Georgia", "IST": "India, Ireland or Israel", "SST": "Samoa or Singapore",
    "WST": "Western Samoa or Western Australia",
}  # fmt: skip


def parse_time(value: object, *, zone_required: bool = False) -> datetime:
    """Parse a time: ISO 8601, RFC 822 or 2822, or milliseconds since 1970.

    Parameters
    ----------
    value
        As in the feed.
    zone_required
        Whether ISO 8601 without a zone is refused, too.

    Returns
    -------
    datetime
        In UTC.

    Raises
    ------
    InvalidEvent
        The value has another form, an unknown or ambiguous zone, or is before 1970 or after 2200.
    """
    try:
        found = _parse(value, zone_required)
    except (ValueError, OverflowError, OSError, TypeError) as error:
        raise InvalidEvent(f"{str(value)[:60]!r} is not a time") from error
    if found < _EARLIEST:
        raise InvalidEvent(f"{found:%Y-%m-%d} is before any satellite image")
    if found.year > _LAST_YEAR:
        raise InvalidEvent(f"{found:%Y-%m-%d} is after the year {_LAST_YEAR}")
    return found


def _parse(value: object, zone_required: bool) -> datetime:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value / 1000, UTC)
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    text = value.strip()
    if len(text) > _MAX_CHARS:
        raise ValueError
    if re.match(r"\d{4}-", text):
        return _parse_iso(text, zone_required)
    clock, zone = _split_zone(_COMMENT.sub(" ", text))
    if zone is None:
        raise InvalidEvent(f"{text[:60]!r} has no time zone; dates of this form need one, such as +0000")
    return parsedate_to_datetime(f"{clock} +0000").replace(tzinfo=zone).astimezone(UTC)


def _parse_iso(text: str, zone_required: bool) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        # "2026-11-27 10:00 JST"
        clock, zone = _split_zone(text)
        found = datetime.fromisoformat(clock)
        if zone is None or found.tzinfo is not None:
            raise
        return found.replace(tzinfo=zone).astimezone(UTC)
    if found.tzinfo is None and zone_required:
        raise InvalidEvent(f"{text[:60]!r} has no time zone; such a time needs one, such as +00:00")
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _split_zone(text: str) -> tuple[str, timezone | None]:
    """Split a text into date and time, and the zone after it; None if it has none."""
    clock = _CLOCK.search(text)
    if clock is None:
        raise ValueError
    words = text[clock.end() :].split()
    # "Fri Nov 27 10:00:00 AEST 2026"
    year = [word for word in words if _YEAR.match(word)]
    zone = " ".join(word for word in words if not _YEAR.match(word))
    return " ".join([text[: clock.end()], *year]), _parse_zone(zone) if zone else None


def _parse_zone(name: str) -> timezone:
    offset = _OFFSET.match(name)
    if offset:
        sign, hours, minutes = offset.groups()
        east = timedelta(hours=int(hours), minutes=int(minutes or 0))
        return timezone(-east if sign == "-" else east)
    known = _ZONES.get(name.upper())
    if known is not None:
        return timezone(timedelta(hours=known))
    meanings = _AMBIGUOUS.get(name.upper())
    why = f"has several meanings ({meanings})" if meanings else "is unknown"
    raise InvalidEvent(f"its time is in zone {name[:20]!r}, which {why}; it needs an offset such as +0100")
