"""Judgements of changes: the belief of a change after each observation of its ground, bitemporally.

The judgement of the newest observation is the change's present belief. A late scene closes the recorded range of
judgements that no longer hold and adds those that replace them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import Range, insert

from segwatch.db import tables
from segwatch.db.errors import PublishConflict
from segwatch.db.ids import make_id
from segwatch.db.publishing import make_change_id
from segwatch.geo.types.belief import Evidence
from segwatch.geo.types.tracking import ChangeKey, Judgement, OpenChange, TrackingStep

#: Columns that say what a judgement is, without its id and recorded range.
_CONTENT = (
    "acquired_at", "scene_id", "confidence", "status", "observations_for", "observations_against", "earliest",
    "latest", "views", "evidence_id",
)  # fmt: skip
_RECORDED = text(
    f"""
    SELECT id, change_id, observation_id, {", ".join(_CONTENT)} FROM segwatch.change_judgement
    WHERE upper_inf(recorded) AND observation_id = ANY(CAST(:ids AS uuid[]))
    """  # noqa: S608 - columns of this file
)
_CLOSE = text(
    """
    UPDATE segwatch.change_judgement SET recorded = tstzrange(lower(recorded), :now)
    WHERE id = ANY(CAST(:ids AS uuid[]))
    """
)
_REOPEN = text(
    """
    UPDATE segwatch.change c SET is_open = n.is_open
    FROM (
        SELECT i.id, coalesce(
            (SELECT j.evidence_id IS NOT NULL FROM segwatch.change_judgement j
             WHERE j.change_id = i.id AND upper_inf(j.recorded)
             ORDER BY j.acquired_at DESC, j.scene_id DESC LIMIT 1), false) AS is_open
        FROM unnest(CAST(:ids AS uuid[])) AS i(id)) n
    WHERE c.id = n.id AND c.is_open <> n.is_open
    """
)


@dataclass(frozen=True, slots=True)
class PublishedStep:
    """A tracking step and the acquisition time of its observation."""

    step: TrackingStep
    acquired_at: datetime


def save_judgements(
    conn: Connection,
    folded: Collection[UUID],
    published: Sequence[PublishedStep],
    open_before: Iterable[OpenChange],
    now: datetime,
) -> set[tuple[UUID, UUID]]:
    """Replace the judgements that observations made by those of their steps; equal ones stay as they are.

    Parameters
    ----------
    conn
        Holds the lock of the series; the changes of the steps are stored already.
    folded
        Ids of the observations whose judgements are replaced, with or without a step.
    published
        Steps of these observations, in order.
    open_before
        Open changes that the steps were folded with.
    now
        Recorded time.

    Returns
    -------
    set
        Change id and observation id of the judgements that are new, differ from those recorded, or hold no longer.

    Raises
    ------
    PublishConflict
        A step judges a change that is neither open before nor raised by a step.
    """
    recorded = {
        (row.change_id, row.observation_id): row for row in conn.execute(_RECORDED, {"ids": sorted(folded)})
    }
    rows = _build_rows(published, _identify(published, open_before), now)
    evidence = _build_evidence(published)
    held = {key for key, row in recorded.items() if key in rows and _is_same(row, rows[key])}
    closed = [row.id for key, row in recorded.items() if key not in held]
    if closed:
        conn.execute(_CLOSE, {"ids": closed, "now": now})
    added = {key: row for key, row in rows.items() if key not in held}
    new_evidence = evidence.keys() & {row["evidence_id"] for row in added.values()}
    if new_evidence:
        values = [{"id": one, "content": evidence[one].to_json()} for one in sorted(new_evidence)]
        conn.execute(insert(tables.judgement_evidence).on_conflict_do_nothing(), values)
    if added:
        conn.execute(insert(tables.change_judgement), list(added.values()))
    touched = {*added, *(recorded.keys() - held)}
    if touched:
        conn.execute(_REOPEN, {"ids": sorted({change_id for change_id, _ in touched})})
    return touched


def _identify(published: Sequence[PublishedStep], open_before: Iterable[OpenChange]) -> dict[ChangeKey, UUID]:
    """Compute the ids of the changes that the steps judge."""
    changes = [(one.scene_id, one.change) for one in open_before]
    changes += [(one.step.scene_id, change) for one in published for change in one.step.changes]
    return {
        (scene_id, change.track_id, change.kind): make_change_id(scene_id, change)
        for scene_id, change in changes
    }


def _build_rows(
    published: Sequence[PublishedStep], names: Mapping[ChangeKey, UUID], now: datetime
) -> dict[tuple[UUID, UUID], dict[str, Any]]:
    rows = {}
    for one in published:
        for judgement in one.step.judgements:
            identity = (judgement.change_scene_id, judgement.track_id, judgement.kind)
            if identity not in names:
                raise PublishConflict(
                    f"observation {one.step.observation_id} judges a change that neither it nor an earlier one"
                    f" raised: track {judgement.track_id} {judgement.kind.value}"
                )
            key = (names[identity], one.step.observation_id)
            rows[key] = _build_row(key, judgement, one, now)
    return rows


def _build_row(
    key: tuple[UUID, UUID], judgement: Judgement, one: PublishedStep, now: datetime
) -> dict[str, Any]:
    belief = judgement.belief
    return {
        "id": make_id("judgement", *key, now.timestamp()),
        "change_id": key[0],
        "observation_id": key[1],
        "acquired_at": one.acquired_at,
        "scene_id": one.step.scene_id,
        "confidence": belief.confidence,
        "status": belief.status.value,
        "observations_for": belief.observations_for,
        "observations_against": belief.observations_against,
        "earliest": judgement.earliest,
        "latest": judgement.latest,
        "views": [view.to_json() for view in judgement.views],
        "evidence_id": None if judgement.evidence is None else _make_evidence_id(judgement.evidence),
        "recorded": Range(now, None, bounds="[)"),
    }


def _build_evidence(published: Sequence[PublishedStep]) -> dict[UUID, Evidence]:
    every = [judgement.evidence for one in published for judgement in one.step.judgements]
    return {_make_evidence_id(one): one for one in every if one is not None}


def _make_evidence_id(evidence: Evidence) -> UUID:
    return make_id("evidence", json.dumps(evidence.to_json(), sort_keys=True))


def _is_same(recorded: Any, row: Mapping[str, Any]) -> bool:
    return all(getattr(recorded, name) == row[name] for name in _CONTENT)
