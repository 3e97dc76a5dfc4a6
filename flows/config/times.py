"""Field types of watch files and playbooks for times, time zones and cron expressions.

What their validators raise becomes the message of the field.
"""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from segwatch.flows.config.cadence import check_cron

#: Older than any aerial photograph in a catalog.
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
#: A later start is taken for a typo: until then the watch would silently find nothing.
MAX_AHEAD = timedelta(days=366)
_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):[0-5]\d\Z")
_MINUTES_PER_DAY = 24 * 60
#: Entries of the time zone database that are not zones: "not set", and the zone of each machine.
_NOT_ZONES = frozenset({"Factory", "localtime"})


def _reject_number(given: object) -> object:
    """Reject 22:00 without quotes, which YAML 1.1 reads as the number 1320 (base 60)."""
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < _MINUTES_PER_DAY:
        hours, minutes = divmod(given, 60)
        raise ValueError(f'is read as a number; write "{hours:02d}:{minutes:02d}" in quotes')
    return given


def _check_time_of_day(text: str) -> str:
    if not _TIME_OF_DAY.match(text):
        example = '"00:00"' if text == "24:00" else '"07:00"'
        raise ValueError(f"is not a time of day; write hours and minutes in quotes as {example}")
    return text


def _check_zone(name: str) -> str:
    zones = _zones()
    if name in zones:
        return name
    # a city alone, or another case
    by_end = [one for one in sorted(zones) if name.lower() in (one.lower(), one.rpartition("/")[2].lower())]
    near = by_end or difflib.get_close_matches(name, sorted(zones), 1)
    raise ValueError(f"is not a time zone; write an IANA name such as {near[0] if near else 'Europe/Paris'}")


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _NOT_ZONES


def _to_utc(moment: datetime) -> datetime:
    try:
        in_utc = moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is beyond the calendar; write a date up to 9999-12-30") from error
    if in_utc < EARLIEST:
        raise ValueError(f"is before {EARLIEST:%Y-%m-%d}, when there was no imagery; correct the year")
    return in_utc


def _check_start(moment: datetime) -> datetime:
    if moment > datetime.now(UTC) + MAX_AHEAD:
        raise ValueError(
            f"is more than {MAX_AHEAD.days} days ahead; until then the watch would find nothing; correct the year"
        )
    return moment


TimeOfDay = Annotated[str, BeforeValidator(_reject_number), AfterValidator(_check_time_of_day)]
Zone = Annotated[str, AfterValidator(_check_zone)]
Cron = Annotated[str, AfterValidator(check_cron)]
#: A time with its zone, in UTC.
Moment = Annotated[AwareDatetime, AfterValidator(_to_utc)]
#: A :data:`Moment` at which a watch starts.
Start = Annotated[AwareDatetime, AfterValidator(_to_utc), AfterValidator(_check_start)]
