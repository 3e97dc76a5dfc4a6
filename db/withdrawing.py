"""Withdraw messages whose channel the current watch revision no longer names.

A rule names a channel while the current revision of its watch has a rule of that name with the channel among its
channels or escalation channels. A watch that was removed names none.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

_HAS_CHANNEL = "(r -> 'channels' ? {channel} OR r #> '{{escalation,channels}}' ? {channel})"
_NAMES = f"""EXISTS (
    SELECT 1 FROM jsonb_array_elements(w.definition -> 'rules') r
    WHERE r ->> 'name' = {{rule}} AND {_HAS_CHANNEL})"""  # noqa: S608
#: Whether the current watch revision names the channel of ``segwatch.delivery d`` and its ``segwatch.alert a``.
NAMED = f"""EXISTS (
    SELECT 1 FROM segwatch.watch raised JOIN segwatch.watch_head h ON h.name = raised.name
    JOIN segwatch.watch w ON w.id = h.revision_id
    WHERE raised.id = a.revision_id AND {_NAMES.format(rule="a.rule", channel="d.channel")})"""  # noqa: S608

#: Rules in force that name the channel of ``segwatch.channel c``, with the names of their watches.
NAMING_RULES = f"""
    SELECT h.name || ', rule ' || (r ->> 'name')
    FROM segwatch.watch_head h JOIN segwatch.watch w ON w.id = h.revision_id
    CROSS JOIN jsonb_array_elements(w.definition -> 'rules') r
    WHERE {_HAS_CHANNEL.format(channel="c.name")}
    ORDER BY 1"""  # noqa: S608

_CONFIGURATION = text("SELECT count(*) AS n, max(applied_at) AS at FROM segwatch.watch_head")
#: Deliveries that another courier is recording are locked and left to it.
_WITHDRAW = text(
    f"""
    WITH pending AS (
        SELECT DISTINCT w.name AS watch, a.rule, d.channel
        FROM segwatch.delivery d
        JOIN segwatch.alert a ON a.id = d.alert_id JOIN segwatch.watch w ON w.id = a.revision_id
        WHERE d.state = 'pending' AND (CAST(:watch AS text) IS NULL OR w.name = :watch)
    ), removed AS (
        SELECT m.* FROM pending m
        WHERE NOT EXISTS (SELECT 1 FROM segwatch.watch_head h JOIN segwatch.watch w ON w.id = h.revision_id
                          WHERE h.name = m.watch AND {_NAMES.format(rule="m.rule", channel="m.channel")})
          AND EXISTS (SELECT 1 FROM segwatch.watch w
                      WHERE w.name = m.watch AND {_NAMES.format(rule="m.rule", channel="m.channel")})
    ), due AS (
        SELECT d.id, x.watch, x.rule FROM removed x
        JOIN segwatch.watch w ON w.name = x.watch
        JOIN segwatch.alert a ON a.revision_id = w.id AND a.rule = x.rule
        JOIN segwatch.delivery d ON d.alert_id = a.id AND d.channel = x.channel AND d.state = 'pending'
        ORDER BY d.id FOR UPDATE OF d SKIP LOCKED
    )
    UPDATE segwatch.delivery d
    SET state = 'withdrawn', lease_worker = NULL, lease_until = NULL,
        last_error = 'rule ' || due.rule || ' of watch ' || due.watch || ' no longer names the channel'
    FROM due WHERE d.id = due.id
    RETURNING d.id
    """  # noqa: S608 - parts of this file
)
#: A digest is withdrawn with the last of its alerts.
_WITHDRAW_DIGESTS = text(
    """
    UPDATE segwatch.delivery d
    SET state = 'withdrawn', lease_worker = NULL, lease_until = NULL, last_error = (
        SELECT min(m.last_error) FROM segwatch.delivery m WHERE m.digest_id = d.id)
    WHERE d.id IN (
        SELECT e.id FROM segwatch.delivery e
        WHERE e.state = 'pending' AND e.alert_id IS NULL
          AND EXISTS (SELECT 1 FROM segwatch.delivery m WHERE m.digest_id = e.id)
          AND NOT EXISTS (SELECT 1 FROM segwatch.delivery m WHERE m.digest_id = e.id AND m.state <> 'withdrawn')
        ORDER BY e.id FOR UPDATE SKIP LOCKED)
    RETURNING d.id
    """
)

_WITHDRAW_WATCH = text(
    """
    UPDATE segwatch.delivery d SET state = 'withdrawn', lease_worker = NULL, lease_until = NULL, last_error = :reason
    WHERE d.id IN (
        SELECT e.id FROM segwatch.delivery e
        JOIN segwatch.alert a ON a.id = e.alert_id JOIN segwatch.watch w ON w.id = a.revision_id
        WHERE w.name = :watch AND e.state = 'pending'
        ORDER BY e.id FOR UPDATE OF e SKIP LOCKED)
    RETURNING d.id
    """
)


def read_configuration(conn: Connection) -> tuple[Any, ...]:
    """Read a value that changes whenever a watch is applied or removed."""
    return tuple(conn.execute(_CONFIGURATION).one())


def withdraw(conn: Connection) -> tuple[int, frozenset[UUID]]:
    """Withdraw messages to channels that are no longer named.

    Returns
    -------
    tuple[int, frozenset[UUID]]
        Number of messages about alerts, and the ids of all withdrawn deliveries, digests included.
    """
    alerts = frozenset(conn.execute(_WITHDRAW, {"watch": None}).scalars())
    return len(alerts), alerts | frozenset(conn.execute(_WITHDRAW_DIGESTS).scalars())


def withdraw_removed(conn: Connection, watch: str) -> int:
    """Withdraw messages of one watch to channels that it no longer names; returns how many are about alerts."""
    count = len(conn.execute(_WITHDRAW, {"watch": watch}).all())
    conn.execute(_WITHDRAW_DIGESTS)
    return count


def withdraw_watch(conn: Connection, watch: str, reason: str) -> int:
    """Withdraw the pending messages of a watch, digests included; returns the number of messages about alerts."""
    count = len(conn.execute(_WITHDRAW_WATCH, {"watch": watch, "reason": reason}).all())
    conn.execute(_WITHDRAW_DIGESTS)
    return count
