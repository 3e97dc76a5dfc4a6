"""Series: observations that may be compared with each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from segwatch.db.codec import load_track_state
from segwatch.geo.types.tracking import TrackState

#: The row is the lock: only workers may lock it, and scenes of the series can still be queued.
_LOCK = text("SELECT id FROM segwatch.series WHERE id = :series_id FOR NO KEY UPDATE")
_TRY_LOCK = text("SELECT id FROM segwatch.series WHERE id = :series_id FOR NO KEY UPDATE SKIP LOCKED")
#: A fold computes outside the database for longer than an idle transaction may last. The name tells others who holds
#: the series.
_HOLD = text(
    """
    SELECT set_config('idle_in_transaction_session_timeout', :timeout, true),
           set_config('application_name', :name, true)
    """
)
#: A process that hangs in a fold loses the series after this time.
_MAX_FOLD = "3600s"
_HOLDER = text(
    """
    SELECT a.pid, host(a.client_addr) AS host, a.xact_start AS since FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.application_name = :name AND a.pid <> pg_backend_pid()
      AND pg_has_role(a.usesysid, 'segwatch_worker', 'MEMBER')
    ORDER BY a.xact_start LIMIT 1
    """
)


@dataclass(frozen=True, slots=True)
class SeriesHolder:
    """A database session that holds a series."""

    pid: int
    """Process id of the session on the database server."""
    host: str | None
    """Address of the client; None = the same machine."""
    since: datetime | None
    """When its transaction began, UTC; None if this role may not see it."""

    def __str__(self) -> str:
        since = f" since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else ""
        return f"session {self.pid}{f' from {self.host}' if self.host else ''}{since}"


def lock(conn: Connection, series_id: UUID) -> None:
    """Lock the series until the end of the transaction, waiting for another holder."""
    conn.execute(_LOCK, {"series_id": series_id})


def try_lock(conn: Connection, series_id: UUID) -> bool:
    """Lock the series until the end of the transaction; False if another session holds it.

    The transaction may be idle for an hour, as long as a fold may take.
    """
    taken = conn.execute(_TRY_LOCK, {"series_id": series_id}).first() is not None
    if taken:
        conn.execute(_HOLD, {"timeout": _MAX_FOLD, "name": _name(series_id)})
    return taken


def find_holder(conn: Connection, series_id: UUID) -> SeriesHolder | None:
    """Find the session that holds a series; None if there is none any more."""
    found = conn.execute(_HOLDER, {"name": _name(series_id)}).first()
    return None if found is None else SeriesHolder(*found)


def _name(series_id: UUID) -> str:
    return f"segwatch track {series_id}"


#: The series of the watch that published last, and its last scene.
_PREDECESSOR = text(
    """
    SELECT o.series_id, o.acquired_at
    FROM segwatch.observation o
    WHERE o.state = 'observed' AND o.superseded_at IS NULL AND o.series_id = (
        SELECT p.series_id FROM segwatch.observation p JOIN segwatch.series s ON s.id = p.series_id
        WHERE s.watch_name = :watch_name AND p.state = 'observed' ORDER BY p.committed_at DESC, p.id LIMIT 1)
    ORDER BY o.acquired_at DESC, o.scene_id DESC LIMIT 1
    """
)
_ADD = text(
    """
    INSERT INTO segwatch.series (id, watch_name, instruction_id, model_version, origin_lon, origin_lat, seeded_from,
                                 seed_valid_at, seed_known_at)
    VALUES (:id, :watch_name, :instruction_id, :model_version, :origin_lon, :origin_lat, :seeded_from,
            CAST(:seed_valid_at AS timestamptz),
            CASE WHEN CAST(:seed_valid_at AS timestamptz) IS NOT NULL THEN clock_timestamp() END)
    ON CONFLICT DO NOTHING
    """
)
_SEED = text("SELECT seed_valid_at FROM segwatch.series WHERE id = :series_id")
_TAKEN_OVER = text(
    """
    SELECT t.track_id, k.object_id, k.target, t.geom, t.area_m2, t.score, t.first_seen, t.last_seen, t.last_looked,
           t.misses, t.missed_since, t.visible_share, t.alive, t.merged_into, t.confidence, t.status,
           t.observations_for, t.observations_against
    FROM segwatch.series s
    JOIN segwatch.track k ON k.series_id = s.seeded_from
    JOIN segwatch.track_state t ON t.track_id = k.id
    WHERE s.id = :series_id AND t.valid @> s.seed_valid_at AND t.recorded @> s.seed_known_at
      AND t.merged_into IS NULL
    ORDER BY t.track_id
    """
)


@dataclass(frozen=True, slots=True)
class Seeds:
    """Objects that a series takes over from the previous one."""

    states: tuple[TrackState, ...]
    """States with the track ids of the previous series."""
    object_ids: Mapping[UUID, UUID]
    """Track id in the previous series -> object id."""


def ensure_series(conn: Connection, series: Mapping[str, object]) -> datetime | None:
    """Add a series if it is new; a series that follows another one of its watch takes over its objects.

    Parameters
    ----------
    series
        ``id``, ``watch_name``, ``instruction_id``, ``model_version``, and ``origin_lon``, ``origin_lat`` (degrees) of
        its local projection.

    Returns
    -------
    datetime | None
        Acquisition time of the scene that it begins with; None if it follows no other series.
    """
    known = conn.execute(_SEED, {"series_id": series["id"]}).first()
    if known is None:
        before = conn.execute(_PREDECESSOR, {"watch_name": series["watch_name"]}).first()
        seed = {"seeded_from": None, "seed_valid_at": None}
        if before is not None:
            seed = {"seeded_from": before.series_id, "seed_valid_at": before.acquired_at}
        conn.execute(_ADD, {**series, **seed})
        known = conn.execute(_SEED, {"series_id": series["id"]}).one()
    began: datetime | None = known.seed_valid_at
    return began


def load_seeds(conn: Connection, series_id: UUID) -> Seeds:
    """Load what the series takes over; the result never changes."""
    rows = conn.execute(_TAKEN_OVER, {"series_id": series_id}).all()
    return Seeds(tuple(load_track_state(row) for row in rows), {row.track_id: row.object_id for row in rows})
