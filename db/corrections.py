"""Corrections of alerts: following up what is believed, retracting those that do not hold, reinstating those that do.

An alert is followed up when its change gets another status than was said last: a provisional change is confirmed or
refuted, or one that was confirmed becomes provisional again. It is retracted when a late scene disproves its change or
a review rejects its object, and reinstated once neither is the case. Feeds get a row of ``alert_correction``, and every
notified channel gets a message, once per transition: the last correction decides whether one is due, so that a rejected
object whose change is then disproved is retracted once, and observing a scene again confirms nothing twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import messages, tables
from segwatch.db.codec import load_watch
from segwatch.db.ids import make_id
from segwatch.db.raising import SendTime, notify
from segwatch.geo.types.watch import AlertRule

#: Error of deliveries given up by a rejection; they are sent after all when the rejection is reversed.
_REJECTED = "the object was rejected in review"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why alerts are retracted, or their changes provisional again."""

    code: str
    """For programs, as in the schema of messages."""
    words: str
    """For people."""


LATER_SCENE = Reason("later scene", "A later scene shows that the change did not happen so.")
#: Why a change is provisional again, by the status that was said last.
_NO_LONGER = {
    "confirmed": Reason(
        "no longer confirmed", "Further observations leave it uncertain whether the change happened."
    ),
    "refuted": Reason(
        "no longer refuted", "A later scene shows that the change may have happened after all."
    ),
}
_FOLLOW_UPS = {
    "provisional": messages.PROVISIONAL,
    "confirmed": messages.CONFIRMED,
    "refuted": messages.REFUTED,
}


def rejection_reason(words: str) -> Reason:
    """Build the reason for retracting alerts about a rejected object, from the words of the reviewer."""
    return Reason("rejected", words)


