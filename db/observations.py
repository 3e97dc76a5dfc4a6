"""The queue: one pending observation per scene of a series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.postgresql import insert

from segwatch.db import tables
from segwatch.db.codec import load_watch
from segwatch.db.errors import NotFound
from segwatch.db.ids import make_id
from segwatch.db.series import ensure_series
from segwatch.geo.antimeridian import compute_centre
from segwatch.geo.types.revisits import MAX_LAG
from segwatch.geo.types.tracking import ObservationState

#: Items of each scene that the watch uses now, and how often it was observed before. Of a scene that several watches
#: share, only items count that the watch's profile can read and that meet its AOI; if no item does both, those that do
#: one, so that reading the scene finds the reason. Rows of one version count as one: only their links differ.
_WANTED = text(
    """
    SELECT w.scene_id, w.acquired_at, w.items, w.versions,
           w.acquired_at < clock_timestamp() - make_interval(days => :new_days) AS is_backfill,
           EXISTS (SELECT 1 FROM segwatch.observation o JOIN segwatch.series s ON s.seeded_from = o.series_id
                   WHERE s.id = :series_id AND o.scene_id = w.scene_id) AS answered_before,
           (SELECT coalesce(max(o.version), 0) FROM segwatch.observation o
            WHERE o.series_id = :series_id AND o.scene_id = w.scene_id) AS versions_before
    FROM (
        SELECT f.scene_id, f.acquired_at, array_agg(f.id ORDER BY f.id) AS items,
               array_agg(f.version_id ORDER BY f.version_id) AS versions
        FROM (
            SELECT i.scene_id, s.acquired_at, i.id, i.version_id, u.lack,
                   min(u.lack) OVER (PARTITION BY i.scene_id) AS least
            FROM segwatch.scene s
            JOIN segwatch.scene_item i ON i.scene_id = s.id AND i.superseded_at IS NULL
            CROSS JOIN segwatch.area a
            CROSS JOIN LATERAL (
                SELECT CASE WHEN i.store = :store AND i.assets ?& CAST(:assets AS text[]) THEN 0 ELSE 2 END
                       + CASE WHEN ST_Intersects(i.footprint, a.geom) THEN 0 ELSE 1 END AS lack) u
            WHERE s.id = ANY(CAST(:scenes AS uuid[])) AND a.id = :area_id) f
        WHERE f.lack = f.least
        GROUP BY f.scene_id, f.acquired_at) w
    WHERE NOT EXISTS (
        SELECT 1 FROM segwatch.observation o
        WHERE o.series_id = :series_id AND o.scene_id = w.scene_id
          AND (o.items = w.items OR w.versions = (
              SELECT array_agg(i.version_id ORDER BY i.version_id) FROM segwatch.scene_item i
              WHERE i.id = ANY(o.items))))
    ORDER BY w.scene_id
    """
)
#: Skip pending observations of older versions. A leased one may finish; its result is dropped when it is tracked.
_OUTDATED = text(
    """
    UPDATE segwatch.observation o
    SET state = 'skipped', reason = 'superseded: a newer version of its items was found',
        superseded_at = clock_timestamp(), committed_at = clock_timestamp()
    FROM segwatch.observation n
    WHERE n.id = ANY(CAST(:ids AS uuid[])) AND o.series_id = n.series_id AND o.scene_id = n.scene_id
      AND o.version < n.version AND o.state = 'pending'
    """
)
#: Reason of observations that were withdrawn with their watch, by which they are found again.
_WITHDRAWN = "withdrawn: the watch was archived before the scene was observed"
#: Where an earlier version of the scene has a result, this one fails: a skipped version would take the result back.
_WITHDRAW = text(
    """
    UPDATE segwatch.observation o
    SET state = CASE WHEN EXISTS (
                    SELECT 1 FROM segwatch.observation p
                    WHERE p.series_id = o.series_id AND p.scene_id = o.scene_id AND p.version < o.version
                      AND p.superseded_at IS NULL AND p.state IN ('inferred', 'observed'))
                THEN 'failed' ELSE 'skipped' END,
        reason = :reason, committed_at = clock_timestamp(), not_before = NULL
    WHERE o.id IN (
        SELECT e.id FROM segwatch.observation e JOIN segwatch.series s ON s.id = e.series_id
        WHERE s.watch_name = :watch AND e.state = 'pending'
        ORDER BY e.id FOR UPDATE OF e SKIP LOCKED)
    RETURNING o.id
    """
)
_QUEUE_AGAIN = text(
    """
    UPDATE segwatch.observation o
    SET state = 'pending', reason = NULL, committed_at = NULL, attempts = 0
    FROM segwatch.series s
    WHERE s.id = o.series_id AND s.watch_name = :watch AND o.state IN ('skipped', 'failed') AND o.reason = :reason
      AND o.superseded_at IS NULL
      AND NOT EXISTS (
          SELECT 1 FROM segwatch.observation n
          WHERE n.series_id = o.series_id AND n.scene_id = o.scene_id AND n.version > o.version)
    RETURNING o.id
    """
)
_LEASED = text(
    """
    SELECT EXISTS (
        SELECT 1 FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id
        WHERE o.state = 'leased' AND o.model_version = :model_version
          AND (CAST(:watch AS text) IS NULL OR w.name = :watch))
    """
)


_COST = text(
    """
    SELECT sum(o.compute_seconds) / sum(o.area_km2 / p.gsd_m ^ 2) AS seconds,
           sum(o.bytes_read) / sum(o.area_km2 / p.gsd_m ^ 2) AS bytes
    FROM segwatch.observation o
    JOIN segwatch.watch w ON w.id = o.revision_id
    CROSS JOIN LATERAL (SELECT (w.definition -> 'profile' ->> 'gsd_m')::float8 AS gsd_m) p
    WHERE o.model_version = :model_version AND o.area_km2 > 0
    """
)


@dataclass(frozen=True, slots=True)
class ObservationCost:
    """Mean cost of observing a million pixels with one model: on the ground, they are as large as a watch's GSD."""

    seconds_per_megapixel: float
    """Compute time."""
    bytes_per_megapixel: float
    """Imagery read."""

    def compute_for(self, area_km2: float, gsd_m: float) -> tuple[float, float]:
        """Compute the seconds and bytes of a scene over an area that is read at a ground sample distance."""
        megapixels = area_km2 / gsd_m**2
        return self.seconds_per_megapixel * megapixels, self.bytes_per_megapixel * megapixels


