"""What may be leased now, and what is put back: a source or a machine that fails costs no scene an attempt."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from segwatch.db import circuits
from segwatch.db.circuits import IS_BLOCKED, Blocked

_LONGEST_WAIT_SECONDS = 3600.0
#: A probe that was overtaken by another one is looked at again after it.
_BEHIND_SECONDS = 0.2

#: What nobody holds, need not wait after a failure, and depends on no circuit that is open or given up by the worker.
IS_FREE = f"""((o.state = 'pending' AND (o.not_before IS NULL OR o.not_before <= clock_timestamp()))
             OR (o.state = 'leased' AND o.lease_until < clock_timestamp()))
            AND NOT (o.circuits && CAST(:left_alone AS text[]))
            AND NOT EXISTS (SELECT 1 FROM segwatch.circuit c WHERE c.name = ANY(o.circuits) AND {IS_BLOCKED})"""  # noqa: S608
#: All, or the watch's own and what is more urgent.
IS_ELIGIBLE = "(CAST(:watch AS text) IS NULL OR w.name = :watch OR o.priority > CAST(:above AS int))"

_PRIORITY = text(
    """
    SELECT w.priority FROM segwatch.watch_head h JOIN segwatch.watch w ON w.id = h.revision_id WHERE h.name = :watch
    """
)
#: Its circuit is open: put back untried. It knows its circuits now, so that it is not taken again before they close.
_POSTPONE = text(
    """
    UPDATE segwatch.observation
    SET state = 'pending', lease_worker = NULL, lease_until = NULL, attempts = greatest(attempts - 1, 0),
        circuits = CAST(:circuits AS text[]), reason = coalesce(:reason, reason),
        not_before = clock_timestamp() + make_interval(secs => :seconds)
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'leased' AND lease_worker = :worker
    """
)
#: Something else waits for the same circuits that was not refused yet, or longer ago.
_BEHIND = text(
    f"""
    SELECT EXISTS (
        SELECT 1 FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id
        WHERE o.state = 'pending' AND {IS_FREE} AND o.model_version = :model_version AND {IS_ELIGIBLE}
          AND o.circuits && CAST(:circuits AS text[])
          AND (o.refused_at IS NULL OR o.refused_at < CAST(:refused_at AS timestamptz)))
    """  # noqa: S608 - parts of this file
)
#: ``alone``: others were served since it was refused last. It is counted only when that has gone on for long.
_REFUSE = text(
    """
    WITH told AS (
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
        FROM told t JOIN segwatch.observation o ON o.id = t.id
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
) -> set[UUID]:
    """Which of the observations that were just leased may be worked on; the others are put back.

    Parameters
    ----------
    wanted
        The parameters they were leased by.
    needs
        Circuits of each.
    refused_at
        When one of them was last refused: it probes only if no other is there that was not, or longer ago.
    seconds
        How long a probe is waited for.
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
    circuits.start_probe(conn, wanted["worker"], probing, seconds)
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
    """Put an observation back whose source or machine failed. The attempt is not counted.

    Only where this goes on for ``patience_seconds`` while others are served, the scene itself is to blame after all,
    and each further attempt counts. What is refused while others are served waits ``retry_seconds``, doubled by every
    refusal, at most an hour.

    Parameters
    ----------
    circuit
        That opened; empty where the failure says nothing about other scenes.
    needs
        Circuits of the observation.

    Returns
    -------
    bool
        False when the lease was lost and nothing changed.
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
        "longest": _LONGEST_WAIT_SECONDS,
        "patience": patience_seconds,
    }
    return conn.execute(_REFUSE, values).rowcount == 1
