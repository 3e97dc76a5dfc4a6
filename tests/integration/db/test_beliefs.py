"""Beliefs in the ledger: judgements are added and closed, never rewritten, and the views show the newest."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

import segwatch
from segwatch.db import fold_memory, second_opinion, watches
from segwatch.db.fold_memory import FoldPlace, FoldStart
from segwatch.db.second_opinion import Neighbourhood
from segwatch.geo.types.belief import MAX_PAST, MAX_VIEWS
from tests.invariants.conftest import EVERYTHING, Ledger, SceneContent, cells, day
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too

LAKE = cells(1, 1, 2, 2)
NOTHING, SHOWN = SceneContent(()), SceneContent((LAKE,))
BELIEF = ("confidence", "status", "observations_for", "observations_against")
#: The place is empty for six days, then the lake is there.
WORLD = [NOTHING] * 6 + [SHOWN] * 6
CHANGES = f"SELECT change_id, kind, {', '.join(BELIEF)}, earliest, latest FROM watch.changes"
JUDGEMENTS = "SELECT * FROM segwatch.change_judgement ORDER BY acquired_at, lower(recorded)"
AS_OF = f"SELECT {', '.join(BELIEF)} FROM watch.objects_as_of(:valid, :known)"


def belief(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in BELIEF)


def test_each_observation_adds_a_judgement_and_the_views_show_the_newest(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    ledger.arrive(WORLD, range(7))
    (first,) = ledger.rows(CHANGES)
    assert first["earliest"] < first["latest"] == day(6)
    assert 0 <= first["confidence"] <= 1
    ledger.arrive(WORLD, [7])
    (second,) = ledger.rows(CHANGES)
    assert second["confidence"] > first["confidence"]
    assert (second["observations_for"], second["observations_against"]) == (2, 0)
    rows = ledger.rows(JUDGEMENTS)
    assert [row["acquired_at"] for row in rows] == [day(6), day(7)]
    assert belief(rows[-1]) == belief(second)
    assert [view["acquired_at"] for view in rows[-1]["views"]][-2:] == [
        day(6).isoformat(),
        day(7).isoformat(),
    ]
    (now,) = ledger.rows("SELECT * FROM watch.objects_now")
    (state,) = ledger.rows(
        "SELECT * FROM watch.object_history WHERE valid_to IS NULL AND recorded_to IS NULL"
    )
    (then,) = ledger.rows(AS_OF, valid=day(7), known=datetime.now(UTC))
    assert belief(now) == belief(state) == belief(then)
    assert now["observations_for"] == 2


def test_a_late_scene_rewrites_no_belief_that_does_not_move_noticeably(ledgers: Any) -> None:
    """The late scene moves the rates of the series, and with them every confidence a little."""
    ledger: Ledger = ledgers()
    near, *far = [
        cells(west, south, west + 0.8, south + 0.8) for west in range(8) for south in range(0, 8, 2)
    ]
    world = {number: SceneContent((near, *far)) for number in range(12)}
    ledger.arrive(world, [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11])
    counts = "SELECT counts FROM segwatch.series_counts ORDER BY observation_id"
    before = ledger.rows(counts)
    ledger.arrive({3: SceneContent((near,), cells(0, 0, 1, 1))}, [3])
    assert ledger.rows(counts) != before, "the rates have moved"
    late = "(SELECT max(committed_at) FROM segwatch.observation)"
    closed = ledger.rows(f"SELECT DISTINCT track_id FROM segwatch.track_state WHERE upper(recorded) = {late}")
    (seen,) = ledger.rows("SELECT track_id FROM watch.objects_now ORDER BY observations_for DESC LIMIT 1")
    assert closed == [seen]


def test_a_late_scene_closes_judgements_and_rewrites_none(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    ledger.arrive(WORLD, [0, 1, 2, 3, 4, 5, 6, 8])
    recorded = ledger.rows(JUDGEMENTS)
    known_then = datetime.now(UTC)
    ledger.arrive(WORLD, [7])
    after = {row["id"]: row for row in ledger.rows(JUDGEMENTS)}
    for row in recorded:
        assert {**after[row["id"]], "recorded": None} == {**row, "recorded": None}
    closed = [row for row in after.values() if row["recorded"].upper is not None]
    assert [row["acquired_at"] for row in closed] == [day(8)], (
        "what was known before the late scene still holds"
    )
    held = [row for row in after.values() if row["recorded"].upper is None]
    assert [row["acquired_at"] for row in held] == [day(6), day(7), day(8)]
    (change,) = ledger.rows(CHANGES)
    assert belief(change) == belief(held[-1])
    assert change["observations_for"] == 3
    (before,) = ledger.rows(AS_OF, valid=day(8), known=known_then)
    (now,) = ledger.rows(AS_OF, valid=day(8), known=datetime.now(UTC))
    assert (before["observations_for"], now["observations_for"]) == (2, 3)


def test_a_retracted_change_keeps_no_judgement_in_force(ledgers: Any) -> None:
    """The late scene shows the lake earlier, so that it appeared with another scene."""
    ledger: Ledger = ledgers()
    ledger.arrive(WORLD, [0, 1, 2, 3, 4, 5, 7, 8])
    ledger.arrive(WORLD, [6])
    rows = ledger.rows(
        "SELECT c.retracted_at IS NULL AS holds, c.is_open, count(j.id) FILTER (WHERE upper_inf(j.recorded)) AS held,"
        " count(j.id) AS judged FROM segwatch.change c JOIN segwatch.change_judgement j ON j.change_id = c.id"
        " GROUP BY c.id ORDER BY 1"
    )
    assert [(row["holds"], row["held"], row["judged"]) for row in rows] == [(False, 0, 2), (True, 3, 3)]
    assert not rows[0]["is_open"]


def test_a_decided_change_is_not_judged_again(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    ledger.arrive(WORLD, range(len(WORLD)))
    rows = ledger.rows(
        "SELECT c.is_open, h.status FROM segwatch.change c JOIN segwatch.held_change h ON h.id = c.id"
    )
    assert [(row["is_open"], row["status"]) for row in rows] == [(False, "confirmed")]
    judged = len(ledger.rows(JUDGEMENTS))
    ledger.arrive([*WORLD, SHOWN], [len(WORLD)])
    assert len(ledger.rows(JUDGEMENTS)) == judged


def test_a_lake_that_one_scene_shows_smaller_never_changed(ledgers: Any) -> None:
    """Neither the loss nor the growth that undoes it is told as the lake's last change, also if that scene was late."""
    lake, part = SceneContent((cells(1, 1, 5, 5),)), SceneContent((cells(1, 1, 3, 5),))
    world = [lake] * 4 + [part] + [lake] * 3
    last = "SELECT last_change, last_change_at FROM watch.objects_now"
    told = "SELECT kind, valid_at, status FROM watch.changes WHERE NOT baseline ORDER BY valid_at"
    for arrivals in ([range(len(world))], [[*range(4), *range(5, 8)], [4]]):
        ledger: Ledger = ledgers()
        for numbers in arrivals:
            ledger.arrive(world, numbers)
        assert [tuple(row.values()) for row in ledger.rows(told)] == [
            ("shrank", day(4), "refuted"),
            ("grew", day(5), "refuted"),
        ]
        assert [tuple(row.values()) for row in ledger.rows(last)] == [(None, None)]
        ledger.arrive([*world, part, part], [8, 9])
        (row,) = ledger.rows(last)
        assert tuple(row.values()) == ("shrank", day(8))


