"""Raise alerts: one per change and rule, with one delivery per channel.

Called by :mod:`segwatch.db.tracks` and :mod:`segwatch.db.late_observations` once the judgements of an observation are
stored.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import messages, tables, usage
from segwatch.db.codec import from_ewkb
from segwatch.db.ids import make_id
from segwatch.db.publishing import make_change_id
from segwatch.geo.types.evidence import ChangeEvidence
from segwatch.geo.types.tracking import Change
from segwatch.geo.types.watch import AlertRule


@dataclass(frozen=True, slots=True)
class SendTime:
    """Earliest send time of the messages of a rule, UTC."""

    not_before: datetime
    digest_at: datetime | None = None
    """When the digest with the alert is due; None = the alert is sent by itself."""


@dataclass(frozen=True, slots=True)
class RuleMatch:
    """A change that satisfies an alert rule after a judgement."""

    change: Change
    scene_id: UUID
    """Scene that raised the change."""
    rule: AlertRule
    turn: SendTime
    evidence: ChangeEvidence | None = None
    """Spectral evidence of the change; None where the source has no bands for it."""

    @property
    def change_id(self) -> UUID:
        """Id of the change."""
        return make_change_id(self.scene_id, self.change)

    @property
    def alert_id(self) -> UUID:
        """Id of the alert, if it raises one."""
        return make_id("alert", self.change_id, self.rule.name)

    @property
    def message_ids(self) -> dict[str, UUID]:
        """Channel of the rule -> id of the message about the alert."""
        return {channel: make_id("delivery", self.alert_id, channel) for channel in self.rule.channels}


#: A change satisfies its rule again at every later judgement.
_ALERTED = text("SELECT change_id, rule FROM segwatch.alert WHERE change_id = ANY(CAST(:ids AS uuid[]))")
_ALERTED_ONCE = text(
    """
    SELECT DISTINCT c.track_id, a.rule FROM segwatch.held_change c JOIN segwatch.alert a ON a.change_id = c.id
    WHERE c.track_id = ANY(CAST(:tracks AS uuid[])) AND c.retracted_at IS NULL
      AND c.status IS DISTINCT FROM 'refuted'
    """
)
#: Messages of a rule to a channel in the last hour, and those that the rate limit delays.
_RECENT = text(
    """
    SELECT count(*) FROM segwatch.delivery d
    JOIN segwatch.alert a ON a.id = d.alert_id JOIN segwatch.watch w ON w.id = a.revision_id
    WHERE d.channel = :channel AND a.rule = :rule AND w.name = :watch AND d.ordinal = 0
      AND (d.created_at > CAST(:now AS timestamptz) - interval '1 hour' OR d.next_attempt_at > :now)
    """
)
#: Any role can fill the notification queue, and a full queue would fail the commit.
_NOTIFY = text(
    """
    SELECT pg_notify('segwatch_alert', n.note) FROM unnest(CAST(:notes AS text[])) AS n(note)
    WHERE pg_notification_queue_usage() < 0.5
    """
)
#: A notification holds at most 8 000 bytes; listeners read the rest from the alert.
_NOTIFIED = ("watch", "rule", "kind", "target", "track_id", "change_id", "valid_at")
#: Changes that hold, with their newest belief. One that its later observations refuted, a review rejected or a late
#: scene disproved in the same transaction raises no alert.
_CONTEXT = text(
    f"""
    SELECT c.id AS change_id, c.geom, {messages.BELIEF_COLUMNS}, p.watch,
           CAST(:revision AS uuid) AS watch_revision, p.instruction, p.instruction_revision, p.model,
           p.scene_key, p.scene_id, p.item_hrefs, p.acquired_at, p.observation_id, d.shadow_share, d.shadow_iou,
           segwatch.describe_accuracy(
               segwatch.is_demonstration(p.model), (SELECT a.words FROM segwatch.current_accuracy a
                     WHERE a.series_id = p.series_id AND a.target = c.target)) AS accuracy
    FROM segwatch.held_change c JOIN segwatch.provenance p ON p.observation_id = c.observation_id
    LEFT JOIN LATERAL (
        SELECT n.shadow_share, n.shadow_iou FROM segwatch.detection n
        WHERE n.track_id = c.track_id AND n.observation_id = c.observation_id AND n.shadow_share IS NOT NULL
        ORDER BY n.area_m2 DESC, n.ordinal LIMIT 1) d ON true
    WHERE c.id = ANY(CAST(:ids AS uuid[])) AND c.retracted_at IS NULL AND c.status IS DISTINCT FROM 'refuted'
    """  # noqa: S608 - a part of another file
)
_REVISION = text("SELECT revision_id FROM segwatch.observation WHERE id = :id")


def add_alerts(conn: Connection, observation_id: UUID, chosen: Sequence[RuleMatch], now: datetime) -> int:
    """Add one alert per change and rule and one delivery per channel; returns the number of alerts.

    Pairs of a change and a rule that alerted already, rejected objects and refuted changes raise no alert, and
    once-rules only one per object.

    Parameters
    ----------
    observation_id
        Observation that was published; its watch revision has the rules.
    chosen
        Changes that satisfy a rule after it; their judgements are stored, and detections linked to their tracks.
    """
    new = _drop_alerted(conn, chosen)
    if not new:
        return 0
    revision = conn.execute(_REVISION, {"id": observation_id}).scalar_one()
    found = conn.execute(_CONTEXT, {"ids": sorted({one.change_id for one in new}), "revision": revision})
    context = {row["change_id"]: dict(row) for row in found.mappings()}
    new = _drop_repeated(conn, [one for one in new if one.change_id in context])
    if new:
        _write(conn, new, context, now)
    return len(new)


def _write(
    conn: Connection, new: Sequence[RuleMatch], context: Mapping[UUID, Mapping[str, Any]], now: datetime
) -> None:
    limiter = _RateLimiter(conn, next(iter(context.values()))["watch"], now)
    alerts, deliveries, notes = [], [], []
    for one in new:
        of_change = context[one.change_id]
        row = {
            "id": one.alert_id,
            "change_id": one.change_id,
            "revision_id": of_change["watch_revision"],
            "rule": one.rule.name,
            "created_at": now,
            "raised_as": of_change["status"],
        }
        alerts.append(row | _escalation(one))
        about = {name: value for name, value in of_change.items() if name != "geom"}
        about["evidence"] = None if one.evidence is None else one.evidence.to_json()
        data = messages.build_data(row["id"], one.change, from_ewkb(of_change["geom"]), one.rule, about)
        notes.append((row["id"], messages.ALERT, data))
        deliveries += _make_deliveries(row["id"], one, data, limiter, now)
    conn.execute(insert(tables.alert).on_conflict_do_nothing(), alerts)
    ages = [(now - context[one.change_id]["acquired_at"]).total_seconds() for one in new]
    usage.record_alert_ages(conn, next(iter(context.values()))["watch"], ages)
    if deliveries:
        conn.execute(insert(tables.delivery).on_conflict_do_nothing(), deliveries)
    notify(conn, notes)


def _make_deliveries(
    alert_id: UUID, one: RuleMatch, data: Mapping[str, Any], limiter: _RateLimiter, now: datetime
) -> list[dict[str, Any]]:
    made = []
    for channel, delivery_id in one.message_ids.items():
        due = one.turn.digest_at or limiter.schedule(one.rule, channel, one.turn.not_before)
        made.append(
            {
                "id": delivery_id,
                "alert_id": alert_id,
                "channel": channel,
                "idempotency_key": str(delivery_id),
                "payload": messages.build_message(messages.ALERT, delivery_id, data, now),
                "state": "pending",
                "track_id": one.change.track_id,
                "next_attempt_at": due,
                "digest_at": one.turn.digest_at,
            }
        )
    return made


def _drop_alerted(conn: Connection, chosen: Collection[RuleMatch]) -> list[RuleMatch]:
    """Drop matches of changes and rules that alerted already."""
    ids = sorted({one.change_id for one in chosen})
    alerted = {(row.change_id, row.rule) for row in conn.execute(_ALERTED, {"ids": ids})} if ids else set()
    return [one for one in chosen if (one.change_id, one.rule.name) not in alerted]


def _escalation(one: RuleMatch) -> dict[str, Any]:
    """Compute the columns of an escalation, whose time runs from the earliest send time of the alert."""
    escalation = one.rule.escalation
    if escalation is None:
        return {"escalate_at": None, "escalate_to": []}
    sent_at = one.turn.digest_at or one.turn.not_before
    return {
        "escalate_at": sent_at + timedelta(minutes=escalation.after_minutes),
        "escalate_to": list(escalation.channels),
    }


def _drop_repeated(conn: Connection, chosen: Sequence[RuleMatch]) -> list[RuleMatch]:
    """Drop matches of once-rules that already alerted on this object."""
    tracks = {one.change.track_id for one in chosen if one.rule.once}
    alerted = (
        {(row.track_id, row.rule) for row in conn.execute(_ALERTED_ONCE, {"tracks": list(tracks)})}
        if tracks
        else set()
    )
    kept = []
    for one in chosen:
        key = (one.change.track_id, one.rule.name)
        if one.rule.once and key in alerted:
            continue
        alerted.add(key)
        kept.append(one)
    return kept


class _RateLimiter:
    """Delays the messages of rules with a rate limit."""

    def __init__(self, conn: Connection, watch: str, now: datetime) -> None:
        self._conn = conn
        self._watch = watch
        self._now = now
        self._counts: dict[tuple[str, str], int] = {}

    def schedule(self, rule: AlertRule, channel: str, earliest: datetime) -> datetime:
        """Return the earliest send time of the next message of a rule to a channel, first come, first served."""
        if rule.most_per_hour is None:
            return earliest
        key = (rule.name, channel)
        if key not in self._counts:
            values = {"watch": self._watch, "rule": rule.name, "channel": channel, "now": self._now}
            self._counts[key] = self._conn.execute(_RECENT, values).scalar_one()
        hours = self._counts[key] // rule.most_per_hour
        self._counts[key] += 1
        return earliest + timedelta(hours=hours)


def notify(conn: Connection, alerts: Sequence[tuple[UUID, str, Mapping[str, Any]]]) -> None:
    """Notify listeners on the PostgreSQL channel ``segwatch_alert`` once the transaction commits.

    A notification is a hint, as any role can send one; the function ``watch.notified`` looks up the alert.

    Parameters
    ----------
    alerts
        Alert id, type of message and ``data``.
    """
    notes = [
        json.dumps({"type": kind, "alert_id": str(alert_id)} | {name: data[name] for name in _NOTIFIED})
        for alert_id, kind, data in alerts
    ]
    if notes:
        conn.execute(_NOTIFY, {"notes": notes})
