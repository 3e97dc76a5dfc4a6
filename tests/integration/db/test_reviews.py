"""Reviews confirm, reject and edit objects, and stay in force when an object is found again."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pytest
import shapely
from shapely.geometry import LineString, MultiPolygon, Polygon, box
from sqlalchemy.exc import ProgrammingError

from segwatch.db import outbox, reviews, verdicts
from segwatch.db.errors import NotFound, ReviewRefused
from segwatch.db.reviews import Verdict
from segwatch.geo.types.watch import Digest, Escalation
from tests.conftest import Database
from tests.invariants.conftest import CHANNELS, EVERYTHING, Ledger, SceneContent, cells, day
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too
from tests.support.assessing import believe
from tests.support.hostile_shapes import comb

LAKE, POND = cells(1, 1, 4, 4), cells(5, 5, 7, 7)
WHY: dict[str, Any] = {"reviewer": "ada", "reason": "seen from the bridge"}


def decide(ledger: Ledger, track: Any, verdict: Verdict, **more: Any) -> reviews.Review:
    with ledger.engine.begin() as conn:
        return reviews.decide(conn, track, verdict, **{**WHY, **more})


def track_at(ledger: Ledger, place: Any) -> Any:
    (row,) = ledger.rows(
        "SELECT t.track_id FROM segwatch.track_state t WHERE upper_inf(t.recorded) AND upper_inf(t.valid)"
        " AND t.alive AND ST_Intersects(t.geom, ST_GeomFromText(:place, 4326))",
        place=place.representative_point().wkt,
    )
    return row["track_id"]


def alerts(ledger: Ledger) -> list[tuple[str, Any]]:
    return [
        (r["kind"], r["valid_at"])
        for r in ledger.rows("SELECT kind, valid_at FROM watch.alerts ORDER BY 2, 1")
    ]


def test_a_rejected_object_stays_rejected_when_it_is_found_again(ledgers: Any) -> None:
    world = [
        SceneContent(()),
        SceneContent((LAKE, POND)),
        SceneContent((POND,)),
        SceneContent((LAKE, POND)),
        SceneContent((cells(1, 1, 6, 4), POND)),
    ]
    ledger = ledgers(gone_after=1)
    ledger.arrive(world, [0, 1])
    assert len(alerts(ledger)) == 2
    lake = track_at(ledger, LAKE)
    decide(ledger, lake, Verdict.REJECTED)
    assert [row["track_id"] for row in ledger.rows("SELECT track_id FROM watch.objects_now")] == [
        track_at(ledger, POND)
    ]
    ledger.arrive(world, [2])
    ledger.arrive(world, [3])
    ledger.arrive(world, [4])
    kinds = ledger.rows(
        "SELECT kind, review FROM watch.changes WHERE track_id = :lake ORDER BY valid_at", lake=lake
    )
    assert [(row["kind"], row["review"]) for row in kinds] == [
        (kind, "rejected") for kind in ("appeared", "disappeared", "reappeared", "grew")
    ]
    assert len(alerts(ledger)) == 2, "neither going, coming back nor growing is told"
    assert len(ledger.rows("SELECT 1 FROM watch.objects_now")) == 1
    why = ledger.rows("SELECT answer FROM watch.why_not(10.004, 50.004, :at, 'lakes')", at=day(9))
    assert [row["answer"] for row in why] == [
        "suppressed",
        "suppressed",
        "suppressed",
        "suppressed",
        "nothing found",
    ], "the alert of the second scene does not hold: its change was refuted, and its object rejected"


def test_unsent_messages_about_a_rejected_object_are_given_up(ledgers: Any) -> None:
    ledger = ledgers()
    ledger.arrive([SceneContent(()), SceneContent((LAKE, POND))], [0, 1])
    decide(ledger, track_at(ledger, LAKE), Verdict.REJECTED)
    rows = ledger.rows("SELECT state, last_error FROM segwatch.delivery ORDER BY state")
    assert [row["state"] for row in rows] == ["dead"] * len(CHANNELS) + ["pending"] * len(CHANNELS)
    assert rows[0]["last_error"] == "the object was rejected in review"


def test_a_rejected_object_neither_escalates_nor_is_replayed(ledgers: Any) -> None:
    ledger = ledgers()
    ledger.rule(escalation=Escalation(0.0001, ("https://hook.example/boss",)))
    ledger.arrive([SceneContent(()), SceneContent((LAKE, POND))], [0, 1])
    decide(ledger, track_at(ledger, LAKE), Verdict.REJECTED)
    time.sleep(0.1)
    with ledger.engine.begin() as conn:
        assert outbox.escalate(conn) == 1
        assert outbox.replay(conn) == 0
    rows = ledger.rows("SELECT DISTINCT track_id FROM segwatch.delivery WHERE state = 'pending'")
    assert [row["track_id"] for row in rows] == [track_at(ledger, POND)]
    decide(ledger, track_at(ledger, LAKE), Verdict.CONFIRMED)
    rows = ledger.rows("SELECT DISTINCT track_id FROM segwatch.delivery WHERE state = 'pending'")
    assert len(rows) == 2, "what was rejected by mistake is sent after all"


@pytest.mark.parametrize("digest", [None, Digest()], ids=["at once", "digest"])
def test_changes_of_a_rejected_object_that_hold_again_are_not_sent(
    ledgers: Any, digest: Digest | None
) -> None:
    """A late scene retracts a change, and a reprocessed one shows it again."""
    ledger = ledgers()
    ledger.rule(digest=digest)
    grown = SceneContent((cells(1, 1, 6, 4),))
    world = [SceneContent((LAKE,)), grown, grown]
    ledger.arrive(world, [0])
    ledger.arrive(world, [2])
    ledger.arrive(world, [1])
    assert len(ledger.rows("SELECT 1 FROM segwatch.change WHERE retracted_at IS NOT NULL")) == 1
    decide(ledger, track_at(ledger, LAKE), Verdict.REJECTED)
    ledger.give_up(1, skipped=True, version=1)
    ledger.track()
    (grew,) = ledger.rows("SELECT valid_at FROM segwatch.change WHERE retracted_at IS NULL AND kind = 'grew'")
    assert grew["valid_at"] == day(2), "the change holds again"
    query = "SELECT payload ->> 'type' AS kind FROM segwatch.delivery WHERE state = 'pending'"
    assert {row["kind"] for row in ledger.rows(query)} <= {"segwatch.alert.retracted"}


def test_a_verdict_is_carried_over_to_a_track_on_the_same_ground(ledgers: Any) -> None:
    """A late scene shows the lake earlier, which gives it another track; then it splits."""
    west, east = cells(1, 1, 2.4, 4), cells(2.6, 1, 4, 4)
    world = [
        SceneContent(()),
        SceneContent((LAKE, POND)),
        SceneContent((LAKE, POND)),
        SceneContent((west, east, POND)),
    ]
    ledger = ledgers()
    ledger.arrive(world, [0])
    ledger.arrive(world, [2])
    old, pond = track_at(ledger, LAKE), track_at(ledger, POND)
    decide(ledger, old, Verdict.REJECTED)
    decide(ledger, pond, Verdict.CONFIRMED)
    ledger.arrive(world, [1])
    new = track_at(ledger, LAKE)
    assert new != old
    (now,) = ledger.rows("SELECT track_id, review, reviewer FROM watch.objects_now")
    assert (now["track_id"], now["review"], now["reviewer"]) == (track_at(ledger, POND), "confirmed", "ada")
    told = len(alerts(ledger))
    ledger.arrive(world, [3])
    assert {track_at(ledger, west), track_at(ledger, east)} > {new}
    assert len(ledger.rows("SELECT 1 FROM watch.objects_now")) == 1
    assert len(alerts(ledger)) == told
    carried = ledger.rows("SELECT verdict, carried_from FROM watch.reviews WHERE holds ORDER BY decided_at")
    assert [(row["verdict"], row["carried_from"] is None) for row in carried] == [
        ("rejected", True), ("confirmed", True), ("rejected", False), ("confirmed", False), ("rejected", False),
    ]  # fmt: skip


def test_outlines_that_explode_together_carry_no_verdict_and_cost_little(
    ledgers: Any, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Of some thousand vertices each, whose intersection has hundreds of millions."""
    lake, pond = cells(0, 0, 2, 2), cells(4, 4, 6, 6)
    ledger: Ledger = ledgers()
    ledger.arrive([SceneContent((lake, pond))], [0])
    decide(ledger, track_at(ledger, lake), Verdict.CONFIRMED)
    spiky = shapely.transform(comb(10_000), lambda at: at * 0.01 + (10.0, 50.0))
    across = shapely.transform(comb(10_000), lambda at: at[:, ::-1] * 0.01 + (10.0, 50.0))
    believe(
        database,
        f"UPDATE segwatch.review SET outline = ST_GeomFromWKB('\\x{shapely.to_wkb(spiky, hex=True)}', 4326)",
    )
    begun = time.monotonic()
    with ledger.engine.begin() as conn:
        verdicts.carry_over(conn, {track_at(ledger, pond): across})
    assert time.monotonic() - begun < 30
    assert "is not carried over" in caplog.text
    assert len(ledger.rows("SELECT 1 FROM watch.reviews")) == 1
    with ledger.engine.begin() as conn:
        verdicts.carry_over(conn, {track_at(ledger, pond): spiky})
    assert len(ledger.rows("SELECT 1 FROM watch.reviews")) == 2, "one outline alone is no problem"


