"""Check cron expressions by the times at which they fire.

The times are computed by the code that Prefect's scheduler uses, so that an expression that passes here does fire.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

#: Aliases that stand for times; ``@reboot`` does not.
ALIASES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
#: 29 February can be eight years away, because 2100 is not a leap year.
MAX_YEARS_AHEAD = 8
#: Shortest interval of an expression of five fields.
MIN_INTERVAL = timedelta(minutes=1)
#: How long a watch is still observed after its end: scenes are published days after acquisition.
GRACE = timedelta(days=7)
_FIELDS = "minute, hour, day, month and weekday (UTC)"
_FORM = f'write {_FIELDS} in quotes as "0 6 * * *"'
_MAX_CHARS = 200
_RANDOM_OR_HASHED = re.compile(r"(?i)(?<![a-z])[rh](?![a-z])")
#: The scheduler reads 2-2 as every value.
_RANGE_OF_ONE = re.compile(r"(?i)(?<!\w)(\w+)-\1(?!\w)")
_STEP = re.compile(r"/(\d+)")
_SIZES = (60, 24, 31, 12, 7)


def check_cron(text: str, now: datetime | None = None) -> str:
    """Return a valid cron expression of five fields or an alias, stripped.

    Raises
    ------
    ValueError
        The expression is invalid, never fires within :data:`MAX_YEARS_AHEAD` years, or fires at times that its writer
        hardly meant. The message says what to write instead.
    """
    cron = text.strip()
    if cron.startswith("@"):
        if cron.lower() not in ALIASES:
            raise ValueError(f"is not a known alias; write one of {', '.join(ALIASES)}, or {_FIELDS}")
    else:
        _check_fields(cron)
    if find_next(cron, now or datetime.now(UTC)) is None:
        raise ValueError(
            f"never fires within {MAX_YEARS_AHEAD} years, because the calendar has no such day; "
            'correct the day or the month ("0 6 L * *" is the last day of each month)'
        )
    return cron


def _check_fields(cron: str) -> None:
    """Reject expressions that the scheduler reads differently than their writer expects."""
    fields = cron.split()
    if len(cron) > _MAX_CHARS or not cron.isascii() or len(fields) != len(_SIZES):
        raise ValueError(_wrong_form(fields))
    if _RANDOM_OR_HASHED.search(cron):
        raise ValueError(
            "is not a cron expression that Prefect supports: R and H are random and hashed; write numbers"
        )
    if same := _RANGE_OF_ONE.search(cron):
        raise ValueError(f"the range {same[0]} means every value; write {same[1]}")
    for field, size in zip(fields, _SIZES, strict=True):
        if any(int(step) >= size for step in _STEP.findall(field)):
            raise ValueError(
                f"a step in {field} is not smaller than the {size} values of its field; "
                "write a smaller step, or the values themselves"
            )
    if fields[0] == "*" and fields[1] != "*":
        once, every = (" ".join([minute, *fields[1:]]) for minute in ("0", "*/1"))
        raise ValueError(
            f'fires every minute of these hours; write "{once}" for once an hour, '
            f'or "{every}" if every minute is meant'
        )


def is_over(end: datetime | None, now: datetime) -> bool:
    """Whether the end of a watch, and the grace period after it, have passed."""
    # subtracted from now: people write 9999-12-31 for "never", and adding would overflow
    return end is not None and now - GRACE > end


def find_next(text: str, moment: datetime) -> datetime | None:
    """Return the first firing after ``moment`` in UTC; None if none comes within :data:`MAX_YEARS_AHEAD` years.

    Raises
    ------
    ValueError
        The expression is invalid.
    """
    return _step(text, moment, "get_next")


def find_previous(text: str, moment: datetime) -> datetime | None:
    """Return the last firing before ``moment`` in UTC; None if there was none in :data:`MAX_YEARS_AHEAD` years.

    Raises
    ------
    ValueError
        The expression is invalid.
    """
    return _step(text, moment, "get_prev")


@lru_cache(maxsize=256)
def fires_at_least_every(text: str, span: timedelta) -> bool:
    """Whether successive firings of the coming 400 days are at most ``span`` apart.

    Raises
    ------
    ValueError
        The expression is invalid.
    """
    moment = datetime.now(UTC)
    end = moment + timedelta(days=400)
    while moment < end:  # a longer gap contains at least one of these moments
        before = find_previous(text, moment)
        after = None if before is None else find_next(text, before)
        if before is None or after is None or after - before > span:
            return False
        moment += span
    return True


def _step(text: str, moment: datetime, direction: str) -> datetime | None:
    # Prefect's scheduler uses this private copy; tests notice when a version of Prefect moves it
    from prefect._vendor.croniter.croniter import CroniterBadDateError, croniter

    naive = moment.astimezone(UTC).replace(tzinfo=None)
    try:
        make: Any = croniter
        times = make(text, naive, max_years_between_matches=MAX_YEARS_AHEAD)
        found: datetime = getattr(times, direction)(datetime)
    except CroniterBadDateError:
        return None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"is not a cron expression; {_FORM}") from error
    return found.replace(tzinfo=UTC)


def _wrong_form(fields: list[str]) -> str:
    message = f"is not a cron expression of five fields; {_FORM}"
    if len(fields) == 1 and f"@{fields[0].lower()}" in ALIASES:
        return f"{message}, or @{fields[0].lower()}"
    if len(fields) in (6, 7) and fields[0] == "0" and (len(fields) == 6 or "?" in fields):
        # Quartz and Spring: seconds first, optionally a year last
        without = " ".join(fields[1:6]).replace("?", "*")
        message += f'; without seconds: "{without}"'
    return message
