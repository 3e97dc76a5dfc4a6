"""The outbox: lease what is due, then mark it delivered or failed. At least once, under a stable key.

Messages about one object reach a channel in the order they were written: a later one waits until the earlier one
is delivered or given up. A channel that fails again and again is left alone for a while (a circuit breaker), so that
it takes no time from the others.
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
from segwatch.db.withdrawing import NAMED
from segwatch.geo.text.printable import clean

#: Failures in a row after which a channel is left alone.
BREAKER_FAILURES = 5
#: The longest rest, seconds.
_LONGEST_REST_SECONDS = 900.0

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
                            -- a digest holds up only what corrects its alerts
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
_WELL = text(
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
#: What fails together counts once while the channel rests already.
_ILL = text(
    """
    INSERT INTO segwatch.channel AS c (name, failures, last_error)
    SELECT channel, 1, :reason FROM segwatch.delivery WHERE id = :id
    ON CONFLICT (name) DO UPDATE
    SET last_error = excluded.last_error, changed_at = clock_timestamp(),
        failures = CASE WHEN c.resting_until > clock_timestamp() THEN c.failures ELSE c.failures + 1 END,
        resting_until = CASE
            WHEN c.resting_until > clock_timestamp() THEN c.resting_until
            WHEN c.failures + 1 >= :threshold THEN clock_timestamp() + make_interval(secs =>
                least(:longest, :rest_seconds * power(2, least(c.failures + 1 - :threshold, 20)))) END
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
#: What waits for its digest is given up with it, so that both can be sent again together.
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
    """
    SELECT c.name, c.failures, c.resting_until, c.gone_at, c.last_error, c.changed_at,
           count(d.id) FILTER (WHERE d.state = 'pending') AS pending,
           count(d.id) FILTER (WHERE d.state = 'dead') AS given_up,
           count(d.id) FILTER (WHERE d.state = 'withdrawn' AND d.last_error IS NOT NULL) AS withdrawn,
           coalesce(array_agg(DISTINCT w.name || ', rule ' || a.rule) FILTER (WHERE a.id IS NOT NULL), '{}') AS rules
    FROM segwatch.channel c
    LEFT JOIN segwatch.delivery d ON d.channel = c.name AND d.state IN ('pending', 'dead', 'withdrawn')
    LEFT JOIN segwatch.alert a ON a.id = d.alert_id LEFT JOIN segwatch.watch w ON w.id = a.watch_id
    WHERE c.gone_at IS NOT NULL OR c.failures > 0
    GROUP BY c.name ORDER BY c.gone_at NULLS LAST, c.name
    """
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
#: What is pending, but for what a courier has leased; digests wait for their time like single messages.
_WAITING = text(
    """
    SELECT count(*) FILTER (WHERE t.resting) AS resting,
           min(c.resting_until) FILTER (WHERE t.resting) AS resting_until,
           count(*) FILTER (WHERE NOT t.resting AND t.due > clock_timestamp()) AS later,
           min(t.due) FILTER (WHERE NOT t.resting AND t.due > clock_timestamp()) AS later_at
    FROM segwatch.delivery d
    LEFT JOIN segwatch.channel c ON c.name = d.channel
    CROSS JOIN LATERAL (
        SELECT coalesce(d.digest_at, d.next_attempt_at) AS due,
               coalesce(c.resting_until > clock_timestamp(), false) AS resting) t
    WHERE d.state = 'pending' AND d.digest_id IS NULL AND (d.lease_until IS NULL OR d.lease_until < clock_timestamp())
    """
)
#: What was withdrawn comes back once its rule names the channel again. What was corrected meanwhile is not said
#: again: the newer message stands. Alerts come back with their digest.
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
_AWAKE = text(
    """
    UPDATE segwatch.channel SET failures = 0, resting_until = NULL, gone_at = NULL, changed_at = clock_timestamp()
    WHERE name = ANY(CAST(:names AS text[]))
    """
)


#: Alerts whose time has come, that still hold and that nobody has marked; each is told once.
_DUE_TO_ESCALATE = text(
    """
    WITH due AS (
        SELECT a.id, c.track_id,
               (SELECT d.payload -> 'data' FROM segwatch.delivery d WHERE d.alert_id = a.id
                ORDER BY d.sequence LIMIT 1) AS data
        FROM segwatch.alert a JOIN segwatch.change c ON c.id = a.change_id
        WHERE a.escalate_at <= clock_timestamp() AND c.retracted_at IS NULL
        ORDER BY a.escalate_at, a.id FOR UPDATE OF a SKIP LOCKED
    )
    UPDATE segwatch.alert a SET escalate_at = NULL FROM due
    WHERE a.id = due.id AND due.data IS NOT NULL
    RETURNING a.id, due.track_id, a.escalate_to, due.data, clock_timestamp() AS now
    """
)


@dataclass(frozen=True, slots=True)
class DeliveryLease:
    """One message to send to one channel."""

    id: UUID
    channel: str
    """Address of a webhook, or the name of a service after ``apprise:``."""
    idempotency_key: str
    """The same however often it is sent."""
    payload: dict[str, Any]
    attempts: int
    """Attempts before this one."""