def test_an_edit_holds_until_the_object_changes_and_is_kept(ledgers: Any) -> None:
    drawn = cells(1.2, 1.2, 3.9, 3.9)
    world = [SceneContent((LAKE,)), SceneContent((LAKE,)), SceneContent((cells(1, 1, 6, 4),))]
    ledger = ledgers()
    ledger.arrive(world, [0])
    lake = track_at(ledger, LAKE)
    decide(ledger, lake, Verdict.EDITED, outline=drawn)
    query = "SELECT track_id, ST_AsText(geom) AS geom, round(area_m2::numeric) AS area, review FROM watch.objects_now"
    (edited,) = ledger.rows(query)
    assert (edited["track_id"], edited["review"]) == (lake, "edited")
    assert shapely.from_wkt(edited["geom"]).equals(drawn)
    ledger.arrive(world, [1])
    assert ledger.rows(query) == [edited], "seen again as it was: the edit holds"
    ledger.arrive(world, [2])
    (grown,) = ledger.rows(query)
    assert grown["area"] > edited["area"]
    (kept,) = ledger.rows("SELECT verdict, ST_Equals(geom, ST_GeomFromText(:drawn, 4326)) AS same FROM watch.reviews",
                          drawn=drawn.wkt)  # fmt: skip
    assert (kept["verdict"], kept["same"]) == ("edited", True)