#: A scene that was acquired longer ago is history when it is queued.
NEW_DAYS = MAX_LAG.days
_BEFORE_THE_SERIES = (
    "not observed: acquired before the scene with which this model or instruction took over the watch"
)


def enqueue(conn: Connection, revision_id: UUID, model_version: str, scene_ids: Sequence[UUID]) -> int:
    """Queue one observation per scene in the series of this watch revision and model, where it is new.

    A series that follows another one of the watch (a new model or instruction) begins with the last scene that was
    observed before; older scenes that were never observed are skipped.

    A scene with reprocessed items, or with more items in the AOI than before, is queued again, behind scenes that were
    never observed. One that was acquired more than :data:`NEW_DAYS` ago is queued behind new ones of all watches of its
    priority, so that years of history keep no new scene waiting.

    Returns
    -------
    int
        Number of new observations.

    Raises
    ------
    NotFound
        No watch revision has this id.
    """
    watch = conn.execute(select(tables.watch).where(tables.watch.c.id == revision_id)).mappings().first()
    if watch is None:
        raise NotFound(f"no watch revision {revision_id} in the ledger")
    series_id = make_id("series", watch["name"], watch["instruction_id"], model_version)
    stored = load_watch(watch["definition"])
    lon, lat = compute_centre(stored.area)
    series = {
        "id": series_id,
        "watch_name": watch["name"],
        "instruction_id": watch["instruction_id"],
        "model_version": model_version,
        "origin_lon": lon,
        "origin_lat": lat,
    }
    began = ensure_series(conn, series)
    wanted = {
        "series_id": series_id,
        "area_id": watch["area_id"],
        "scenes": list(set(scene_ids)),
        "store": stored.profile.store,
        "assets": list(stored.profile.assets()),
        "new_days": NEW_DAYS,
    }
    # sorted, so that two concurrent calls cannot deadlock
    rows = []
    for scene in conn.execute(_WANTED, wanted):
        too_early = began is not None and scene.acquired_at < began
        if too_early and scene.answered_before:
            continue
        row = {
            "id": make_id("observation", series_id, scene.scene_id, *scene.versions),
            "series_id": series_id,
            "scene_id": scene.scene_id,
            "revision_id": revision_id,
            "model_version": model_version,
            "state": ObservationState.SKIPPED.value if too_early else ObservationState.PENDING.value,
            "reason": _BEFORE_THE_SERIES if too_early else None,
            "priority": watch["priority"] - bool(scene.versions_before) - scene.is_backfill,
            "acquired_at": scene.acquired_at,
            "items": scene.items,
            "version": scene.versions_before + 1,
        }
        rows.append(row)
    if not rows:
        return 0
    added = insert(tables.observation).on_conflict_do_nothing().returning(tables.observation.c.id)
    new = list(conn.execute(added, rows).scalars())
    conn.execute(_OUTDATED, {"ids": new})
    return len(new)


def withdraw_pending(conn: Connection, watch: str) -> int:
    """Withdraw the pending observations of a watch that is archived, with a reason; returns their number.

    Those that a worker is just leasing are left to it. :func:`queue_again` takes them up if the watch resumes.
    """
    return len(conn.execute(_WITHDRAW, {"watch": watch, "reason": _WITHDRAWN}).all())


def queue_again(conn: Connection, watch: str) -> int:
    """Queue what :func:`withdraw_pending` withdrew; returns the number of observations."""
    return len(conn.execute(_QUEUE_AGAIN, {"watch": watch, "reason": _WITHDRAWN}).all())


def read_cost(conn: Connection, model_version: str) -> ObservationCost | None:
    """Read what a million pixels have cost so far with a model; None before its first observation."""
    row = conn.execute(_COST, {"model_version": model_version}).one()
    return None if row.seconds is None else ObservationCost(float(row.seconds), float(row.bytes))


def has_leased(conn: Connection, *, model_version: str, watch: str | None = None) -> bool:
    """Tell whether a worker holds an observation of the watch, or of any watch."""
    return bool(conn.execute(_LEASED, {"model_version": model_version, "watch": watch}).scalar_one())