@pytest.mark.parametrize("late", [False, True])
def test_past_observations_are_the_last_that_meet_the_footprint(
    ledgers: Any, engine: Engine, late: bool
) -> None:
    """Of twelve scenes every second one covers the west alone."""
    east, west = cells(4.5, 0, 8, 8), cells(0, 0, 4, 8)
    pond = cells(5, 5, 6, 6)
    world = [SceneContent((LAKE, pond), EVERYTHING if number % 2 else west) for number in range(12)]
    ledger: Ledger = ledgers()
    ledger.arrive(world, range(12))
    rows = ledger.rows(
        "SELECT id, series_id, scene_id, acquired_at FROM segwatch.observation ORDER BY acquired_at"
    )
    first = rows[10] if late else {**rows[11], "acquired_at": day(12)}
    start = FoldStart(
        first["acquired_at"], first["scene_id"], frozenset(row["id"] for row in rows[10:] if late)
    )
    with engine.connect() as conn:
        place = FoldPlace([east], east, east, [], [])
        found = fold_memory.load_memory(conn, rows[0]["series_id"], start, place)
        place = FoldPlace([east, west], EVERYTHING, EVERYTHING, [], [])
        both = fold_memory.load_memory(conn, rows[0]["series_id"], start, place)
    assert [one.acquired_at for one in found.past] == [
        day(number) for number in range(1, 10 if late else 12, 2)
    ]
    assert all([len(one.detections), one.shift.source is not None] == [1, True] for one in found.past)
    last = 10 if late else 12
    expected = {*range(1, last, 2), *range(last - MAX_PAST, last)}
    assert [one.acquired_at for one in both.past] == [day(number) for number in sorted(expected)]
    # the evidence of a change is compared with the same ones, and however few are asked for, all meet the ground
    for limit in (3, MAX_PAST):
        near = Neighbourhood(rows[0]["series_id"], east, start.folded)
        before = (start.acquired_at, start.scene_id)
        with engine.connect() as conn:
            earlier = second_opinion.list_earlier(conn, near, before, limit)
            later = second_opinion.list_since(conn, near, day(0), before, limit)
        assert [one.id for one in earlier] == [one.id for one in found.past][::-1][:limit]
        assert [one.id for one in later] == [one.id for one in found.past][:limit]