def test_the_next_verdict_replaces_the_last_and_is_sent_once(ledgers: Any) -> None:
    ledger = ledgers()
    ledger.arrive([SceneContent((LAKE,)), SceneContent((LAKE,))], [0])
    lake = track_at(ledger, LAKE)
    assert decide(ledger, lake, Verdict.REJECTED).created
    assert not decide(ledger, lake, Verdict.REJECTED).created
    assert decide(ledger, lake, Verdict.CONFIRMED, reviewer="grace").created
    assert [row["review"] for row in ledger.rows("SELECT review FROM watch.objects_now")] == ["confirmed"]
    rows = ledger.rows("SELECT verdict, reviewer, reason, holds FROM watch.reviews ORDER BY decided_at")
    assert [tuple(row.values()) for row in rows] == [
        ("rejected", "ada", "seen from the bridge", False),
        ("confirmed", "grace", "seen from the bridge", True),
    ]


@pytest.mark.parametrize(
    ("verdict", "more", "words"),
    [
        (Verdict.CONFIRMED, {"reviewer": " "}, "reviewer"),
        (Verdict.CONFIRMED, {"reviewer": "a\0"}, "reviewer: NUL"),
        (Verdict.REJECTED, {"reason": ""}, "reason"),
        (Verdict.REJECTED, {"reason": "half \ud800"}, "reason: NUL"),
        (Verdict.REJECTED, {"reason": "x" * 3000}, "got 3000"),
        (Verdict.EDITED, {}, "outline"),
        (Verdict.REJECTED, {"outline": LAKE}, "no other"),
        (Verdict.EDITED, {"outline": LineString([(0, 0), (1, 1)])}, "Polygon"),
        (Verdict.EDITED, {"outline": MultiPolygon()}, "Polygon"),
        (Verdict.EDITED, {"outline": Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])}, "Self-intersection"),
        (Verdict.EDITED, {"outline": box(500_000, 0, 500_100, 100)}, "degrees"),
    ],
)
def test_an_invalid_review_is_refused(
    ledgers: Any, verdict: Verdict, more: dict[str, Any], words: str
) -> None:
    ledger = ledgers()
    ledger.arrive([SceneContent((LAKE,))], [0])
    lake = track_at(ledger, LAKE)
    with pytest.raises(ReviewRefused, match=words):
        decide(ledger, lake, verdict, **more)
    assert ledger.rows("SELECT * FROM segwatch.review") == []


