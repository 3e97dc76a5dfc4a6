"""What follows an alert: one message when its provisional change is decided, whatever is repeated, late or killed."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import jsonschema
import pytest
from shapely.geometry import box
from sqlalchemy import text

from segwatch.db import (
    corrections,
    digests,
    judgements,
    messages,
    outbox,
    publishing,
    reviews,
    tracks,
    watches,
)
from segwatch.db.raising import RuleMatch, SendTime
from segwatch.flows.alerting.channels import render_message
from segwatch.geo.tracking.alert_rules import list_judged_changes, match_changes
from segwatch.geo.types.belief import Belief, BeliefStatus, Evidence
from segwatch.geo.types.tracking import ChangeKind, Judgement, OpenChange, TrackingStep
from segwatch.geo.types.watch import AlertRule, AlertStatus
from tests.support.paths import ROOT

LAKE = box(10.01, 50.01, 10.02, 50.02)
TRACK = UUID(int=1)
PROVISIONAL, CONFIRMED, REFUTED = BeliefStatus
SCHEMA = json.loads((ROOT / "docs/reference/messages.schema.json").read_text())


@dataclass
class Story:
    """A lake that appears on day 0, and what later days say of it."""

    world: Any
    kit: Any
    digest_at: datetime | None = None
    last: OpenChange | None = None
    day: int = -1

    def rule(self, status: str = "provisional", confidence: float = 0.0) -> None:
        """Give the rule of the watch a status and a confidence."""
        with self.world.engine.begin() as conn:
            watch = watches.load_current(conn, "lakes").watch
            (rule,) = watch.rules
            rule = replace(rule, status=AlertStatus(status), confidence=confidence)
            revision = watches.apply(conn, replace(watch, rules=(rule,))).revision_id
        self.world = replace(self.world, revision=revision)

    def turn(self, _: AlertRule) -> SendTime:
        return SendTime(self.kit.day(0), self.digest_at)

    def observe(self, status: BeliefStatus | None, confidence: float = 0.5, *, die: bool = False) -> None:
        """Publish the next day, which gives the change this belief; None shows nothing of it."""
        self.day += 1
        self.world.queue(self.day)
        self.world.answer(LAKE)
        series = self.world.series()
        for kill in [True] * die + [False]:
            with pytest.raises(RuntimeError) if kill else nullcontext(), self.world.engine.begin() as conn:
                ready = tracks.read_next_ready(conn, series)
                assert isinstance(ready, tracks.ReadyObservation)
                step = self.step(ready.observation.id, ready.observation.scene_id, status, confidence)
                before = [self.last] if self.last is not None else []
                (listed,) = list_judged_changes([step], before)
                chosen = [
                    RuleMatch(one.change, one.scene_id, rule, self.turn(rule))
                    for one, rule in match_changes(ready.watch.rules, listed)
                ]
                tracks.publish(
                    conn, series, ready.observation.id, step, chosen, open_before=before, turn=self.turn
                )
                if kill:
                    raise RuntimeError("the process dies before the commit")
        self.remember(step)

    def step(
        self, observation: UUID, scene: UUID, status: BeliefStatus | None, confidence: float
    ) -> TrackingStep:
        first = self.last is None
        change = self.kit.change(TRACK, ChangeKind.APPEARED, self.day, LAKE) if first else self.last.change  # type: ignore[union-attr]
        raised = scene if first else self.last.scene_id  # type: ignore[union-attr]
        states = (self.kit.state(TRACK, LAKE, self.day),)
        found = () if status is None else (self.judge(raised, status, confidence),)
        return TrackingStep(
            observation, scene, states, (change,) if first else (), (), (TRACK,), judgements=found
        )

    def judge(self, scene: UUID, status: BeliefStatus, confidence: float) -> Judgement:
        evidence = Evidence(LAKE, True, self.kit.day(0)) if status is PROVISIONAL else None
        agree, disagree = (1, 2) if status is REFUTED else (self.day + 1, 0)
        belief = Belief(confidence, status, agree, disagree)
        start = self.kit.day(-1)
        return Judgement(scene, TRACK, ChangeKind.APPEARED, belief, start, self.kit.day(0), (), evidence)

    def remember(self, step: TrackingStep) -> None:
        change = step.changes[0] if step.changes else self.last.change  # type: ignore[union-attr]
        if step.judgements:
            (judgement,) = step.judgements
            self.last = OpenChange(change, judgement.change_scene_id, judgement, LAKE)

    def judge_late(self, status: BeliefStatus, confidence: float) -> None:
        """Let a late scene change what the newest observation says of the change."""
        assert self.last is not None
        with self.world.engine.begin() as conn:
            row = conn.execute(
                text(
                    "SELECT id, scene_id, acquired_at FROM segwatch.observation ORDER BY acquired_at DESC LIMIT 1"
                )
            ).one()
            step = self.step(row.id, row.scene_id, status, confidence)
            published = [judgements.PublishedStep(step, row.acquired_at)]
            series = conn.execute(text("SELECT id FROM segwatch.series")).scalar_one()
            now = publishing.next_recorded_time(conn, series)
            judged = judgements.save_judgements(conn, {row.id}, published, [self.last], now)
            corrections.follow_up(conn, [change for change, _ in judged], self.turn, now)
        self.remember(step)

    def rows(self, query: str) -> list[dict[str, Any]]:
        with self.world.engine.connect() as conn:
            return [dict(row) for row in conn.execute(text(query)).mappings()]

    def messages(self) -> list[list[dict[str, Any]]]:
        """Messages of each channel, in order."""
        rows = self.rows(
            "SELECT array_agg(payload ORDER BY sequence) AS sent FROM segwatch.delivery"
            " WHERE alert_id IS NOT NULL GROUP BY channel ORDER BY channel"
        )
        return [row["sent"] for row in rows]

    def types(self) -> list[str]:
        """Types of the messages, the same on both channels."""
        both = [[one["type"].removeprefix("segwatch.alert") for one in sent] for sent in self.messages()]
        if not both:
            return []
        assert both[0] == both[1]
        return both[0]


#: The answer of the scene that raised the change, at its place.
WHY = """
    SELECT w.answer FROM watch.changes c,
        LATERAL (SELECT ST_PointOnSurface(c.geom) AS point) p,
        LATERAL watch.why_not(ST_X(p.point), ST_Y(p.point), c.valid_at, c.watch) w
    WHERE w.observation_id = c.observation_id
