"""Switches of watches between models: which one a watch was given, by whom, and the way back.

A switch begins a new series with the newest observed scene and with what was pending; a rollback continues the series
of the model before, which then observes what only the other model did.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from segwatch.db import observations, watches
from segwatch.db.errors import SwitchRefused

#: Locks the head of the watch, so that concurrent switches of one watch follow each other.
_LOCK = text("SELECT name FROM segwatch.watch_head WHERE name = :watch FOR UPDATE")
_IN_FORCE = text(
    """
    SELECT DISTINCT ON (m.watch_name) m.* FROM segwatch.model_switch m
    WHERE m.undone_at IS NULL AND (CAST(:watch AS text) IS NULL OR m.watch_name = :watch)
    ORDER BY m.watch_name, m.ordinal DESC
    """
)
_HISTORY = text("SELECT * FROM segwatch.model_switch WHERE watch_name = :watch ORDER BY ordinal")
_ADD = text(
    """
    INSERT INTO segwatch.model_switch (watch_name, ordinal, folder, model_version, from_version, switched_by)
    SELECT :watch, coalesce(max(m.ordinal), 0) + 1, :folder, :version, :before, :by
    FROM segwatch.model_switch m WHERE m.watch_name = :watch
    """
)
_UNDO = text(
    """
    UPDATE segwatch.model_switch SET undone_by = :by, undone_at = clock_timestamp()
    WHERE watch_name = :watch AND ordinal = :ordinal
    """
)
#: Scenes that other models have pending for the instruction in force, or observed: all for a model that observed
#: some itself, else the newest one. Those that the model knows already are left out when they are queued.
_SCENES = text(
    """
    WITH every AS (
        SELECT o.scene_id, o.state, o.acquired_at, o.model_version = :version AS is_own
        FROM segwatch.watch_head h JOIN segwatch.watch w ON w.id = h.revision_id
        JOIN segwatch.series s ON s.watch_name = h.name AND s.instruction_id = w.instruction_id
        JOIN segwatch.observation o ON o.series_id = s.id AND o.superseded_at IS NULL
        WHERE h.name = :watch AND o.state IN ('pending', 'leased', 'inferred', 'observed'))
    SELECT DISTINCT e.scene_id FROM every e
    WHERE NOT e.is_own
      AND (e.state <> 'observed' OR e.acquired_at = (SELECT max(n.acquired_at) FROM every n WHERE n.state = 'observed')
           OR EXISTS (SELECT FROM every n WHERE n.is_own AND n.state = 'observed'))
    ORDER BY e.scene_id
    """
)
_SKIP = text(
    """
    UPDATE segwatch.observation o
    SET state = 'skipped', reason = 'superseded: the watch was switched to the model ' || :version,
        superseded_at = clock_timestamp(), committed_at = clock_timestamp()
    FROM segwatch.series s
    WHERE s.id = o.series_id AND s.watch_name = :watch AND o.model_version <> :version AND o.state = 'pending'
    """
)

#: Queue again what was skipped by a switch away from this model.
_REOPEN = text(
    """
    UPDATE segwatch.observation o SET state = 'pending', reason = NULL, superseded_at = NULL, committed_at = NULL
    FROM segwatch.series s
    WHERE s.id = o.series_id AND s.watch_name = :watch AND o.model_version = :version AND o.state = 'skipped'
      AND o.reason LIKE 'superseded: the watch was switched to the model %' AND o.scene_id = ANY(:scenes)
    """
)


@dataclass(frozen=True, slots=True)
class ModelSwitch:
    """A switch of one watch to another model."""

    watch: str
    ordinal: int
    folder: str
    """Folder of the model, as every worker reaches it."""
    version: str
    before: str
    """Version of the model before."""
    by: str
    at: datetime
    undone_by: str | None = None
    undone_at: datetime | None = None


def find(conn: Connection, watch: str) -> ModelSwitch | None:
    """Find the switch in force of a watch; None where the model of the settings is."""
    return next(iter(list_in_force(conn, watch)), None)


def list_in_force(conn: Connection, watch: str | None = None) -> list[ModelSwitch]:
    """List the switches in force, of one watch or of all, by the watches' names."""
    return [_load(row) for row in conn.execute(_IN_FORCE, {"watch": watch}).mappings()]


def list_history(conn: Connection, watch: str) -> list[ModelSwitch]:
    """List every switch of a watch in order, undone ones too."""
    watches.require(conn, watch)
    return [_load(row) for row in conn.execute(_HISTORY, {"watch": watch}).mappings()]


def switch(
    conn: Connection, watch: str, *, folder: str, version: str, settings_version: str, by: str
) -> bool:
    """Switch a watch to a model; False if it has that model already.

    Parameters
    ----------
    settings_version
        Version of the model of the settings, which the watch has where it was never switched.

    Raises
    ------
    UnknownWatch
        No watch has this name.
    """
    current = _lock(conn, watch)
    before = settings_version if current is None else current.version
    if version == before and (current is None or current.folder == folder):
        return False
    values = {"watch": watch, "folder": folder, "version": version, "before": before, "by": by}
    conn.execute(_ADD, values)
    _requeue(conn, watch, version)
    return True


def roll_back(conn: Connection, watch: str, *, by: str) -> ModelSwitch:
    """Undo the switch in force of a watch; returns it as it was.

    Raises
    ------
    UnknownWatch
        No watch has this name.
    SwitchRefused
        The watch was not switched, or every switch is undone already.
    """
    current = _lock(conn, watch)
    if current is None:
        raise SwitchRefused(f"watch {watch} has the model of the settings; there is no switch to undo")
    conn.execute(_UNDO, {"watch": watch, "ordinal": current.ordinal, "by": by})
    _requeue(conn, watch, current.before)
    return current


def _lock(conn: Connection, watch: str) -> ModelSwitch | None:
    watches.require(conn, watch)
    conn.execute(_LOCK, {"watch": watch})
    return find(conn, watch)


def _requeue(conn: Connection, watch: str, version: str) -> None:
    """Queue for a model what the watch's other models have pending or observed last; nobody else takes it then."""
    values = {"watch": watch, "version": version}
    scenes: list[UUID] = list(conn.execute(_SCENES, values).scalars())
    conn.execute(_SKIP, values)
    conn.execute(_REOPEN, {**values, "scenes": scenes})
    observations.enqueue(conn, watches.load_current(conn, watch).revision_id, version, scenes)


def _load(row: RowMapping) -> ModelSwitch:
    return ModelSwitch(
        row["watch_name"],
        row["ordinal"],
        row["folder"],
        row["model_version"],
        row["from_version"],
        row["switched_by"],
        row["switched_at"],
        row["undone_by"],
        row["undone_at"],
    )