#: Alerts that no digest has announced need no correction: they are withdrawn from it, or put back.
_TAKE_OUT = text(
    """
    UPDATE segwatch.delivery d SET state = 'withdrawn'
    WHERE d.alert_id = ANY(CAST(:ids AS uuid[]))
      AND d.digest_at IS NOT NULL AND d.digest_id IS NULL AND d.state = 'pending'
    """
)
_OF_CHANGES = text("SELECT a.id FROM segwatch.alert a WHERE a.change_id = ANY(CAST(:ids AS uuid[]))")
#: Give up unsent messages about a rejected object and its escalation. Messages that are being sent, and retractions,
#: stay.
_GIVE_UP = text(
    """
    WITH about AS (
        SELECT a.id FROM segwatch.alert a JOIN segwatch.change c ON c.id = a.change_id
        WHERE c.track_id = :track_id
    ), calmed AS (
        UPDATE segwatch.alert a SET escalate_at = NULL FROM about
        WHERE a.id = about.id AND a.escalate_at IS NOT NULL
    )
    UPDATE segwatch.delivery d SET state = 'dead', last_error = :reason
    FROM about
    WHERE d.alert_id = about.id AND d.state IN ('pending', 'withdrawn')
      AND coalesce(d.lease_until, '-infinity') < clock_timestamp() AND d.payload ->> 'type' <> :retracted
    """
)
_GIVEN_UP = text(
    """
    SELECT d.id, a.revision_id, a.rule, d.digest_at IS NOT NULL AND d.digest_id IS NULL AS digest
    FROM segwatch.alert a
    JOIN segwatch.held_change c ON c.id = a.change_id
    JOIN segwatch.delivery d ON d.alert_id = a.id
    WHERE a.change_id = ANY(CAST(:ids AS uuid[])) AND c.retracted_at IS NULL
      AND (d.state = 'withdrawn' OR d.state = 'dead' AND d.attempts = 0 AND d.last_error = :reason)
    """
)
_PUT_BACK = text(
    """
    UPDATE segwatch.delivery
    SET state = 'pending', last_error = NULL, tried_since = :now, next_attempt_at = :at,
        digest_at = CASE WHEN digest_at IS NOT NULL THEN CAST(:at AS timestamptz) END
    WHERE id = :id
    """
)
#: Only alerts whose last correction says otherwise.
_RECORD = text(
    """
    INSERT INTO segwatch.alert_correction (alert_id, ordinal, kind, recorded_at)
    SELECT a.id, 1 + coalesce(l.ordinal, 0), :kind, :now
    FROM segwatch.alert a
    JOIN segwatch.held_change c ON c.id = a.change_id
    LEFT JOIN LATERAL (
        SELECT k.ordinal, k.kind FROM segwatch.alert_correction k
        WHERE k.alert_id = a.id ORDER BY k.ordinal DESC LIMIT 1) l ON true
    WHERE a.change_id = ANY(CAST(:ids AS uuid[]))
      AND (c.retracted_at IS NULL) = (:kind <> 'retracted')
      AND (coalesce(l.kind, '') = 'retracted') = (:kind = 'reinstated')
    RETURNING alert_id
    """
)
#: Alerts whose change has another status than they, or their last follow-up, said. Retracted ones wait until they are
#: reinstated; of alerts about changes that were not judged, nothing was said.
_RECORD_JUDGED = text(
    """
    WITH due AS (
        SELECT a.id AS alert_id, 1 + coalesce(l.ordinal, 0) AS ordinal, c.status AS kind,
               coalesce(l.said, a.raised_as) AS said
        FROM segwatch.alert a
        JOIN segwatch.held_change c ON c.id = a.change_id
        LEFT JOIN LATERAL (
            SELECT max(k.ordinal) AS ordinal, (array_agg(k.kind ORDER BY k.ordinal DESC))[1] AS kind,
                   (array_agg(k.kind ORDER BY k.ordinal DESC)
                    FILTER (WHERE k.kind IN ('provisional', 'confirmed', 'refuted')))[1] AS said
            FROM segwatch.alert_correction k WHERE k.alert_id = a.id) l ON true
        WHERE a.change_id = ANY(CAST(:ids AS uuid[])) AND c.retracted_at IS NULL
          AND l.kind IS DISTINCT FROM 'retracted' AND c.status <> coalesce(l.said, a.raised_as)
    ), recorded AS (
        INSERT INTO segwatch.alert_correction (alert_id, ordinal, kind, recorded_at)
        SELECT alert_id, ordinal, kind, :now FROM due)
    SELECT alert_id, kind, said FROM due ORDER BY alert_id
    """
)
#: Alerts that do not belong into a digest now.
_UNSURE = text(
    f"""
    SELECT a.id FROM segwatch.alert a JOIN segwatch.held_change c ON c.id = a.change_id
    WHERE a.change_id = ANY(CAST(:ids AS uuid[])) AND NOT {messages.IS_SURE_SQL}
    """  # noqa: S608 - a part of another file
)
#: Alerts that left their digest because their change was no longer sure enough, and that it is again.
_TAKEN_OUT = text(
    f"""
    SELECT d.id, a.revision_id, a.rule, true AS digest
    FROM segwatch.alert a JOIN segwatch.delivery d ON d.alert_id = a.id
    JOIN segwatch.held_change c ON c.id = a.change_id
    WHERE a.id = ANY(CAST(:ids AS uuid[])) AND d.state = 'withdrawn' AND d.last_error IS NULL
      AND d.digest_at IS NOT NULL AND d.digest_id IS NULL AND {messages.IS_SURE_SQL}
    """  # noqa: S608 - a part of another file
)
#: Last message to each channel of some alerts, and whether the channel may have received any message about them.
_LAST_MESSAGES = text(
    f"""
    SELECT DISTINCT ON (d.alert_id, d.channel)
           d.alert_id, d.channel, d.ordinal, d.payload, d.track_id, a.revision_id, a.rule,
           d.digest_at IS NOT NULL AND d.digest_id IS NULL AS in_digest,
           {messages.BELIEF_COLUMNS},
           (SELECT coalesce(f.digest_id, f.id) FROM segwatch.delivery f
            WHERE f.alert_id = d.alert_id AND f.channel = d.channel ORDER BY f.ordinal LIMIT 1) AS follows,
           EXISTS (SELECT 1 FROM segwatch.delivery e LEFT JOIN segwatch.delivery m ON m.id = e.digest_id
                   WHERE e.alert_id = d.alert_id AND e.channel = d.channel
                     AND (e.attempts > 0 OR e.delivered_at IS NOT NULL OR m.attempts > 0)) AS notified
    FROM segwatch.alert a JOIN segwatch.delivery d ON d.alert_id = a.id
    JOIN segwatch.held_change c ON c.id = a.change_id
    WHERE a.id = ANY(CAST(:ids AS uuid[]))
    ORDER BY d.alert_id, d.channel, d.ordinal DESC
    """  # noqa: S608 - a part of another file
)
#: Watch revisions that raised these alerts, each with the current revision.
_REVISIONS = text(
    """
    SELECT w.id, w.definition, n.definition AS in_force
    FROM segwatch.watch w JOIN segwatch.watch_head h ON h.name = w.name JOIN segwatch.watch n ON n.id = h.revision_id
    WHERE w.id IN (SELECT a.revision_id FROM segwatch.alert a WHERE a.change_id = ANY(CAST(:ids AS uuid[])))
    """
)
_CHANGES = text(
    "SELECT c.id FROM segwatch.change c JOIN segwatch.alert a ON a.change_id = c.id"
    " WHERE c.track_id = :track_id AND c.retracted_at IS NULL"
)