@dataclass(frozen=True, slots=True)
class HeldMessages:
    """Messages that another courier has leased."""

    worker: str
    messages: int
    until: datetime
    """When the last of its leases expires unless it is renewed, UTC."""

    def __str__(self) -> str:
        return f"{self.messages} message(s) held by {self.worker} until {self.until:%H:%M:%S} UTC"


def lease(
    conn: Connection, *, worker: str, seconds: float, limit: int, but_not: Sequence[str] = ()
) -> list[DeliveryLease]:
    """Lease up to ``limit`` deliveries that are due, the longest due first; one an object and channel.

    Channels of ``but_not`` are left out.
    """
    values = {"worker": worker, "seconds": seconds, "limit": limit, "but_not": list(but_not)}
    rows = conn.execute(_LEASE, values).all()
    rows = sorted(rows, key=lambda row: (row.next_attempt_at, row.sequence))
    return [
        DeliveryLease(row.id, row.channel, row.idempotency_key, row.payload, row.attempts) for row in rows
    ]


def delivered(conn: Connection, identity: UUID) -> None:
    """The channel took it, and is well."""
    conn.execute(_DELIVERED, {"id": identity})
    conn.execute(_WELL, {"id": identity})


def failed(
    conn: Connection,
    identity: UUID,
    reason: str,
    *,
    retry_in_seconds: float,
    give_up_seconds: float | None,
    rest_seconds: float | None,
) -> bool:
    """The channel did not take it: due again after a while, dead once it was tried for ``give_up_seconds``.

    None of these where the channel is to blame: however long it is out, it gets its messages once it is back.
    ``rest_seconds`` is the channel's first rest after :data:`BREAKER_FAILURES` failures in a row, doubled with each
    further one; None where the failure says nothing about the channel.

    Returns
    -------
    bool
        Whether the channel rests now.
    """
    reason = clean(reason)
    values = {"id": identity, "reason": reason, "retry_in_seconds": retry_in_seconds}
    conn.execute(_FAILED, values | {"give_up_seconds": give_up_seconds})
    if rest_seconds is None:
        return False
    ill = {"id": identity, "reason": reason, "rest_seconds": rest_seconds}
    limits = {"threshold": BREAKER_FAILURES, "longest": _LONGEST_REST_SECONDS}
    return bool(conn.execute(_ILL, ill | limits).scalar())


def gone(conn: Connection, identity: UUID, reason: str) -> int:
    """The channel wants no message any more: it is set aside until :func:`replay` tries it again.

    Returns
    -------
    Messages that are given up: this one and those that wait for the same channel.
    """
    conn.execute(_GONE, {"id": identity, "reason": clean(reason)})
    return give_up_gone(conn)


def give_up_gone(conn: Connection) -> int:
    """Give up what has come meanwhile for channels that want no message any more; how many messages."""
    return conn.execute(_GIVE_UP).rowcount


def ailing_channels(conn: Connection) -> list[dict[str, Any]]:
    """Channels that fail or are gone, with what waits for them, what was given up, and whose rules they are."""
    return [dict(row) for row in conn.execute(_CHANNELS).mappings()]


def release(conn: Connection, worker: str, identities: Sequence[UUID]) -> None:
    """Give leased deliveries back untried."""
    conn.execute(_RELEASE, {"worker": worker, "ids": list(identities)})


def release_all(conn: Connection, worker: str) -> int:
    """Give back every message that a courier holds, uncounted; how many."""
    return conn.execute(_RELEASE_ALL, {"worker": worker}).rowcount


def renew(conn: Connection, worker: str, seconds: float) -> int:
    """Extend the leases that a courier holds by so many seconds from now; how many."""
    return conn.execute(_RENEW, {"worker": worker, "seconds": seconds}).rowcount


def held_by_others(conn: Connection, worker: str) -> list[HeldMessages]:
    """Leases of other couriers that have not expired: they are free then unless their courier renews them."""
    return [HeldMessages(*row) for row in conn.execute(_HELD_BY_OTHERS, {"worker": worker})]


def waiting(conn: Connection) -> list[str]:
    """What is pending and may not be sent yet, in words; empty where there is nothing of the kind."""
    row = conn.execute(_WAITING).one()
    said = []
    if row.resting:
        until = f"{row.resting_until:%Y-%m-%d %H:%M:%S} UTC"
        said.append(f"{row.resting} message(s) of channels whose circuit is open, the first until {until}")
    if row.later:
        at = f"{row.later_at:%Y-%m-%d %H:%M:%S} UTC"
        said.append(f"{row.later} message(s) whose time comes later, the first at {at}")
    return said


def replay(conn: Connection, *, channel: str | None = None, alert_id: UUID | None = None) -> int:
    """Try again what was given up, of one channel or alert or of all; how many messages.

    Messages that a delivered correction has overtaken stay given up. A channel that rests or is gone is tried again.
    """
    names = conn.execute(_REPLAY, {"channel": channel, "alert_id": alert_id}).scalars().all()
    conn.execute(_AWAKE, {"names": sorted({*names, *([channel] if channel else ())})})
    return len(names)


def escalate(conn: Connection) -> int:
    """Write the messages about alerts that nobody has marked in time; how many alerts."""
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
                    "payload": messages.message(messages.ESCALATED, identity, alert.data, alert.now),
                    "state": "pending",
                    "track_id": alert.track_id,
                }
            )
    if rows:
        conn.execute(insert(tables.delivery).on_conflict_do_nothing(), rows)
    return len(due)
