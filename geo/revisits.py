"""When a catalog should have shown a scene: the repeat of each orbit, learned from the scenes that it did show."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

from segwatch.geo.types.revisits import MAX_LAG, MAX_MISSED, Acquisition, Lag, Revisit, Silence

#: A repeat is learned from at least so many gaps, of which most are whole multiples of it.
MIN_GAPS, MIN_SHARE = 4, 0.8
#: Acquisitions of one orbit differ by less from a whole number of repeats.
TOLERANCE = timedelta(hours=12)
_DAY = timedelta(days=1)
#: Expected acquisitions that are looked for; older ones are history.
MAX_EXPECTED = 100
#: Extra time for publication, beyond the longest lag but a twentieth.
_PATIENCE = timedelta(hours=12)


def learn_repeat(times: Sequence[datetime]) -> timedelta | None:
    """Learn after how many whole days an orbit passes again, from the times of its scenes; None = not regular.

    The most frequent gap is the repeat, of several the shortest, if most gaps are whole multiples of it: scenes that
    the catalog lacks only make gaps longer.
    """
    ordered = sorted(set(times))
    gaps = [round((later - earlier) / _DAY) for earlier, later in pairwise(ordered)]
    gaps = [gap for gap in gaps if gap > 0]
    if len(gaps) < MIN_GAPS:
        return None
    counts = Counter(gaps)
    days = min(counts, key=lambda gap: (-counts[gap], gap))
    fitting = sum(gap % days == 0 for gap in gaps)
    return timedelta(days=days) if fitting >= MIN_SHARE * len(gaps) else None


def measure_lag(scenes: Sequence[Acquisition]) -> Lag | None:
    """Measure the lag of publication; None where no scene tells it."""
    lags = sorted(one.published_at - one.acquired_at for one in scenes if one.published_at is not None)
    lags = [one for one in lags if timedelta(0) <= one <= MAX_LAG]
    if not lags:
        return None
    return Lag(lags[(len(lags) - 1) // 2], lags[-(-95 * len(lags) // 100) - 1])


def find_revisits(
    scenes: Sequence[Acquisition],
    *,
    since: datetime,
    now: datetime,
    lag: Lag | None,
    supplied: Sequence[Acquisition] = (),
) -> list[Revisit]:
    """Compare the acquisitions that each orbit should have made with those that a catalog shows, by platform and orbit.

    Orbits that pass irregularly, as aerial surveys do, are left out. A scene whose orbit is unknown may be any of those
    that were expected then.

    Parameters
    ----------
    since
        Acquisitions before are not expected: beginning of the watch.
    lag
        An acquisition is expected in the catalog once the lag's 95th percentile and half a day have passed.
    supplied
        Scenes that only another catalog shows: they are not missing, and the catalog missed them all the same.
    """
    orbits: dict[tuple[str, str], list[datetime]] = defaultdict(list)
    for one in scenes:
        if one.relative_orbit:
            orbits[one.platform, one.relative_orbit].append(one.acquired_at)
    unknown = [one.acquired_at for one in scenes if not one.relative_orbit]
    due = now - (timedelta(0) if lag is None else lag.p95) - _PATIENCE
    found = []
    for (platform, orbit), times in sorted(orbits.items()):
        repeat = learn_repeat(times)
        if repeat is not None:
            elsewhere = [
                one.acquired_at
                for one in supplied
                if (one.platform, one.relative_orbit) == (platform, orbit) or not one.relative_orbit
            ]
            compared = _compare(platform, orbit, sorted(set(times)), repeat, since, due, unknown)
            found.append(_take_out(compared, elsewhere))
    return found


def find_silence(revisits: Sequence[Revisit]) -> Silence | None:
    """Tell whether a catalog shows nothing of any orbit that passes regularly; None = it does, or there is none."""
    missed = min((one.missed_in_a_row for one in revisits), default=0)
    if missed < MAX_MISSED:
        return None
    orbits = tuple(f"{one.platform} orbit {one.relative_orbit}" for one in revisits)
    return Silence(max(one.last_at for one in revisits), missed, orbits)


def _take_out(compared: Revisit, elsewhere: Sequence[datetime]) -> Revisit:
    """Count as supplied what another catalog shows."""
    supplied = tuple(
        one for one in compared.missing if any(abs(one - other) <= TOLERANCE for other in elsewhere)
    )
    missing = tuple(one for one in compared.missing if one not in supplied)
    return replace(compared, missing=missing, supplied=supplied)


def _compare(
    platform: str,
    orbit: str,
    seen: Sequence[datetime],
    repeat: timedelta,
    since: datetime,
    due: datetime,
    unknown: Sequence[datetime],
) -> Revisit:
    missing: list[datetime] = []
    for earlier, later in pairwise(seen):
        expected = earlier + repeat
        while expected < later - TOLERANCE:
            missing.append(expected)
            expected += repeat
    expected = seen[-1] + repeat
    # an orbit that ended years ago costs no more than one that goes on
    while expected <= due and len(missing) < len(seen) + MAX_EXPECTED:
        missing.append(expected)
        expected += repeat
    kept = [one for one in missing if one >= since][-MAX_EXPECTED:]
    lacking = tuple(one for one in kept if not any(abs(one - other) <= TOLERANCE for other in unknown))
    return Revisit(platform, orbit, repeat, len(seen), seen[-1], expected, lacking)