@pytest.mark.parametrize(
    ("outline", "words"),
    [
        (cells(20, 1, 23, 4), "m away from the object"),
        (cells(3.9, 1, 6.9, 4), "shares 3.3% with the object"),
        (cells(-40, -40, 40, 40), "at most 100 times as large"),
        (cells(2, 2, 2.05, 2.05), "reject the object instead"),
    ],
    ids=["elsewhere", "beside", "huge", "tiny"],
)
def test_a_geometry_elsewhere_is_refused(ledgers: Any, outline: Any, words: str) -> None:
    ledger = ledgers()
    ledger.arrive([SceneContent((LAKE,))], [0])
    with pytest.raises(ReviewRefused, match=words):
        decide(ledger, track_at(ledger, LAKE), Verdict.EDITED, outline=outline)
    assert ledger.rows("SELECT * FROM segwatch.review") == []


def test_repeated_edits_cannot_move_an_object_away(ledgers: Any) -> None:
    ledger = ledgers()
    ledger.arrive([SceneContent((LAKE,))], [0])
    lake = track_at(ledger, LAKE)
    decide(ledger, lake, Verdict.EDITED, outline=cells(3, 1, 6, 4))
    with pytest.raises(ReviewRefused, match="m away from the object"):
        decide(ledger, lake, Verdict.EDITED, outline=cells(5, 1, 8, 4))


def messages_by_channel(ledger: Ledger, track: Any) -> list[tuple[str, str, str | None, str]]:
    query = (
        "SELECT channel, payload ->> 'type' AS type, payload #>> '{data,reason}' AS reason, state"
        " FROM segwatch.delivery WHERE track_id = :track ORDER BY sequence"
    )
    return [(row["channel"][-1], row["type"].rpartition(".")[2], row["reason"], row["state"])
            for row in ledger.rows(query, track=track)]  # fmt: skip


def test_a_rejection_retracts_alerts_and_corrects_notified_channels(ledgers: Any) -> None:
    """One channel accepted the alert, the other was not tried yet."""
    ledger = ledgers()
    ledger.arrive([SceneContent(()), SceneContent((LAKE, POND))], [0, 1])
    lake = track_at(ledger, LAKE)
    with ledger.engine.begin() as conn:
        for one in outbox.lease(conn, worker="w", seconds=60, limit=9):
            if one.channel == CHANNELS[0]:
                outbox.record_delivered(conn, one.id)
            else:
                outbox.release(conn, "w", [one.id])
    decide(ledger, lake, Verdict.REJECTED)
    assert messages_by_channel(ledger, lake) == [
        ("1", "alert", None, "delivered"), ("2", "alert", None, "dead"), ("1", "retracted", "rejected", "pending"),
    ]  # fmt: skip
    query = """
        SELECT status, status_by, status_note, retracted_at IS NULL AS holds FROM watch.alerts WHERE track_id = :lake
    """
    (closed,) = ledger.rows(query, lake=lake)
    assert (closed["status"], closed["status_by"], closed["holds"]) == ("resolved", "ada", False)
    assert closed["status_note"] == "the object was rejected in review: seen from the bridge"
    decide(ledger, lake, Verdict.REJECTED, reviewer="grace")
    assert len(messages_by_channel(ledger, lake)) == 3, "said once"
    decide(ledger, lake, Verdict.CONFIRMED)
    assert messages_by_channel(ledger, lake) == [
        ("1", "alert", None, "delivered"), ("2", "alert", None, "pending"), ("1", "retracted", "rejected", "pending"),
        ("1", "reinstated", None, "pending"),
    ]  # fmt: skip
    (open_again,) = ledger.rows(query, lake=lake)
    assert (open_again["status"], open_again["holds"]) == ("open", True)
    corrections = ledger.rows("SELECT kind FROM watch.alert_corrections ORDER BY ordinal")
    assert [row["kind"] for row in corrections] == ["retracted", "reinstated"]


