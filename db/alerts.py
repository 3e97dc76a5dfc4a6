"""The outbox: lease what is due, then mark it delivered or failed. At least once, under a stable key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

_LEASE = text(
    """
    WITH due AS (
        SELECT d.id FROM segwatch.delivery d
        WHERE d.state = 'pending' AND d.next_attempt_at <= clock_timestamp()
          AND (d.lease_until IS NULL OR d.lease_until < clock_timestamp())
        ORDER BY d.next_attempt_at, d.id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE segwatch.delivery d
    SET lease_worker = :worker, lease_until = clock_timestamp() + make_interval(secs => :seconds),
        attempts = d.attempts + 1
    FROM due WHERE d.id = due.id
    RETURNING d.id, d.channel, d.idempotency_key, d.payload, d.attempts - 1 AS attempts, d.next_attempt_at
    """
)
_DELIVERED = text(
    """
    UPDATE segwatch.delivery
    SET state = 'delivered', delivered_at = clock_timestamp(), lease_worker = NULL, lease_until = NULL,
        last_error = NULL
    WHERE id = :id AND state <> 'delivered'
    """
)
_FAILED = text(
    """
    UPDATE segwatch.delivery
    SET state = CASE WHEN attempts >= :max_attempts THEN 'dead' ELSE 'pending' END, last_error = :reason,
        next_attempt_at = clock_timestamp() + make_interval(secs => :retry_in_seconds),
        lease_worker = NULL, lease_until = NULL
    WHERE id = :id AND state = 'pending'
    """
)


@dataclass(frozen=True, slots=True)
class DeliveryLease:
    """One message to send to one channel."""

    id: UUID
    url: str
    idempotency_key: str
    """The same however often it is sent."""
    payload: dict[str, Any]
    attempts: int
    """Attempts before this one."""


def lease(conn: Connection, *, worker: str, seconds: float, limit: int) -> list[DeliveryLease]:
    """Lease up to ``limit`` deliveries that are due, the longest due first."""
    rows = conn.execute(_LEASE, {"worker": worker, "seconds": seconds, "limit": limit}).all()
    rows = sorted(rows, key=lambda row: (row.next_attempt_at, str(row.id)))
    return [
        DeliveryLease(row.id, row.channel, row.idempotency_key, row.payload, row.attempts) for row in rows
    ]


def delivered(conn: Connection, identity: UUID) -> None:
    """The channel took it."""
    conn.execute(_DELIVERED, {"id": identity})


def failed(
    conn: Connection, identity: UUID, reason: str, *, retry_in_seconds: float, max_attempts: int
) -> None:
    """The channel did not take it: due again after a while, dead once the attempts are used up."""
    values = {
        "id": identity,
        "reason": reason,
        "retry_in_seconds": retry_in_seconds,
        "max_attempts": max_attempts,
    }
    conn.execute(_FAILED, values)
