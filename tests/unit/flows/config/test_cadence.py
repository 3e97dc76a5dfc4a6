"""Cron expressions are judged by when they come, and with the times that Prefect's scheduler would compute."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.server.schemas.schedules import CronSchedule

from segwatch.flows.config import cadence

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "cron",
    [
        "* * * * *",
        "*/1 6 * * *",
        "0 6 29 2 *",
        "0 6 L * *",
        "0 6 31 * *",
        "0 6 * * mon-fri",
        "@daily",
        "0 22-4 * * *",
    ],
)
def test_what_comes_is_accepted(cron: str) -> None:
    assert cadence.check_cron(cron, NOW) == cron


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        ("0 0 31 2 *", "never fires"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 30 feb mon", "never fires"),
        ("0 0 31 4,6 *", "never fires"),
        ("0 0 31 4,6,9,11 *", "never fires"),
        ("0 0 * 2 mon#5", "never fires within 8 years"),
        ("* * * * * *", "five fields"),
        ("*/5 * * * * *", "five fields"),
        ("0 0 6 * * ?", 'without seconds: "0 6 * * *"'),
        ("0 0 6 * * *", 'without seconds: "0 6 * * *"'),
        ("0 6 * * * 0 2020", "five fields"),
        ("@reboot", "@daily"),
        ("@every 1h", "@hourly"),
        ("daily", "or @daily"),
        ("* 6 * * *", 'write "0 6 * * *"'),
        ("0-0 6 * * *", "write 0"),
        ("0 0 31 2-2 *", "write 2"),
        ("*/90 * * * *", "*/90"),
        ("0 */36 * * *", "*/36"),
        ("R R * * *", "not a cron expression"),
        ("0 6 * *", "five fields"),
        ("١ ٦ * * *", "five fields"),
        ("60 * * * *", "not a cron expression"),
        ("0 6 * * 8", "not a cron expression"),
        ("0 6 * * *\0", "not a cron expression"),
        ("", "five fields"),
        (" ".join(["0," * 5000 + "0", "6", "*", "*", "*"]), "five fields"),
    ],
)
def test_what_never_comes_or_comes_otherwise_is_refused_with_what_to_write(cron: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        cadence.check_cron(cron, NOW)


_FIELD = {
    "minute": st.sampled_from(["0", "30", "*/15", "5,50", "0-10/5"]),
    "hour": st.sampled_from(["*", "0", "6", "*/6", "22-2"]),
    "day": st.sampled_from(["*", "1", "29", "30", "31", "L", "*/2"]),
    "month": st.sampled_from(["*", "2", "4,6", "feb", "*/3"]),
    "weekday": st.sampled_from(["*", "1", "mon-fri", "0,6"]),
}


@given(
    st.tuples(*_FIELD.values()),
    st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),
)
def test_what_passes_is_what_prefect_fires_and_the_rest_it_cannot_compute(
    fields: tuple[str, ...], moment: datetime
) -> None:
    cron, moment = " ".join(fields), moment.replace(microsecond=0)
    ours = cadence.find_next(cron, moment)
    schedule = CronSchedule(cron=cron, timezone="UTC")
    if ours is None:
        with pytest.raises(Exception, match="failed to find next date"):
            asyncio.run(schedule.get_dates(1, start=moment + timedelta(seconds=1)))
        return
    (theirs,) = asyncio.run(schedule.get_dates(1, start=moment + timedelta(seconds=1)))
    assert ours == theirs
    before = cadence.find_previous(cron, ours)
    assert before is None or before < ours


def test_pauses_are_found() -> None:
    week = timedelta(days=7)
    assert cadence.fires_at_least_every("0 * * * *", week)
    assert cadence.fires_at_least_every("0 6 * * mon", week)
    assert not cadence.fires_at_least_every("0 6 1 * *", week)
    assert not cadence.fires_at_least_every("*/1 * * 1 *", timedelta(days=90))
    assert not cadence.fires_at_least_every("0 6 29 2 *", timedelta(days=366))


def test_a_watch_without_an_end_that_the_calendar_has_is_never_over() -> None:
    assert not cadence.is_over(datetime(9999, 12, 31, tzinfo=UTC), NOW)
    assert not cadence.is_over(None, NOW)
    assert cadence.is_over(NOW - timedelta(days=8), NOW)