def test_a_message_that_is_being_sent_is_corrected_afterwards(ledgers: Any) -> None:
    ledger = ledgers()
    ledger.arrive([SceneContent(()), SceneContent((LAKE,))], [0, 1])
    with ledger.engine.begin() as conn:
        outbox.lease(conn, worker="w", seconds=60, limit=9)
    decide(ledger, track_at(ledger, LAKE), Verdict.REJECTED)
    states = [(one[1], one[3]) for one in messages_by_channel(ledger, track_at(ledger, LAKE))]
    assert states == [("alert", "pending")] * 2 + [("retracted", "pending")] * 2


def test_a_rejected_object_whose_change_is_disproved_is_retracted_once(ledgers: Any) -> None:
    """A change that is shown again alerts nobody until the rejection is reversed."""
    ledger = ledgers()
    grown = SceneContent((cells(1, 1, 6, 4),))
    ledger.arrive([SceneContent((LAKE,)), grown, grown], [0, 2])
    lake = track_at(ledger, LAKE)
    with ledger.engine.begin() as conn:
        for one in outbox.lease(conn, worker="w", seconds=60, limit=9):
            outbox.record_delivered(conn, one.id)
    decide(ledger, lake, Verdict.REJECTED)
    ledger.arrive([SceneContent((LAKE,)), grown, grown], [1])
    kinds = [one[1] for one in messages_by_channel(ledger, lake)]
    assert kinds.count("retracted") == len(CHANNELS)
    ledger.give_up(1, skipped=True, version=1)
    ledger.track()
    assert "reinstated" not in [one[1] for one in messages_by_channel(ledger, lake)]
    decide(ledger, lake, Verdict.CONFIRMED)
    kinds = [one[1] for one in messages_by_channel(ledger, lake)]
    assert kinds.count("reinstated") == len(CHANNELS)


def test_a_track_that_comes_back_takes_the_verdict_of_its_ground(ledgers: Any) -> None:
    """A late scene gives the lake another track, which is rejected; then the scene turns out to be cloudy."""
    ledger = ledgers()
    world = [SceneContent(()), SceneContent((LAKE,)), SceneContent((LAKE,))]
    ledger.arrive(world, [0])
    ledger.arrive(world, [2])
    first = track_at(ledger, LAKE)
    ledger.arrive(world, [1])
    assert track_at(ledger, LAKE) != first
    decide(ledger, track_at(ledger, LAKE), Verdict.REJECTED)
    ledger.give_up(1, skipped=True, version=1)
    ledger.track()
    assert track_at(ledger, LAKE) == first
    assert ledger.rows("SELECT * FROM watch.objects_now") == []


def test_unknown_objects_are_named(ledgers: Any) -> None:
    unknown = uuid4()
    with pytest.raises(NotFound, match=str(unknown)):
        decide(ledgers(), unknown, Verdict.CONFIRMED)


def test_the_analyst_reads_reviews_and_writes_none(ledgers: Any, analyst_engine: Any) -> None:
    ledger = ledgers()
    ledger.arrive([SceneContent((LAKE,), EVERYTHING)], [0])
    with analyst_engine.begin() as conn, pytest.raises(ProgrammingError, match="permission denied"):
        reviews.decide(conn, track_at(ledger, LAKE), Verdict.CONFIRMED, **WHY)
