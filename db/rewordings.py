"""How much a model's masks depend on the words of an instruction, as measured on a scene of a watch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

_SAVE = text(
    """
    INSERT INTO segwatch.rewording (instruction_id, model_version, watch_name, scene_id, wordings, tiles, agreement,
                                    by_target)
    VALUES (:instruction_id, :model, :watch, :scene_id, :wordings, :tiles, :agreement, CAST(:by_target AS jsonb))
    ON CONFLICT (instruction_id, model_version, watch_name) DO UPDATE
    SET scene_id = excluded.scene_id, wordings = excluded.wordings, tiles = excluded.tiles,
        agreement = excluded.agreement, by_target = excluded.by_target, measured_at = clock_timestamp()
    """
)
#: The newest measurement of an instruction revision, the watch's own before those of other watches.
_FIND = text(
    """
    SELECT * FROM segwatch.rewording r WHERE r.instruction_id = :instruction_id
    ORDER BY r.watch_name = :watch DESC, r.measured_at DESC LIMIT 1
    """
)
#: Of each watch, with the instruction in force.
_NEWEST = text(
    """
    SELECT DISTINCT ON (h.name) r.* FROM segwatch.watch_head h
    JOIN segwatch.watch w ON w.id = h.revision_id
    JOIN segwatch.rewording r ON r.watch_name = h.name AND r.instruction_id = w.instruction_id
    ORDER BY h.name, r.measured_at DESC
    """
)


@dataclass(frozen=True, slots=True)
class RewordingAgreement:
    """Agreement of a model's masks for rewordings with those for the instruction's own words."""

    watch: str
    model: str
    scene_id: UUID
    wordings: tuple[str, ...]
    """The rewordings."""
    tiles: int
    """Tiles of the scene that were predicted."""
    agreement: float | None
    """Mean IoU over rewordings and targets, 0..1; None where nothing was marked."""
    by_target: Mapping[str, float]
    measured_at: datetime | None = None


def save(conn: Connection, instruction_id: UUID, measured: RewordingAgreement) -> None:
    """Store a measurement; it replaces the one before of the same instruction revision, model and watch."""
    values = {
        "instruction_id": instruction_id,
        "model": measured.model,
        "watch": measured.watch,
        "scene_id": measured.scene_id,
        "wordings": list(measured.wordings),
        "tiles": measured.tiles,
        "agreement": measured.agreement,
        "by_target": json.dumps(measured.by_target),
    }
    conn.execute(_SAVE, values)


def find(conn: Connection, instruction_id: UUID, watch: str) -> RewordingAgreement | None:
    """Find the newest measurement of an instruction revision, the watch's own before those of other watches."""
    row = conn.execute(_FIND, {"instruction_id": instruction_id, "watch": watch}).mappings().one_or_none()
    return None if row is None else _load(row)


def list_newest(conn: Connection) -> list[RewordingAgreement]:
    """List the newest measurement of each watch with its instruction in force, by the watches' names."""
    return [_load(row) for row in conn.execute(_NEWEST).mappings()]


def _load(row: RowMapping) -> RewordingAgreement:
    return RewordingAgreement(
        row["watch_name"],
        row["model_version"],
        row["scene_id"],
        tuple(row["wordings"]),
        row["tiles"],
        row["agreement"],
        row["by_target"],
        row["measured_at"],
    )
