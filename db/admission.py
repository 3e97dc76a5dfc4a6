"""Admission: which observations may be leased now, and giving back those whose source or machine failed.

A failure of a source or machine costs no scene an attempt.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from segwatch.db import circuits
from segwatch.db.circuits import IS_BLOCKED, Blocked

_MAX_RETRY_SECONDS = 3600.0
#: An observation that lets another one probe first is tried again after this time.
_BEHIND_SECONDS = 0.2

#: Its watch is not paused.
IS_ACTIVE = """o.revision_id <> ALL (ARRAY(
                SELECT v.id FROM segwatch.paused_watch p JOIN segwatch.watch v ON v.name = p.watch))"""
#: Nobody holds it, its watch is not paused, its retry time has come, and no circuit that it needs is open or left alone
#: by the worker.
IS_FREE = f"""((o.state = 'pending' AND (o.not_before IS NULL OR o.not_before <= clock_timestamp()))
             OR (o.state = 'leased' AND o.lease_until < clock_timestamp()))
            AND NOT (o.circuits && CAST(:left_alone AS text[]))
            AND NOT EXISTS (SELECT 1 FROM segwatch.circuit c WHERE c.name = ANY(o.circuits) AND {IS_BLOCKED})
            AND {IS_ACTIVE}"""  # noqa: S608 - parts of this file
#: Of all watches, or of one watch and more urgent ones.
IS_ELIGIBLE = "(CAST(:watch AS text) IS NULL OR w.name = :watch OR w.priority > CAST(:above AS int))"

_PRIORITY = text(
    """
    SELECT w.priority FROM segwatch.watch_head h JOIN segwatch.watch w ON w.id = h.revision_id WHERE h.name = :watch
    """
)
#: Give back untried what needs an open circuit, and store its circuits: it is not leased again before they close.
_POSTPONE = text(
    """
    UPDATE segwatch.observation
    SET state = 'pending', lease_worker = NULL, lease_until = NULL, attempts = greatest(attempts - 1, 0),
        circuits = CAST(:circuits AS text[]), reason = coalesce(:reason, reason),
        not_before = clock_timestamp() + make_interval(secs => :seconds)
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'leased' AND lease_worker = :worker
    """
)
#: Whether another observation waits for the same circuits that was never refused, or longer ago.
_BEHIND = text(
    f"""
    SELECT EXISTS (
        SELECT 1 FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id
        WHERE o.state = 'pending' AND {IS_FREE} AND o.model_version = :model_version AND {IS_ELIGIBLE}
          AND o.circuits && CAST(:circuits AS text[])
          AND (o.refused_at IS NULL OR o.refused_at < CAST(:refused_at AS timestamptz)))
    """  # noqa: S608 - parts of this file
)
#: ``alone``: others succeeded since its last refusal. The attempt counts only after that has gone on for ``patience``.
_REFUSE = text(
    """
    WITH refused AS (
        SELECT o.id, o.refused_at IS NOT NULL AND (
                   CASE WHEN :circuit = '' THEN EXISTS (
                       SELECT 1 FROM segwatch.observation n
                       WHERE n.model_version = o.model_version AND n.inferred_at > o.refused_at)
                   ELSE EXISTS (
                       SELECT 1 FROM segwatch.circuit c WHERE c.name = :circuit AND c.closed_at > o.refused_at) END
               ) AS alone
        FROM segwatch.observation o WHERE o.id = :id AND o.state = 'leased' AND o.lease_worker = :worker
    ), judged AS (
        SELECT o.id, t.alone,
               t.alone AND o.refused_since < clock_timestamp() - make_interval(secs => :patience) AS counted
        FROM refused t JOIN segwatch.observation o ON o.id = t.id
    )
    UPDATE segwatch.observation o
    SET state = CASE WHEN j.counted AND o.attempts >= :max_attempts THEN 'failed' ELSE 'pending' END,
        committed_at = CASE WHEN j.counted AND o.attempts >= :max_attempts THEN clock_timestamp() END,
        attempts = CASE WHEN j.counted THEN o.attempts ELSE greatest(o.attempts - 1, 0) END,
        reason = :reason, lease_worker = NULL, lease_until = NULL, lost_leases = 0,
        circuits = CAST(:circuits AS text[]), refusals = o.refusals + 1, refused_at = clock_timestamp(),
        refused_since = coalesce(o.refused_since, clock_timestamp()),
        not_before = CASE WHEN j.alone OR :circuit = '' THEN clock_timestamp() + make_interval(secs => greatest(
            :asked, least(:longest, :retry_seconds * power(2.0, least(o.refusals, 30))))) END
    FROM judged j WHERE o.id = j.id
    """
)


def select(
    conn: Connection,
    model_version: str,
    watch: str | None,
    worker: str,
    left_alone: Collection[str] = (),
) -> dict[str, Any]:
    """Build the parameters of :data:`IS_FREE` and :data:`IS_ELIGIBLE`: all watches, or one and more urgent ones.

    So a worker that monitors years of scenes turns to an event of today after its current scene.
    """
    above = None if watch is None else conn.execute(_PRIORITY, {"watch": watch}).scalar()
    return {
        "model_version": model_version,
        "watch": watch,
        "above": above,
        "worker": worker,
        "left_alone": sorted(left_alone),
    }


def admit(
    conn: Connection,
    wanted: Mapping[str, Any],
    needs: Mapping[UUID, Collection[str]],
    refused_at: datetime | None,
    seconds: float,
    lease_seconds: float,
) -> set[UUID]:
    """Choose the just leased observations that may be worked on, and give back the others.

    Parameters
    ----------
    wanted
        Parameters of the lease, from :func:`select`.
    needs
        Names of the circuits that each observation needs.
    refused_at
        When one of them was last refused, UTC. It probes a circuit only if no observation waits that was never refused,
        or longer ago.
    seconds
        Maximum wait for the outcome of a probe.
    lease_seconds
        How long a worker that probes counts as alive after it renewed its leases.

    Returns
    -------
    set[UUID]
        Ids of the admitted observations.
    """
    left_alone = set(wanted["left_alone"])
    every = {name for names in needs.values() for name in names}
    shut, half_open = circuits.check_circuits(conn, wanted["worker"], every)
    admitted: set[UUID] = set()
    for one, names in needs.items():
        found = next((shut[name] for name in sorted(names) if name in shut), None)
        if found is None and not left_alone.intersection(names):
            admitted.add(one)
        else:
            _postpone(conn, wanted["worker"], one, names, found, 0.0)
    probing = half_open & {name for one in admitted for name in needs[one]}
    if not probing:
        return admitted
    if refused_at is not None and _is_behind(conn, wanted, probing, refused_at):
        for one in admitted:
            _postpone(conn, wanted["worker"], one, needs[one], None, _BEHIND_SECONDS)
        return set()
    circuits.start_probe(conn, wanted["worker"], probing, seconds, lease_seconds)
    return admitted


def _is_behind(
    conn: Connection, wanted: Mapping[str, Any], probing: Collection[str], refused_at: datetime
) -> bool:
    values = {**wanted, "circuits": sorted(probing), "refused_at": refused_at}
    return bool(conn.execute(_BEHIND, values).scalar_one())


def _postpone(
    conn: Connection, worker: str, one: UUID, names: Collection[str], shut: Blocked | None, seconds: float
) -> None:
    values = {"ids": [one], "worker": worker, "circuits": sorted(names), "seconds": seconds}
    conn.execute(
        _POSTPONE, values | {"reason": None if shut is None else f"waits for {shut.name}: {shut.error}"}
    )


def refuse(
    conn: Connection,
    observation_id: UUID,
    worker: str,
    reason: str,
    *,
    circuit: str = "",
    needs: Collection[str] = (),
    max_attempts: int,
    retry_seconds: float,
    asked_seconds: float = 0.0,
    patience_seconds: float,
) -> bool:
    """Give back an observation whose source or machine failed, without counting the attempt.

    If this goes on for ``patience_seconds`` while others succeed, the scene is to blame and further attempts count. An
    observation refused while others succeed waits ``retry_seconds``, doubled with each refusal, at most an hour.

    Parameters
    ----------
    circuit
        Name of the circuit that opened; empty if the failure says nothing about other scenes.
    needs
        Names of the circuits that the observation needs.
    asked_seconds
        Minimum wait that the source asked for (``Retry-After``).

    Returns
    -------
    bool
        False if the lease was lost and nothing was recorded.
    """
    values = {
        "id": observation_id,
        "worker": worker,
        "reason": reason,
        "circuit": circuit,
        "circuits": sorted(needs),
        "max_attempts": max_attempts,
        "retry_seconds": retry_seconds,
        "asked": asked_seconds,
        "longest": _MAX_RETRY_SECONDS,
        "patience": patience_seconds,
    }
    return conn.execute(_REFUSE, values).rowcount == 1
