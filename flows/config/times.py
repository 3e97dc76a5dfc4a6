"""Times as people write them in watch files and playbooks: each is refused where it can mean nothing.

Field types for pydantic; what they raise is the message of the field.
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

#: No aerial photograph that anybody asks for is older.
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
#: A period that begins later is taken for a slip of the pen: until then nothing would ever be found, without a word.
MAX_AHEAD = timedelta(days=366)
_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):[0-5]\d\Z")
_MINUTES_OF_A_DAY = 24 * 60
#: Of the time zone database, and no place: one says "not set", the other differs between machines.
_NO_ZONES = frozenset({"Factory", "localtime"})


def _quoted(given: object) -> object:
    """YAML 1.1 reads 22:00 without quotes as a number to the base of 60."""
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < _MINUTES_OF_A_DAY:
        hours, minutes = divmod(given, 60)
        raise ValueError(f'is a number without quotes; write "{hours:02d}:{minutes:02d}" in quotes')
    return given


def _time_of_day(text: str) -> str:
    if not _TIME_OF_DAY.match(text):
        instead = '"00:00"' if text == "24:00" else '"07:00"'
        raise ValueError(f"is no time of day; write hours and minutes in quotes as {instead}")
    return text


def _zone(name: str) -> str:
    zones = _zones()
    if name in zones:
        return name
    # a city alone, or another case
    by_end = [one for one in sorted(zones) if name.lower() in (one.lower(), one.rpartition("/")[2].lower())]
    near = by_end or difflib.get_close_matches(name, sorted(zones), 1)
    raise ValueError(f"is no time zone; write an IANA name as {near[0] if near else 'Europe/Paris'}")


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _NO_ZONES


def _moment(moment: datetime) -> datetime:
    """In UTC."""
    try:
        in_utc = moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is beyond the calendar; write a date up to 9999-12-30") from error
    if in_utc < EARLIEST:
        raise ValueError(f"is before {EARLIEST:%Y-%m-%d}, and no imagery is; correct the year")
    return in_utc


def _start(moment: datetime) -> datetime:
    if moment > datetime.now(UTC) + MAX_AHEAD:
        raise ValueError(
            f"is more than {MAX_AHEAD.days} days ahead, and until then nothing would be found; correct the year"
        )
    return moment


TimeOfDay = Annotated[str, BeforeValidator(_quoted), AfterValidator(_time_of_day)]
Zone = Annotated[str, AfterValidator(_zone)]
Cron = Annotated[str, AfterValidator(check_cron)]
#: A time with its zone, in UTC.
Moment = Annotated[AwareDatetime, AfterValidator(_moment)]
#: A :data:`Moment` from which on something is looked for.
Start = Annotated[AwareDatetime, AfterValidator(_moment), AfterValidator(_start)]