"""


@pytest.fixture
def story(world: Any, kit: Any) -> Story:
    made = Story(world, kit)
    made.rule()
    return made


@pytest.mark.parametrize(("status", "kind"), [(CONFIRMED, ".confirmed"), (REFUTED, ".refuted")])
def test_a_provisional_alert_gets_one_message_when_its_change_is_decided(
    story: Story, status: BeliefStatus, kind: str
) -> None:
    story.observe(PROVISIONAL, 0.6)
    story.observe(PROVISIONAL, 0.7)
    assert story.types() == [""]
    story.observe(status, 0.95 if status is CONFIRMED else 0.004)
    story.observe(None)
    assert story.types() == ["", kind]
    for first, follow_up in story.messages():
        assert (first["data"]["status"], first["data"]["confidence"]) == ("provisional", 0.6)
        assert follow_up["data"]["status"] == status.value
        assert follow_up["data"]["follows"] == first["id"]
        assert follow_up["data"]["alert_id"] == first["data"]["alert_id"]
        assert follow_up["data"]["earliest"] < follow_up["data"]["latest"]
        for one in (first, follow_up):
            jsonschema.validate(one, SCHEMA)
            assert one["dataschema"] == messages.DATA_SCHEMA
    kept = story.rows("SELECT kind FROM watch.alert_corrections ORDER BY ordinal")
    assert [row["kind"] for row in kept] == [kind[1:]]


def test_messages_say_in_words_how_sure_they_are(story: Story) -> None:
    story.observe(PROVISIONAL, 0.62)
    story.observe(CONFIRMED, 0.97)
    (first, second), _ = story.messages()
    title, body = render_message(first)
    assert title == "Provisional: lakes: water appeared"
    assert "Provisional: one observation so far, 62 % sure" in body.splitlines()
    title, body = render_message(second)
    assert title == "Confirmed: lakes: water appeared"
    assert "Confirmed by 2 observations, 97 % sure" in body.splitlines()
    assert "happened between 2023-12-31" in body
    old = {name: value for name, value in first["data"].items() if name not in messages.BELIEF}
    assert "Not judged" in render_message(first | {"data": old})[1].splitlines(), (
        "as written by earlier versions"
    )


def test_a_rule_that_asks_for_confirmation_alerts_once_and_nothing_follows(story: Story) -> None:
    story.rule("confirmed", 0.9)
    story.observe(PROVISIONAL, 0.85)
    assert story.types() == []
    story.observe(CONFIRMED, 0.95)
    story.observe(None)
    assert story.types() == [""]
    (first,), _ = story.messages()
    assert (first["data"]["status"], first["data"]["observations_for"]) == ("confirmed", 2)
    assert first["data"]["item_hrefs"] == ["https://stac.example/c/items/a-0"], (
        "the scene that shows the change"
    )


def test_what_is_refuted_first_never_alerts(story: Story) -> None:
    story.rule("confirmed", 0.8)
    story.observe(PROVISIONAL)
    story.observe(REFUTED, 0.001)
    assert story.types() == []
    assert story.rows("SELECT * FROM segwatch.alert") == []


def test_a_process_that_dies_leaves_neither_alert_nor_message_and_repeats_both(story: Story) -> None:
    story.observe(PROVISIONAL, die=True)
    story.observe(CONFIRMED, 0.9, die=True)
    assert story.types() == ["", ".confirmed"]


def test_late_scenes_that_decide_otherwise_are_told_once_each(story: Story) -> None:
    story.observe(PROVISIONAL)
    story.observe(CONFIRMED, 0.9)
    story.judge_late(CONFIRMED, 0.95)
    assert story.types() == ["", ".confirmed"], "nothing new"
    story.judge_late(REFUTED, 0.001)
    story.judge_late(REFUTED, 0.002)
    assert story.types() == ["", ".confirmed", ".refuted"]
    story.judge_late(CONFIRMED, 0.9)
    assert story.types() == ["", ".confirmed", ".refuted", ".confirmed"]
    story.judge_late(REFUTED, 0.001)
    story.judge_late(PROVISIONAL, 0.6)
    story.judge_late(PROVISIONAL, 0.5)
    assert story.types()[4:] == [".refuted", ".provisional"]
    for _, *_, last in story.messages():
        assert last["data"]["reason"] == "no longer refuted"
        jsonschema.validate(last, SCHEMA)
    for first, *others in story.messages():
        assert {one["data"]["follows"] for one in others} == {first["id"]}


def test_a_confirmed_alert_says_once_that_its_change_is_no_longer_confirmed(story: Story) -> None:
    story.rule("confirmed", 0.8)
    story.observe(CONFIRMED, 0.9)
    story.observe(PROVISIONAL, 0.3, die=True)
    story.observe(PROVISIONAL, 0.2)
    assert story.types() == ["", ".provisional"]
    for first, second in story.messages():
        assert (first["data"]["status"], second["data"]["status"]) == ("confirmed", "provisional")
        assert (second["data"]["confidence"], second["data"]["reason"]) == (0.3, "no longer confirmed")
        assert second["data"]["follows"] == first["id"]
        jsonschema.validate(second, SCHEMA)
        title, body = render_message(second)
        assert title == "No longer confirmed: lakes: water appeared"
        assert "uncertain whether the change happened" in body
    (alert,) = story.rows("SELECT status, change_status FROM watch.alerts")
    assert (alert["status"], alert["change_status"]) == ("open", "provisional")
    story.observe(CONFIRMED, 0.9)
    story.observe(PROVISIONAL, 0.2)
    story.observe(REFUTED, 0.004)
    story.observe(None)
    assert story.types()[2:] == [".confirmed", ".provisional", ".refuted"]
    kept = story.rows("SELECT kind FROM watch.alert_corrections ORDER BY ordinal")
    assert [row["kind"] for row in kept] == ["provisional", "confirmed", "provisional", "refuted"]
    assert all("reason" not in sent[-1]["data"] for sent in story.messages())


def test_a_digest_leaves_out_what_is_no_longer_as_sure_as_its_rule_asks(story: Story) -> None:
    story.rule("confirmed", 0.8)
    story.digest_at = story.kit.day(0)
    story.observe(CONFIRMED, 0.9)
    story.observe(PROVISIONAL, 0.3)
    assert _write_digest(story) == []
    story.observe(CONFIRMED, 0.9)
    assert len(_write_digest(story)) == 2
    assert story.types() == [""]


def test_while_an_object_is_rejected_nothing_follows_and_then_the_truth_does(story: Story) -> None:
    story.observe(PROVISIONAL)
    with story.world.engine.begin() as conn:
        conn.execute(
            text("UPDATE segwatch.delivery SET attempts = 1, state = 'delivered', delivered_at = now()")
        )
        reviews.decide(
            conn, TRACK, reviews.Verdict.REJECTED, reviewer="eve", reason="a shadow", turn=story.turn
        )
    assert story.types() == ["", ".retracted"]
    story.observe(CONFIRMED, 0.9)
    assert story.types() == ["", ".retracted"]
    with story.world.engine.begin() as conn:
        reviews.decide(
            conn, TRACK, reviews.Verdict.CONFIRMED, reviewer="eve", reason="a lake", turn=story.turn
        )
    assert story.types() == ["", ".retracted", ".reinstated", ".confirmed"]
    with story.world.engine.begin() as conn:
        reviews.decide(
            conn, TRACK, reviews.Verdict.REJECTED, reviewer="eve", reason="a shadow", turn=story.turn
        )
        reviews.decide(
            conn, TRACK, reviews.Verdict.CONFIRMED, reviewer="eve", reason="a lake", turn=story.turn
        )
    assert story.types()[4:] == [".retracted", ".reinstated"], "it was confirmed already"


def _write_digest(story: Story) -> list[dict[str, Any]]:
    with story.world.engine.begin() as conn:
        digests.write_due(conn)
    return [
        row["payload"] for row in story.rows("SELECT payload FROM segwatch.delivery WHERE alert_id IS NULL")
    ]


def test_a_digest_says_what_is_known_when_it_is_sent(story: Story) -> None:
    story.digest_at = story.kit.day(0)
    story.observe(PROVISIONAL)
    story.observe(CONFIRMED, 0.97)
    assert story.types() == [""], "the digest has not announced it yet"
    sent = _write_digest(story)
    assert len(sent) == 2
    for one in sent:
        jsonschema.validate(one, SCHEMA)
        (alert,) = one["data"]["alerts"]
        assert (alert["status"], alert["confidence"]) == ("confirmed", 0.97)
        assert "confirmed by 2 observations, 97 % sure" in render_message(one)[1]


def test_refuted_changes_leave_their_digest_and_come_back_if_they_are_confirmed(story: Story) -> None:
    story.digest_at = story.kit.day(0)
    story.observe(PROVISIONAL)
    story.observe(REFUTED, 0.001)
    assert _write_digest(story) == []
    assert {row["state"] for row in story.rows("SELECT state FROM segwatch.delivery")} == {"withdrawn"}
    story.judge_late(CONFIRMED, 0.9)
    assert len(_write_digest(story)) == 2
    story.judge_late(REFUTED, 0.001)
    assert story.types() == ["", ".refuted"]
    follows = {sent[-1]["data"]["follows"] for sent in story.messages()}
    assert follows == {
        str(row["id"]) for row in story.rows("SELECT id FROM segwatch.delivery WHERE alert_id IS NULL")
    }


def test_the_alert_of_a_refuted_change_is_resolved_and_wakes_nobody(story: Story) -> None:
    story.observe(PROVISIONAL)
    (alert,) = story.rows("SELECT status, change_status FROM watch.alerts")
    assert (alert["status"], alert["change_status"]) == ("open", "provisional")
    assert story.rows(WHY) == [{"answer": "alerted"}]
    with story.world.engine.begin() as conn:
        conn.execute(
            text("UPDATE segwatch.alert SET escalate_at = now(), escalate_to = '{https://boss.example/}'")
        )
    story.observe(REFUTED, 0.001)
    with story.world.engine.begin() as conn:
        assert outbox.escalate(conn) == 0
    (alert,) = story.rows("SELECT status, status_by, status_note, status_at FROM watch.alerts")
    assert (alert["status"], alert["status_by"]) == ("resolved", "segwatch")
    assert alert["status_note"] == "further observations refute the change"
    assert alert["status_at"] is not None
    assert story.rows(WHY) == [{"answer": "refuted"}], "no alert that holds"
    story.judge_late(CONFIRMED, 0.9)
    assert story.rows(WHY) == [{"answer": "alerted"}]
    with story.world.engine.begin() as conn:
        assert outbox.escalate(conn) == 1
    (boss,) = story.rows("SELECT payload FROM segwatch.delivery WHERE channel = 'https://boss.example/'")
    assert boss["payload"]["data"]["status"] == "confirmed", "what is believed now"


def test_an_alert_whose_change_is_no_longer_confirmed_waits_to_escalate(story: Story) -> None:
    def escalate() -> int:
        with story.world.engine.begin() as conn:
            return outbox.escalate(conn)

    story.rule("confirmed", 0.8)
    story.observe(CONFIRMED, 0.9)
    with story.world.engine.begin() as conn:
        conn.execute(
            text("UPDATE segwatch.alert SET escalate_at = now(), escalate_to = '{https://boss.example/}'")
        )
    story.judge_late(PROVISIONAL, 0.3)
    assert escalate() == 0
    story.judge_late(CONFIRMED, 0.9)
    assert [escalate(), escalate()] == [1, 0]


def test_nothing_follows_alerts_that_were_raised_before_segwatch_judged(story: Story) -> None:
    story.observe(None)
    assert story.types() == [""]
    (first,), _ = story.messages()
    assert [first["data"][name] for name in messages.BELIEF] == [None] * len(messages.BELIEF)
    jsonschema.validate(first, SCHEMA)