def test_old_rows_say_that_nobody_judged_them_and_later_scenes_judge_on(
    ledgers: Any, engine: Engine, database: Any
) -> None:
    """As in a ledger that was upgraded: rows without beliefs, counts and shifts."""
    pond = cells(5, 5, 6, 6)
    ledger: Ledger = ledgers()
    ledger.arrive(WORLD, range(8))
    _forget(database.superuser_url)
    with segwatch.connect(database.url("segwatch_analyst")) as s:
        for read in (s.objects, s.changes, s.alerts, s.states):
            table = read("lakes")
            assert len(table)
            assert table.confidence.isna().all()
        assert s.objects("lakes", at=day(7)).status.isna().all()
    old = ledger.rows("SELECT id, confidence FROM segwatch.track_state")
    ledger.arrive([*WORLD[:8], SceneContent((LAKE, pond))], [8])
    (lake,) = ledger.rows("SELECT * FROM watch.objects_now WHERE ST_XMin(geom) < 10.004")
    assert (lake["observations_for"], lake["observations_against"]) == (1, 0)
    found = {row["confidence"] is None: row for row in ledger.rows(CHANGES)}
    assert set(found) == {True, False}, "the pond's change is judged, that of the lake is not"
    kept = {
        row["id"]: row["confidence"] for row in ledger.rows("SELECT id, confidence FROM segwatch.track_state")
    }
    assert all(kept[row["id"]] is None for row in old)
    # a late scene folds old observations again, and so judges them
    ledger.arrive({4: NOTHING}, [], 0)
    ledger.arrive({4: NOTHING}, [4], 1)
    assert all(row["confidence"] is not None for row in ledger.rows(CHANGES))


