"""Which acquisitions a catalog should have shown, learned from those that it did."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from segwatch.geo.revisits import MAX_EXPECTED, find_revisits, learn_repeat, measure_lag
from segwatch.geo.types.revisits import Acquisition, Lag

START = datetime(2024, 1, 1, 10, tzinfo=UTC)
REPEATS = st.sampled_from([5, 10, 12, 16])


def passes(days: Iterable[int], repeat: int = 10, orbit: str = "22") -> list[Acquisition]:
    """Passes of an orbit, a few seconds off, each published five hours later."""
    times = [START + timedelta(days=repeat * one, seconds=7 * (one % 3)) for one in days]
    return [Acquisition("sentinel-2a", orbit, at, at + timedelta(hours=5)) for at in times]


def after(days: float) -> datetime:
    return START + timedelta(days=days)


@given(REPEATS, st.sets(st.integers(1, 38), max_size=12))
def test_every_pass_that_is_missing_is_found(repeat: int, lacking: set[int]) -> None:
    """Whatever single passes a catalog lacks between others."""
    lacking = {one for one in lacking if one % 3 == 0}
    scenes = passes((one for one in range(40) if one not in lacking), repeat)
    (found,) = find_revisits(scenes, since=START, now=after(39.9 * repeat), lag=measure_lag(scenes))
    assert found.repeat == timedelta(days=repeat)
    assert {round((one - START) / found.repeat) for one in found.missing} == lacking
    assert found.missed_in_a_row == 0


def test_silence_is_counted_once_the_catalog_had_its_time() -> None:
    scenes = passes(range(8))
    lag = Lag(timedelta(hours=5), timedelta(days=2))

    def count(days: float) -> int:
        (found,) = find_revisits(scenes, since=START, now=after(days), lag=lag)
        assert found.next_at > after(days) - lag.p95 - timedelta(days=1)
        return found.missed_in_a_row

    assert [count(days) for days in (75, 81, 83, 112.6)] == [0, 0, 1, 4]


def test_each_orbit_is_judged_by_itself() -> None:
    scenes = passes(range(10)) + passes(range(0, 10), orbit="65")[:6]
    found = find_revisits(scenes, since=START, now=after(91), lag=None)
    assert [(one.relative_orbit, one.missed_in_a_row) for one in found] == [("22", 0), ("65", 4)]


def test_flights_without_orbit_or_rhythm_are_not_expected() -> None:
    irregular = [START + timedelta(days=day) for day in (0, 3, 41, 390, 401, 1100)]
    assert learn_repeat(irregular) is None
    assert learn_repeat([START, after(10), after(20)]) is None, "too few to tell"
    unknown = passes(range(9), orbit="")
    assert find_revisits(unknown, since=START, now=after(500), lag=None) == []


def test_a_scene_of_an_unknown_orbit_may_be_the_expected_one() -> None:
    scenes = passes([0, 1, 2, 3, 5, 6])
    rejected = Acquisition("", "", after(40.2), None)
    for shown, missing in ((scenes, 1), ([*scenes, rejected], 0)):
        (found,) = find_revisits(shown, since=START, now=after(65), lag=None)
        assert len(found.missing) == missing


def test_what_was_before_the_watch_began_is_not_missing_and_an_orbit_that_ended_costs_little() -> None:
    (found,) = find_revisits(passes([0, 1, 2, 4, 5, 6, 7]), since=after(50), now=after(100_000), lag=None)
    assert len(found.missing) == MAX_EXPECTED
    assert found.missing[0] > after(50)


def test_the_lag_is_that_of_scenes_which_tell_it() -> None:
    scenes = [Acquisition("p", "1", START, START + timedelta(hours=hours)) for hours in range(1, 21)]
    scenes += [Acquisition("p", "1", START, after(400))]
    scenes += [Acquisition("p", "1", START, None), Acquisition("p", "1", START, START - timedelta(hours=1))]
    assert measure_lag(scenes) == Lag(timedelta(hours=10), timedelta(hours=19))
    assert measure_lag([]) is None
