"""When a cron expression comes: judged by its times, not by its form.

The times are computed by the code that Prefect's scheduler computes them with, so that what passes here is what fires.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

#: The only cron names that are times; ``@reboot`` and the like name moments that a calendar does not have.
ALIASES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
#: 29 February is up to eight years away: 2100 is no leap year.
MAX_YEARS_AHEAD = 8
#: Five fields name minutes, so nothing comes more often than this.
MIN_INTERVAL = timedelta(minutes=1)
#: How long a watch that is over is still observed: scenes are published days after they were acquired.
GRACE = timedelta(days=7)
_FIELDS = "minute, hour, day, month and weekday (UTC)"
_FORM = f'write {_FIELDS} in quotes as "0 6 * * *"'
_LONGEST_CRON = 200
_RANDOM_OR_HASHED = re.compile(r"(?i)(?<![a-z])[rh](?![a-z])")
#: The scheduler reads 2-2 as the whole range.
_RANGE_OF_ONE = re.compile(r"(?i)(?<!\w)(\w+)-\1(?!\w)")
_STEP = re.compile(r"/(\d+)")
_SIZES = (60, 24, 31, 12, 7)


def check_cron(text: str, now: datetime | None = None) -> str:
    """A cron expression of five fields, or an alias, that comes within :data:`MAX_YEARS_AHEAD` years.

    Raises
    ------
    ValueError
        It is no such expression, never comes, or comes at times that are hardly meant; with what to write instead.
    """
    cron = text.strip()
    if cron.startswith("@"):
        if cron.lower() not in ALIASES:
            raise ValueError(f"is no time of a calendar; write one of {', '.join(ALIASES)}, or {_FIELDS}")
    else:
        _check_fields(cron)
    if next_after(cron, now or datetime.now(UTC)) is None:
        raise ValueError(
            f"never comes within {MAX_YEARS_AHEAD} years, because the calendar has no such day; "
            'correct the day or the month ("0 6 L * *" is the last day of each month)'
        )
    return cron


def _check_fields(cron: str) -> None:
    """What has the form of cron and another meaning than its writer expects."""
    fields = cron.split()
    if len(cron) > _LONGEST_CRON or not cron.isascii() or len(fields) != len(_SIZES):
        raise ValueError(_wrong_form(fields))
    if _RANDOM_OR_HASHED.search(cron):
        raise ValueError(
            "is no cron expression that Prefect computes: R and H are random and hashed; write numbers"
        )
    if same := _RANGE_OF_ONE.search(cron):
        raise ValueError(f"the range {same[0]} is read as every value; write {same[1]}")
    for field, size in zip(fields, _SIZES, strict=True):
        if any(int(step) >= size for step in _STEP.findall(field)):
            raise ValueError(
                f"a step in {field} is as large as its field, which begins anew after {size}; "
                "write a smaller step, or the values themselves"
            )
    if fields[0] == "*" and fields[1] != "*":
        once, every = (" ".join([minute, *fields[1:]]) for minute in ("0", "*/1"))
        raise ValueError(
            f'comes every minute of these hours; write "{once}" for once an hour, '
            f'or "{every}" if every minute is meant'
        )


def over(end: datetime | None, now: datetime) -> bool:
    """Whether a watch's time has passed at ``now``, and with it what was published late."""
    # subtracted on this side: people write 9999-12-31 for "never"
    return end is not None and now - GRACE > end


def next_after(text: str, moment: datetime) -> datetime | None:
    """The first time after ``moment``, UTC; None where none comes within :data:`MAX_YEARS_AHEAD` years.

    Raises
    ------
    ValueError
        It is no cron expression.
    """
    return _step(text, moment, "get_next")


def last_before(text: str, moment: datetime) -> datetime | None:
    """The last time before ``moment``, UTC; None where there was none in :data:`MAX_YEARS_AHEAD` years.

    Raises
    ------
    ValueError
        It is no cron expression.
    """
    return _step(text, moment, "get_prev")


@lru_cache(maxsize=256)
def pauses_at_most(text: str, span: timedelta) -> bool:
    """Whether no pause between two runs of the coming 400 days is longer than ``span``.

    Raises
    ------
    ValueError
        It is no cron expression.
    """
    moment = datetime.now(UTC)
    end = moment + timedelta(days=400)
    while moment < end:  # a longer pause cannot lie between two moments that are a span apart
        before = last_before(text, moment)
        after = None if before is None else next_after(text, before)
        if before is None or after is None or after - before > span:
            return False
        moment += span
    return True


def _step(text: str, moment: datetime, direction: str) -> datetime | None:
    # private to Prefect, and what its scheduler and its check of an expression use; tests hold both versions to it
    from prefect._vendor.croniter.croniter import CroniterBadDateError, croniter

    naive = moment.astimezone(UTC).replace(tzinfo=None)
    try:
        make: Any = croniter
        times = make(text, naive, max_years_between_matches=MAX_YEARS_AHEAD)
        found: datetime = getattr(times, direction)(datetime)
    except CroniterBadDateError:
        return None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"is no cron expression; {_FORM}") from error
    return found.replace(tzinfo=UTC)


def _wrong_form(fields: list[str]) -> str:
    said = f"is no cron expression of five fields; {_FORM}"
    if len(fields) == 1 and f"@{fields[0].lower()}" in ALIASES:
        return f"{said}, or @{fields[0].lower()}"
    if len(fields) in (6, 7) and fields[0] == "0" and (len(fields) == 6 or "?" in fields):
        # as Quartz and Spring write it: seconds first, perhaps a year last
        without = " ".join(fields[1:6]).replace("?", "*")
        said += f'; without seconds: "{without}"'
    return said
