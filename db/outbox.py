"""The outbox: lease due deliveries, then record them as delivered or failed. At least once, under a stable key.

Messages about one object reach a channel in the order in which they were written: a later one waits until the earlier
one is delivered or given up. A channel that fails repeatedly gets no message for a while (circuit breaker), so that it
does not delay the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import messages, tables
from segwatch.db.ids import make_id
from segwatch.db.withdrawing import NAMED, NAMING_RULES
from segwatch.geo.text.printable import sanitize

#: Failures in a row that open the circuit of a channel.
BREAKER_FAILURES = 5
_MAX_OPEN_SECONDS = 900.0

_LEASE = text(
    """
    WITH due AS (
        SELECT d.id FROM segwatch.delivery d
        WHERE d.state = 'pending' AND d.next_attempt_at <= clock_timestamp() AND d.digest_at IS NULL
          AND d.channel <> ALL(CAST(:but_not AS text[]))
          AND (d.lease_until IS NULL OR d.lease_until < clock_timestamp())
          AND NOT EXISTS (SELECT 1 FROM segwatch.channel c
                          WHERE c.name = d.channel
                            AND (c.resting_until > clock_timestamp() OR c.gone_at IS NOT NULL))
          AND NOT EXISTS (SELECT 1 FROM segwatch.delivery e
                          WHERE e.channel = d.channel AND e.track_id = d.track_id AND e.state = 'pending'
                            AND e.sequence < d.sequence
                            -- an alert that waits for its digest holds back only its own corrections
                            AND (e.digest_at IS NULL OR e.alert_id = d.alert_id))
          AND (d.track_id IS NOT NULL OR NOT EXISTS (
              SELECT 1 FROM segwatch.delivery e
              WHERE e.channel = d.channel AND e.track_id IS NULL AND e.state = 'pending' AND e.sequence < d.sequence
                AND e.payload ->> 'source' = d.payload ->> 'source'
                AND e.payload ->> 'subject' = d.payload ->> 'subject'))
          AND NOT EXISTS (SELECT 1 FROM segwatch.alert_status s
                          WHERE s.track_id = d.track_id AND s.mark = 'snoozed' AND s.until > clock_timestamp())
        ORDER BY d.next_attempt_at, d.sequence LIMIT :limit FOR UPDATE OF d SKIP LOCKED
    )
    UPDATE segwatch.delivery d
    SET lease_worker = :worker, lease_until = clock_timestamp() + make_interval(secs => :seconds),
        attempts = d.attempts + 1
    FROM due WHERE d.id = due.id
    RETURNING d.id, d.channel, d.idempotency_key, d.payload, d.attempts - 1 AS attempts, d.next_attempt_at,
        d.sequence
    """
)
_DELIVERED = text(
    """
    UPDATE segwatch.delivery
    SET state = 'delivered', delivered_at = clock_timestamp(), lease_worker = NULL, lease_until = NULL,
        last_error = NULL
    WHERE (id = :id OR digest_id = :id) AND state <> 'delivered'
    """
)
_CLOSE_CIRCUIT = text(
    """
    UPDATE segwatch.channel SET failures = 0, resting_until = NULL, changed_at = clock_timestamp()
    WHERE name = (SELECT channel FROM segwatch.delivery WHERE id = :id) AND failures > 0
    """
)
_FAILED = text(
    """
    UPDATE segwatch.delivery d
    SET state = CASE WHEN clock_timestamp() >= m.tried_since + make_interval(secs => CAST(:give_up_seconds AS float8))
                     THEN 'dead' ELSE 'pending' END,
        last_error = :reason, next_attempt_at = clock_timestamp() + make_interval(secs => :retry_in_seconds),
        lease_worker = NULL, lease_until = NULL
    FROM segwatch.delivery m
    WHERE m.id = :id AND (d.id = m.id OR d.digest_id = m.id) AND d.state = 'pending'
    """
)
#: Failures at the same time count once: the circuit that the first one opened stays as it is.
_COUNT_FAILURE = text(
    """
    INSERT INTO segwatch.channel AS c (name, failures, last_error)
    SELECT channel, 1, :reason FROM segwatch.delivery WHERE id = :id
    ON CONFLICT (name) DO UPDATE
    SET last_error = excluded.last_error, changed_at = clock_timestamp(),
        failures = CASE WHEN c.resting_until > clock_timestamp() THEN c.failures ELSE c.failures + 1 END,
        resting_until = CASE
            WHEN c.resting_until > clock_timestamp() THEN c.resting_until
            WHEN c.failures + 1 >= :threshold THEN clock_timestamp() + make_interval(secs =>
                least(:longest, :open_seconds * power(2, least(c.failures + 1 - :threshold, 20)))) END
    RETURNING resting_until IS NOT NULL
    """
)
_GONE = text(
    """
    INSERT INTO segwatch.channel AS c (name, failures, last_error, gone_at)
    SELECT channel, 1, :reason, clock_timestamp() FROM segwatch.delivery WHERE id = :id
    ON CONFLICT (name) DO UPDATE
    SET last_error = excluded.last_error, changed_at = clock_timestamp(), failures = c.failures + 1,
        gone_at = coalesce(c.gone_at, excluded.gone_at), resting_until = NULL
    """
)
#: Alerts are given up with their digest, so that both can be replayed together.
_GIVE_UP = text(
    """
    UPDATE segwatch.delivery d
    SET state = 'dead', last_error = c.last_error, lease_worker = NULL, lease_until = NULL
    FROM segwatch.channel c
    WHERE c.name = d.channel AND c.gone_at IS NOT NULL AND d.state = 'pending'
      AND (d.digest_at IS NULL OR d.digest_id IS NOT NULL)
    """
)
_CHANNELS = text(
    f"""
    SELECT c.name, c.failures, c.resting_until, c.gone_at, c.last_error, c.changed_at,
           count(d.id) FILTER (WHERE d.state = 'pending') AS pending,
           count(d.id) FILTER (WHERE d.state = 'dead') AS given_up,
           count(d.id) FILTER (WHERE d.state = 'withdrawn' AND d.last_error IS NOT NULL) AS withdrawn,
           max(d.delivered_at) AS delivered_at, ARRAY({NAMING_RULES}) AS rules
    FROM segwatch.channel c LEFT JOIN segwatch.delivery d ON d.channel = c.name
    WHERE c.gone_at IS NOT NULL OR c.failures > 0
    GROUP BY c.name ORDER BY c.gone_at NULLS LAST, c.name
    """  # noqa: S608 - a part of another file
)
_RELEASE = text(
    """
    UPDATE segwatch.delivery
    SET lease_worker = NULL, lease_until = NULL, attempts = greatest(attempts - 1, 0)
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'pending' AND lease_worker = :worker
    """
)
_RELEASE_ALL = text(
    """
    UPDATE segwatch.delivery
    SET lease_worker = NULL, lease_until = NULL, attempts = greatest(attempts - 1, 0)
    WHERE state = 'pending' AND lease_worker = :worker
    """
)
_RENEW = text(
    """
    UPDATE segwatch.delivery SET lease_until = clock_timestamp() + make_interval(secs => :seconds)
    WHERE state = 'pending' AND lease_worker = :worker
    """
)
_HELD_BY_OTHERS = text(
    """
    SELECT lease_worker AS worker, count(*) AS messages, max(lease_until) AS until FROM segwatch.delivery
    WHERE state = 'pending' AND lease_worker <> :worker AND lease_until >= clock_timestamp()
    GROUP BY lease_worker ORDER BY lease_worker
    """
)
#: Pending messages that no courier has leased; alerts of a digest wait for its time.
_WAITING = text(
    """
    SELECT count(*) FILTER (WHERE t.blocked) AS blocked,
           min(c.resting_until) FILTER (WHERE t.blocked) AS blocked_until,
           count(*) FILTER (WHERE NOT t.blocked AND t.due > clock_timestamp()) AS later,
           min(t.due) FILTER (WHERE NOT t.blocked AND t.due > clock_timestamp()) AS later_at
    FROM segwatch.delivery d
    LEFT JOIN segwatch.channel c ON c.name = d.channel
    CROSS JOIN LATERAL (
        SELECT coalesce(d.digest_at, d.next_attempt_at) AS due,
               coalesce(c.resting_until > clock_timestamp(), false) AS blocked) t
    WHERE d.state = 'pending' AND d.digest_id IS NULL AND (d.lease_until IS NULL OR d.lease_until < clock_timestamp())
    """
)
_CHANNEL_NAMES = text("SELECT DISTINCT channel FROM segwatch.delivery ORDER BY 1")
#: Withdrawn messages come back once their rule names the channel again. Messages that a delivered correction overtook
#: do not. Alerts come back with their digest.
_REPLAY = text(
    f"""
    WITH again AS (
        UPDATE segwatch.delivery d
        SET state = 'pending', next_attempt_at = clock_timestamp(), tried_since = clock_timestamp(), attempts = 0
        WHERE d.digest_at IS NULL
          AND (d.state = 'dead' OR d.state = 'withdrawn' AND d.last_error IS NOT NULL AND EXISTS (
              SELECT 1 FROM segwatch.alert a
              WHERE (a.id = d.alert_id
                     OR a.id IN (SELECT m.alert_id FROM segwatch.delivery m WHERE m.digest_id = d.id))
                AND {NAMED}))
          AND NOT EXISTS (SELECT 1 FROM segwatch.verdict v WHERE v.track_id = d.track_id AND v.verdict = 'rejected')
          AND (CAST(:channel AS text) IS NULL OR d.channel = :channel)
          AND (CAST(:alert_id AS uuid) IS NULL OR d.alert_id = :alert_id
               OR d.id IN (SELECT m.digest_id FROM segwatch.delivery m WHERE m.alert_id = :alert_id))
          AND NOT EXISTS (SELECT 1 FROM segwatch.delivery n
                          WHERE n.alert_id = d.alert_id AND n.channel = d.channel AND n.state = 'delivered'
                            AND n.ordinal > d.ordinal)
        RETURNING d.id, d.channel
    ), members AS (
        UPDATE segwatch.delivery m SET state = 'pending' FROM again
        WHERE m.digest_id = again.id AND m.state IN ('dead', 'withdrawn')
    )
    SELECT channel FROM again
    """  # noqa: S608 - a part of another file
)
_RESET_CHANNELS = text(
    """
    UPDATE segwatch.channel SET failures = 0, resting_until = NULL, gone_at = NULL, changed_at = clock_timestamp()
    WHERE name = ANY(CAST(:names AS text[]))
    """
)


#: Unmarked alerts that are due to escalate, and whose change holds and is as sure as their rule asked for. Each
#: escalates once; what was taken back waits, and escalates if it holds again.
_DUE_TO_ESCALATE = text(
    f"""
    WITH due AS (
        SELECT a.id, c.track_id,
               (SELECT (d.payload -> 'data') || {messages.BELIEF_SQL} FROM segwatch.delivery d WHERE d.alert_id = a.id
                ORDER BY d.sequence LIMIT 1) AS data
        FROM segwatch.alert a JOIN segwatch.held_change c ON c.id = a.change_id
        WHERE a.escalate_at <= clock_timestamp() AND c.retracted_at IS NULL AND {messages.IS_SURE_SQL}
        ORDER BY a.escalate_at, a.id FOR UPDATE OF a SKIP LOCKED
    )
    UPDATE segwatch.alert a SET escalate_at = NULL FROM due
    WHERE a.id = due.id AND due.data IS NOT NULL
    RETURNING a.id, due.track_id, a.escalate_to, due.data, clock_timestamp() AS now
    """  # noqa: S608 - parts of another file
)


@dataclass(frozen=True, slots=True)
class DeliveryLease:
    """One leased message to one channel."""

    id: UUID
    channel: str
    """Address of a webhook, or ``apprise:`` and the name of a service."""
    idempotency_key: str
    """The same for every attempt."""
    payload: dict[str, Any]
    attempts: int
    """Attempts before this one."""


@dataclass(frozen=True, slots=True)
class HeldMessages:
    """Messages that another courier has leased."""

    worker: str
    messages: int
    until: datetime
    """When the last of its leases expires unless renewed, UTC."""

    def __str__(self) -> str:
        return f"{self.messages} message(s) held by {self.worker} until {self.until:%H:%M:%S} UTC"


def lease(
    conn: Connection, *, worker: str, seconds: float, limit: int, but_not: Sequence[str] = ()
) -> list[DeliveryLease]:
    """Lease up to ``limit`` due deliveries, longest due first, at most one per object and channel.

    ``but_not`` names channels to leave out.
    """
    values = {"worker": worker, "seconds": seconds, "limit": limit, "but_not": list(but_not)}
    rows = conn.execute(_LEASE, values).all()
    rows = sorted(rows, key=lambda row: (row.next_attempt_at, row.sequence))
    return [
        DeliveryLease(row.id, row.channel, row.idempotency_key, row.payload, row.attempts) for row in rows
    ]


def record_delivered(conn: Connection, identity: UUID) -> None:
    """Record that the channel accepted the message, which closes its circuit."""
    conn.execute(_DELIVERED, {"id": identity})
    conn.execute(_CLOSE_CIRCUIT, {"id": identity})


def record_failure(
    conn: Connection,
    identity: UUID,
    reason: str,
    *,
    retry_in_seconds: float,
    give_up_seconds: float | None,
    rest_seconds: float | None,
) -> bool:
    """Record a failed attempt: due again after ``retry_in_seconds``, dead once tried for ``give_up_seconds``.

    Parameters
    ----------
    give_up_seconds
        None if the channel is to blame: it gets its messages once it works again.
    rest_seconds
        How long the circuit of the channel opens after :data:`BREAKER_FAILURES` failures in a row, doubled with each
        further one; None if the failure says nothing about the channel.

    Returns
    -------
    bool
        Whether the circuit of the channel is open now.
    """
    reason = sanitize(reason)
    values = {"id": identity, "reason": reason, "retry_in_seconds": retry_in_seconds}
    conn.execute(_FAILED, values | {"give_up_seconds": give_up_seconds})
    if rest_seconds is None:
        return False
    failure = {"id": identity, "reason": reason, "open_seconds": rest_seconds}
    limits = {"threshold": BREAKER_FAILURES, "longest": _MAX_OPEN_SECONDS}
    return bool(conn.execute(_COUNT_FAILURE, failure | limits).scalar())


def record_gone(conn: Connection, identity: UUID, reason: str) -> int:
    """Record that the channel refuses all messages (410 Gone): nothing is sent until :func:`replay`.

    Returns
    -------
    int
        Number of messages given up: this one and those that wait for the channel.
    """
    conn.execute(_GONE, {"id": identity, "reason": sanitize(reason)})
    return give_up_gone(conn)


def give_up_gone(conn: Connection) -> int:
    """Give up messages to channels that are gone; returns how many."""
    return conn.execute(_GIVE_UP).rowcount


def list_failing_channels(conn: Connection) -> list[dict[str, Any]]:
    """List channels that fail or are gone, with counts of their messages and the rules in force that name them."""
    return [dict(row) for row in conn.execute(_CHANNELS).mappings()]


def release(conn: Connection, worker: str, identities: Sequence[UUID]) -> None:
    """Give back leased deliveries untried."""
    conn.execute(_RELEASE, {"worker": worker, "ids": list(identities)})


def release_all(conn: Connection, worker: str) -> int:
    """Give back every delivery that a courier holds without counting an attempt; returns how many."""
    return conn.execute(_RELEASE_ALL, {"worker": worker}).rowcount


def renew(conn: Connection, worker: str, seconds: float) -> int:
    """Extend the leases of a courier to so many seconds from now; returns how many it holds."""
    return conn.execute(_RENEW, {"worker": worker, "seconds": seconds}).rowcount


def list_other_leases(conn: Connection, worker: str) -> list[HeldMessages]:
    """List the unexpired leases of other couriers."""
    return [HeldMessages(*row) for row in conn.execute(_HELD_BY_OTHERS, {"worker": worker})]


def describe_waiting(conn: Connection) -> list[str]:
    """Describe the pending messages that may not be sent yet: one line per cause, none if nothing waits."""
    row = conn.execute(_WAITING).one()
    lines = []
    if row.blocked:
        until = f"{row.blocked_until:%Y-%m-%d %H:%M:%S} UTC"
        lines.append(f"{row.blocked} message(s) of channels whose circuit is open, the first until {until}")
    if row.later:
        at = f"{row.later_at:%Y-%m-%d %H:%M:%S} UTC"
        lines.append(f"{row.later} message(s) that are due later, the first at {at}")
    return lines


def replay(conn: Connection, *, channel: str | None = None, alert_id: UUID | None = None) -> int:
    """Queue given-up messages again, of one channel or alert or of all; returns how many.

    Messages that a delivered correction has overtaken stay given up. Circuits of the channels are closed.
    """
    names = conn.execute(_REPLAY, {"channel": channel, "alert_id": alert_id}).scalars().all()
    conn.execute(_RESET_CHANNELS, {"names": sorted({*names, *([channel] if channel else ())})})
    return len(names)


def list_channels(conn: Connection) -> list[str]:
    """List the channels that messages were ever for, as rules name them."""
    return list(conn.execute(_CHANNEL_NAMES).scalars())


def escalate(conn: Connection) -> int:
    """Queue escalation messages about alerts that nobody marked in time; returns the number of alerts."""
    due = conn.execute(_DUE_TO_ESCALATE).all()
    rows = []
    for alert in due:
        for channel in dict.fromkeys(alert.escalate_to):
            identity = make_id("delivery", alert.id, channel, "escalated")
            rows.append(
                {
                    "id": identity,
                    "alert_id": alert.id,
                    "channel": channel,
                    "idempotency_key": str(identity),
                    "payload": messages.build_message(messages.ESCALATED, identity, alert.data, alert.now),
                    "state": "pending",
                    "track_id": alert.track_id,
                }
            )
    if rows:
        conn.execute(insert(tables.delivery).on_conflict_do_nothing(), rows)
    return len(due)
