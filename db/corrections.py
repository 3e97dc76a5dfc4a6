"""Corrections of alerts: what was told does not hold after all, or holds again.

An alert stops holding when a later scene disproves its change or a review rejects its object, and holds again once
neither is so. Either way the feeds get a correction (``alert_correction``) and every channel that was told gets a
message, once for each turn: whether one is due is read from the last correction, so that a rejected object whose change
is then disproved, too, is retracted once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import messages, tables
from segwatch.db.codec import load_watch
from segwatch.db.ids import make_id
from segwatch.db.publishing import Turn, notify
from segwatch.geo.types.watch import AlertRule

#: Why a delivery was given up without an attempt; what says so comes back when the rejection is taken back.
_REJECTED = "the object was rejected in review"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why alerts do not hold any more."""

    code: str
    """For programs: ``later scene`` or ``rejected``."""
    words: str
    """For people."""


LATER_SCENE = Reason("later scene", "A later scene shows that the change did not happen so.")


def rejection_reason(words: str) -> Reason:
    """The object was rejected for a reason that the reviewer gave."""
    return Reason("rejected", words)


#: What no digest has told yet needs no correction: it is taken out, or put back.
_TAKE_OUT = text(
    """
    UPDATE segwatch.delivery d SET state = 'withdrawn'
    FROM segwatch.alert a
    WHERE a.id = d.alert_id AND a.change_id = ANY(CAST(:ids AS uuid[]))
      AND d.digest_at IS NOT NULL AND d.digest_id IS NULL AND d.state = 'pending'
    """
)
#: What was not sent yet about a rejected object is not sent any more, and nobody else is told instead. A message that
#: is being sent, or retracts something, stays.
_SILENCE = text(
    """
    WITH about AS (
        SELECT a.id FROM segwatch.alert a JOIN segwatch.change c ON c.id = a.change_id
        WHERE c.track_id = :track_id
    ), unheard AS (
        UPDATE segwatch.alert a SET escalate_at = NULL FROM about
        WHERE a.id = about.id AND a.escalate_at IS NOT NULL
    )
    UPDATE segwatch.delivery d SET state = 'dead', last_error = :reason
    FROM about
    WHERE d.alert_id = about.id AND d.state IN ('pending', 'withdrawn')
      AND coalesce(d.lease_until, '-infinity') < clock_timestamp() AND d.payload ->> 'type' <> :retracted
    """
)
_SILENCED = text(
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
#: Only alerts that this turns round: what the feeds said last is something else.
_NOTE = text(
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
#: The message sent last to each channel of some alerts, and whether the channel may have got any of them.
_SAID = text(
    """
    SELECT DISTINCT ON (d.alert_id, d.channel)
           d.alert_id, d.channel, d.ordinal, d.payload, d.track_id, a.revision_id, a.rule,
           d.digest_at IS NOT NULL AND d.digest_id IS NULL AS untold,
           EXISTS (SELECT 1 FROM segwatch.delivery e LEFT JOIN segwatch.delivery m ON m.id = e.digest_id
                   WHERE e.alert_id = d.alert_id AND e.channel = d.channel
                     AND (e.attempts > 0 OR e.delivered_at IS NOT NULL OR m.attempts > 0)) AS heard
    FROM segwatch.alert a JOIN segwatch.delivery d ON d.alert_id = a.id
    WHERE a.id = ANY(CAST(:ids AS uuid[]))
    ORDER BY d.alert_id, d.channel, d.ordinal DESC
    """
)
#: Each watch revision that raised some of these alerts, and the one in force.
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

_Turns = Mapping[tuple[UUID, str], Turn]


def retract(
    conn: Connection, changes: Sequence[UUID], turn: Callable[[AlertRule], Turn], now: datetime
) -> None:
    """Take back the alerts about changes that a later scene has disproved; the changes are marked so already."""
    conn.execute(_TAKE_OUT, {"ids": list(changes)})
    noted = _note(conn, changes, "retracted", now)
    _tell(conn, noted, messages.RETRACTED, _turns(conn, changes, turn), now, LATER_SCENE)


def reinstate(
    conn: Connection, changes: Sequence[UUID], turn: Callable[[AlertRule], Turn], now: datetime
) -> None:
    """Say of alerts that were taken back that they hold again, where they do: not while their object is rejected."""
    turns = _turns(conn, changes, turn)
    for row in conn.execute(_SILENCED, {"ids": list(changes), "reason": _REJECTED}).all():
        at = turns[row.revision_id, row.rule]
        due = at.digest_at or at.not_before if row.digest else at.not_before
        conn.execute(_PUT_BACK, {"id": row.id, "at": due, "now": now})
    noted = _note(conn, changes, "reinstated", now)
    _tell(conn, noted, messages.REINSTATED, turns, now)


def record_update(conn: Connection, changes: Sequence[UUID], now: datetime) -> None:
    """Say in the feeds that the ground of some changes is another one; of what does not hold nothing is said."""
    _note(conn, changes, "updated", now)


def retract_object(
    conn: Connection, track_id: UUID, turn: Callable[[AlertRule], Turn], now: datetime, why: str
) -> None:
    """Take back every alert about an object; its verdict is recorded already."""
    changes = list(conn.execute(_CHANGES, {"track_id": track_id}).scalars())
    silence = {"track_id": track_id, "reason": _REJECTED, "retracted": messages.RETRACTED}
    conn.execute(_SILENCE, silence)
    noted = _note(conn, changes, "retracted", now)
    turns = _turns(conn, changes, turn)
    _tell(conn, noted, messages.RETRACTED, turns, now, rejection_reason(why), only_heard=True)


def reinstate_object(
    conn: Connection, track_id: UUID, turn: Callable[[AlertRule], Turn], now: datetime
) -> None:
    """Say again what :func:`retract_object` took back; the verdict that replaces the rejection is recorded already."""
    reinstate(conn, list(conn.execute(_CHANGES, {"track_id": track_id}).scalars()), turn, now)


def _note(conn: Connection, changes: Sequence[UUID], kind: str, now: datetime) -> list[UUID]:
    values = {"ids": list(changes), "kind": kind, "now": now}
    return sorted(conn.execute(_NOTE, values).scalars())


def _turns(conn: Connection, changes: Sequence[UUID], turn: Callable[[AlertRule], Turn]) -> _Turns:
    """When the rules that alerted about changes may speak now, by watch revision and name.

    Hours are those of the rule in force; of a rule that is there no more, its own.
    """
    found: dict[tuple[UUID, str], Turn] = {}
    for row in conn.execute(_REVISIONS, {"ids": list(changes)}).all():
        for watch in (load_watch(row.definition), load_watch(row.in_force)):
            found |= {(row.id, rule.name): turn(rule) for rule in watch.rules}
    return found


def _tell(
    conn: Connection,
    alerts: Sequence[UUID],
    kind: str,
    turns: _Turns,
    now: datetime,
    reason: Reason | None = None,
    *,
    only_heard: bool = False,
) -> None:
    """A further message about each of these alerts to its channels; to what was not told yet in a digest, none.

    ``only_heard`` leaves out channels that cannot have got anything. That an alert holds again is said to those who
    were told that it does not.
    """
    told: dict[UUID, tuple[UUID, str, Mapping[str, Any]]] = {}
    for said in conn.execute(_SAID, {"ids": list(alerts)}).all():
        data = {name: value for name, value in said.payload["data"].items() if name not in {"reason", "note"}}
        if reason is not None:
            data |= {"reason": reason.code, "note": reason.words}
        told[said.alert_id] = (said.alert_id, kind, data)
        unheard = only_heard and not said.heard
        if (
            said.untold
            or unheard
            or (kind == messages.REINSTATED and said.payload["type"] != messages.RETRACTED)
        ):
            continue
        ordinal = said.ordinal + 1
        identity = make_id("delivery", said.alert_id, said.channel, ordinal)
        row = {
            "id": identity,
            "alert_id": said.alert_id,
            "channel": said.channel,
            "ordinal": ordinal,
            "idempotency_key": str(identity),
            "payload": messages.build_message(kind, identity, data, now),
            "state": "pending",
            "track_id": said.track_id,
            "next_attempt_at": turns[said.revision_id, said.rule].not_before,
        }
        conn.execute(insert(tables.delivery).values(row).on_conflict_do_nothing())
    notify(conn, list(told.values()))