_SendTimes = Mapping[tuple[UUID, str], SendTime]


def retract(
    conn: Connection, changes: Sequence[UUID], turn: Callable[[AlertRule], SendTime], now: datetime
) -> None:
    """Retract the alerts about changes that a later scene disproved; the changes are marked as retracted already."""
    conn.execute(_TAKE_OUT, {"ids": list(conn.execute(_OF_CHANGES, {"ids": list(changes)}).scalars())})
    noted = _record(conn, changes, "retracted", now)
    _queue(conn, noted, messages.RETRACTED, _send_times(conn, changes, turn), now, LATER_SCENE)


def reinstate(
    conn: Connection, changes: Sequence[UUID], turn: Callable[[AlertRule], SendTime], now: datetime
) -> None:
    """Reinstate retracted alerts about changes that hold again, except while their object is rejected."""
    send_times = _send_times(conn, changes, turn)
    given_up = conn.execute(_GIVEN_UP, {"ids": list(changes), "reason": _REJECTED}).all()
    _put_back(conn, given_up, send_times, now)
    noted = _record(conn, changes, "reinstated", now)
    _queue(conn, noted, messages.REINSTATED, send_times, now)
    _take_out_unsure(conn, changes)
    follow_up(conn, changes, turn, now)


def follow_up(
    conn: Connection, changes: Sequence[UUID], turn: Callable[[AlertRule], SendTime], now: datetime
) -> None:
    """Say of alerts that their change has another status than was said last; the judgements are stored already.

    A provisional change was confirmed or refuted, or a decided one is provisional or decided the other way.
    """
    due = conn.execute(_RECORD_JUDGED, {"ids": list(changes), "now": now}).all()
    if not due:
        return
    send_times = _send_times(conn, changes, turn)
    _take_out_unsure(conn, changes)
    taken_out = conn.execute(_TAKEN_OUT, {"ids": [row.alert_id for row in due]}).all()
    _put_back(conn, taken_out, send_times, now)
    by_kind: dict[tuple[str, Reason | None], list[UUID]] = defaultdict(list)
    for row in due:
        reason = _NO_LONGER[row.said] if row.kind == "provisional" else None
        by_kind[_FOLLOW_UPS[row.kind], reason].append(row.alert_id)
    for (kind, reason), alerts in by_kind.items():
        _queue(conn, alerts, kind, send_times, now, reason)


def _take_out_unsure(conn: Connection, changes: Sequence[UUID]) -> None:
    """Leave alerts about changes that are not sure enough out of the digests that have not announced them."""
    unsure = list(conn.execute(_UNSURE, {"ids": list(changes)}).scalars())
    conn.execute(_TAKE_OUT, {"ids": unsure})


def _put_back(conn: Connection, rows: Sequence[Row[Any]], send_times: _SendTimes, now: datetime) -> None:
    """Queue again what was given up or left a digest."""
    for row in rows:
        at = send_times[row.revision_id, row.rule]
        due = at.digest_at or at.not_before if row.digest else at.not_before
        conn.execute(_PUT_BACK, {"id": row.id, "at": due, "now": now})