def _forget(url: str) -> None:
    """Make the ledger as migration 0024 leaves an old one."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("DELETE FROM segwatch.change_judgement")
        conn.execute("DELETE FROM segwatch.series_counts")
        conn.execute("UPDATE segwatch.change SET is_open = false")
        conn.execute(
            "UPDATE segwatch.track_state SET confidence = NULL, status = NULL, observations_for = NULL,"
            " observations_against = NULL"
        )
        conn.execute(
            "UPDATE segwatch.observation SET shift_east_m = NULL, shift_north_m = NULL,"
            " shift_quality = NULL, shift_source = NULL"
        )


WAITS = "SELECT waits FROM watch.why_not(10.003, 50.003, now(), 'lakes') WHERE waits IS NOT NULL"


def test_why_not_says_when_a_provisional_change_is_judged_no_more(ledgers: Any) -> None:
    """Every other scene shows the lake, so that whether it appeared stays uncertain however many scenes come."""
    ledger: Ledger = ledgers()
    ledger.rule(min_area_m2=1e9)
    world = [NOTHING] * 6 + [NOTHING, SHOWN] * (MAX_VIEWS // 2)
    ledger.arrive(world, range(len(world)))
    (told,) = ledger.rows(WAITS)
    judged = f"{MAX_VIEWS} observations judged it, and no more are taken into account"
    assert told["waits"].endswith(f") and stays so: {judged}")
    with ledger.engine.begin() as conn:  # as of a split without a gap, which has no ground of its own
        conn.execute(text("UPDATE segwatch.change_judgement SET views = '[]'"))
    (told,) = ledger.rows(WAITS)
    assert told["waits"].endswith(") and stays so: no observation can show by itself whether it happened")


def test_why_not_says_when_a_watch_decides_nothing_more(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    ledger.rule(min_area_m2=1e9)
    ledger.arrive(WORLD, range(7))
    with ledger.engine.begin() as conn:
        watches.archive(conn, "lakes", datetime(2024, 2, 1, tzinfo=UTC))
    (told,) = ledger.rows(WAITS)
    assert told["waits"].endswith(
        "): the watch ended at 2024-02-01 00:00 UTC, so only late scenes from before then confirm or refute it"
    )
    ledger.instruct("segment the other water")
    (told,) = ledger.rows(WAITS)
    assert told["waits"].endswith(
        ") and stays so: another instruction revision or model observes the watch since then"
    )


def test_why_not_says_what_a_provisional_change_waits_for(ledgers: Any, engine: Engine) -> None:
    ledger: Ledger = ledgers()
    ledger.rule(min_area_m2=1e9)
    ledger.arrive(WORLD, range(7))
    query = "SELECT * FROM watch.why_not(10.003, 50.003, :at, 'lakes')"
    found = ledger.rows(query, at=day(9))
    (change,) = ledger.rows(CHANGES)
    assert (found[0]["answer"], found[0]["waits"]) == (
        "below threshold",
        f"its change is provisional (confidence {change['confidence']:.2f}): further observations confirm or refute it",
    )
    assert {row["waits"] for row in found[1:]} == {None}
    with engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.change_judgement SET status = 'refuted'"))
    assert ledger.rows(query, at=day(9))[0]["answer"] == "refuted"
    ledger.find([8])
    newest = ledger.rows(query, at=day(9))[0]
    assert (newest["answer"], newest["waits"]) == ("pending", None)
    with engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.observation SET reason = 'HTTP 503' WHERE state = 'pending'"))
    assert (
        ledger.rows(query, at=day(9))[0]["waits"] == "may be tried again now: the next segment run takes it"
    )


def test_why_not_knows_a_disappearance_at_the_miss_that_it_is_dated_to(ledgers: Any) -> None:
    ledger: Ledger = ledgers(gone_after=2)
    ledger.rule(min_area_m2=1e9)
    ledger.arrive([SHOWN, SHOWN, NOTHING, NOTHING], range(4))
    (gone,) = ledger.rows("SELECT valid_at, status FROM watch.changes WHERE kind = 'disappeared'")
    rows = ledger.rows(
        "SELECT answer, waits FROM watch.why_not(10.003, 50.003, now(), 'lakes') WHERE acquired_at = :at",
        at=gone["valid_at"],
    )
    assert gone["status"] == "provisional"
    assert [row["answer"] for row in rows] == ["below threshold"]
    assert "its change is provisional" in rows[0]["waits"]