def record_update(conn: Connection, changes: Sequence[UUID], now: datetime) -> None:
    """Record in the feeds that the geometry of changes was updated; retracted alerts are left out."""
    _record(conn, changes, "updated", now)


def retract_object(
    conn: Connection, track_id: UUID, turn: Callable[[AlertRule], SendTime], now: datetime, why: str
) -> None:
    """Retract every alert about a rejected object; the verdict is recorded already."""
    changes = list(conn.execute(_CHANGES, {"track_id": track_id}).scalars())
    values = {"track_id": track_id, "reason": _REJECTED, "retracted": messages.RETRACTED}
    conn.execute(_GIVE_UP, values)
    noted = _record(conn, changes, "retracted", now)
    send_times = _send_times(conn, changes, turn)
    _queue(conn, noted, messages.RETRACTED, send_times, now, rejection_reason(why), only_notified=True)


def reinstate_object(
    conn: Connection, track_id: UUID, turn: Callable[[AlertRule], SendTime], now: datetime
) -> None:
    """Reinstate the alerts that :func:`retract_object` retracted; the new verdict is recorded already."""
    reinstate(conn, list(conn.execute(_CHANGES, {"track_id": track_id}).scalars()), turn, now)


def _record(conn: Connection, changes: Sequence[UUID], kind: str, now: datetime) -> list[UUID]:
    values = {"ids": list(changes), "kind": kind, "now": now}
    return sorted(conn.execute(_RECORD, values).scalars())


def _send_times(
    conn: Connection, changes: Sequence[UUID], turn: Callable[[AlertRule], SendTime]
) -> _SendTimes:
    """Compute the earliest send time of each rule that alerted, by watch revision and rule name.

    The quiet hours are those of the current rule; of a rule that was removed, its own.
    """
    found: dict[tuple[UUID, str], SendTime] = {}
    for row in conn.execute(_REVISIONS, {"ids": list(changes)}).all():
        for watch in (load_watch(row.definition), load_watch(row.in_force)):
            found |= {(row.id, rule.name): turn(rule) for rule in watch.rules}
    return found


def _queue(
    conn: Connection,
    alerts: Sequence[UUID],
    kind: str,
    send_times: _SendTimes,
    now: datetime,
    reason: Reason | None = None,
    *,
    only_notified: bool = False,
) -> None:
    """Queue a further message about each alert to its channels, except for alerts that wait for their digest.

    It names the first message about the alert on the channel, or the digest with it, as ``follows``.

    ``only_notified`` leaves out channels that cannot have received anything. A reinstatement goes to channels whose
    last message was a retraction.
    """
    queued: dict[UUID, tuple[UUID, str, Mapping[str, Any]]] = {}
    for last in conn.execute(_LAST_MESSAGES, {"ids": list(alerts)}).all():
        data = {name: value for name, value in last.payload["data"].items() if name not in {"reason", "note"}}
        data |= messages.to_json_values({name: getattr(last, name) for name in messages.BELIEF})
        if reason is not None:
            data |= {"reason": reason.code, "note": reason.words}
        queued[last.alert_id] = (last.alert_id, kind, data)
        not_notified = only_notified and not last.notified
        if (
            last.in_digest
            or not_notified
            or (kind == messages.REINSTATED and last.payload["type"] != messages.RETRACTED)
        ):
            continue
        ordinal = last.ordinal + 1
        identity = make_id("delivery", last.alert_id, last.channel, ordinal)
        row = {
            "id": identity,
            "alert_id": last.alert_id,
            "channel": last.channel,
            "ordinal": ordinal,
            "idempotency_key": str(identity),
            "payload": messages.build_message(kind, identity, data | {"follows": str(last.follows)}, now),
            "state": "pending",
            "track_id": last.track_id,
            "next_attempt_at": send_times[last.revision_id, last.rule].not_before,
        }
        conn.execute(insert(tables.delivery).values(row).on_conflict_do_nothing())
    notify(conn, list(queued.values()))
