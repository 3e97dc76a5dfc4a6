"""What the map page asks the analyst views."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from morecantile import Tile
from sqlalchemy import Connection, text

from segwatch.geo.antimeridian import narrower

#: A scene counts once for a state, also when a new wording or model looks at it again. The wording in force is that of
#: the objects; before it has found any, the one that was asked last.
_WATCHES = text(
    """
    SELECT c.watch,
           coalesce((SELECT n.instruction FROM watch.objects_now n WHERE n.watch = c.watch LIMIT 1),
                    (array_agg(c.instruction ORDER BY c.discovered_at DESC, c.acquired_at DESC))[1]) AS instruction,
           (array_agg(c.model ORDER BY c.committed_at DESC NULLS LAST))[1] AS model,
           count(DISTINCT c.scene_key) FILTER (WHERE c.state = 'observed') AS observed,
           count(DISTINCT c.scene_key) FILTER (WHERE c.state = 'skipped') AS skipped,
           count(DISTINCT c.scene_key) FILTER (WHERE c.state = 'failed') AS failed,
           count(DISTINCT c.scene_key) FILTER (WHERE c.state IN ('pending', 'leased', 'inferred')) AS pending,
           count(*) FILTER (WHERE c.state = 'rejected') AS rejected,
           (SELECT w.min_polygon_m2 FROM watch.watches w WHERE w.watch = c.watch) AS min_polygon_m2,
           (SELECT w.min_change_m2 FROM watch.watches w WHERE w.watch = c.watch) AS min_change_m2,
           (SELECT count(*) FROM watch.objects_now n WHERE n.watch = c.watch) AS objects,
           (SELECT coalesce(sum(n.area_m2), 0) / 1e4 FROM watch.objects_now n WHERE n.watch = c.watch) AS hectares,
           ST_XMin(ST_Extent(c.geom)) AS west, ST_YMin(ST_Extent(c.geom)) AS south,
           ST_XMax(ST_Extent(c.geom)) AS east, ST_YMax(ST_Extent(c.geom)) AS north,
           ST_XMin(ST_Extent(ST_ShiftLongitude(c.geom))) AS west_to_360,
           ST_XMax(ST_Extent(ST_ShiftLongitude(c.geom))) AS east_to_360
    FROM watch.coverage c WHERE c.superseded_at IS NULL GROUP BY c.watch ORDER BY c.watch
    """
)
#: Times that the page compares with those in vector tiles are sent as PostgreSQL writes them there.
_SCENES = text(
    """
    SELECT DISTINCT i.scene_id, CAST(i.acquired_at AS text) AS acquired_at, i.state,
           i.profile->>'attribution' AS attribution
    FROM watch.imagery i WHERE i.watch = :watch ORDER BY 2, i.scene_id
    """
)
_ALERTS = text(
    """
    SELECT count(*) OVER () AS of_all, a.alert_id, a.track_id, a.rule,
           a.kind, a.target, CAST(a.valid_at AS text) AS valid_at,
           a.before_m2, a.after_m2, a.delivered_at, a.status, a.status_by, a.status_note, a.snoozed_until,
           a.retracted_at, a.retracted_because,
           ST_XMin(a.geom) AS west, ST_YMin(a.geom) AS south, ST_XMax(a.geom) AS east, ST_YMax(a.geom) AS north,
           ST_XMin(ST_ShiftLongitude(a.geom)) AS west_to_360, ST_XMax(ST_ShiftLongitude(a.geom)) AS east_to_360
    FROM watch.alerts a WHERE a.watch = :watch
    ORDER BY a.valid_at DESC, abs(a.after_m2 - a.before_m2) DESC, a.alert_id LIMIT :limit
    """
)
_TOLD = """
    SELECT a.alert_id, a.track_id, a.watch, a.rule, a.kind, a.target, a.valid_at, a.created_at, a.before_m2, a.after_m2,
           a.geom, a.retracted_at, a.retracted_because, a.item_hrefs, a.model, c.score, o.instruction,
           k.corrections, k.corrected_at
    FROM watch.alerts a JOIN watch.changes c ON c.change_id = a.change_id
    JOIN watch.coverage o ON o.observation_id = a.observation_id
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(n.kind ORDER BY n.ordinal), '{}') AS corrections,
               coalesce(array_agg(n.recorded_at ORDER BY n.ordinal), '{}') AS corrected_at
        FROM watch.alert_corrections n WHERE n.alert_id = a.alert_id) k
"""
_FEED = text(
    _TOLD
    + " WHERE a.watch = :watch ORDER BY greatest(a.created_at, k.corrected_at[cardinality(k.corrected_at)]) DESC,"
    " a.alert_id LIMIT :limit"
)
_ALERT = text(_TOLD + " WHERE a.alert_id = :alert_id")
_FEED_SIZE = text("SELECT count(*) FROM watch.alerts WHERE watch = :watch")
#: Two equal texts are two snapshots that see the same transactions.
_SNAPSHOT = text("SELECT CAST(pg_current_snapshot() AS text)")
_TILE = text(
    "SELECT CAST(pg_current_snapshot() AS text),"
    " watch.objects_tile(:watch, CAST(:at AS timestamptz), :z, :x, :y)"
)
_PROBE = text("SELECT 1 FROM watch.objects_now LIMIT 1")
_REVIEWS = text(
    """
    SELECT review_id, track_id, target, verdict, reviewer, reason, decided_at, holds, carried_from
    FROM watch.reviews WHERE watch = :watch ORDER BY decided_at, review_id
    """
)
#: What is missing on the slider, and why: the newest first, those of unknown time before all.
_UNUSED = text(
    """
    SELECT CAST(c.acquired_at AS text) AS acquired_at, c.state, c.reason, c.item_hrefs, count(*) OVER () AS of_all
    FROM watch.coverage c
    WHERE c.watch = :watch AND c.superseded_at IS NULL AND c.state IN ('skipped', 'failed', 'rejected')
    ORDER BY c.acquired_at DESC NULLS FIRST, c.observation_id LIMIT :limit
    """
)
_IMAGERY = text("SELECT * FROM watch.readable_imagery(:watch, CAST(:scene_id AS uuid)) ORDER BY item_id")

Rows = list[dict[str, Any]]


def watches(conn: Connection) -> Rows:
    """Every watch with its counts and the bounds of what was observed (None before the first observation).

    ``west`` is east of ``east`` where they cross the antimeridian.
    """
    return [_bounded(row) for row in _rows(conn, _WATCHES)]


def scenes(conn: Connection, watch: str) -> Rows:
    """The scenes of a watch by acquisition time."""
    return _rows(conn, _SCENES, watch=watch)


def unused(conn: Connection, watch: str, limit: int) -> Rows:
    """Scenes that were skipped or failed and items that were rejected, with reasons; ``of_all`` = their number."""
    return _rows(conn, _UNUSED, watch=watch, limit=limit)


def alerts(conn: Connection, watch: str, limit: int) -> tuple[Rows, int]:
    """The newest alerts of a watch with their bounds, larger ones first within one date; and how many there are."""
    rows = [_bounded(row) for row in _rows(conn, _ALERTS, watch=watch, limit=limit)]
    counts = [row.pop("of_all") for row in rows]
    return rows, counts[0] if counts else 0


def snapshot(conn: Connection) -> str:
    """Which transactions the database shows now: whatever is read stays the same as long as this does."""
    return str(conn.execute(_SNAPSHOT).scalar_one())


def tile(conn: Connection, watch: str, at: str, place: Tile) -> tuple[str, bytes]:
    """The vector tile of a watch's objects as they were at a time, and the snapshot that it was made from.

    See the database's ``watch.objects_tile``.
    """
    values = {"watch": watch, "at": at, "z": place.z, "x": place.x, "y": place.y}
    seen, made = conn.execute(_TILE, values).one()
    return str(seen), bytes(made)


def probe(conn: Connection) -> None:
    """Read something, to see whether the database answers."""
    conn.execute(_PROBE)


def feed(conn: Connection, watch: str, limit: int) -> tuple[Rows, int]:
    """The alerts of a watch that were raised or corrected last, as messages tell them; and how many there are."""
    rows = _rows(conn, _FEED, watch=watch, limit=limit)
    return rows, conn.execute(_FEED_SIZE, {"watch": watch}).scalar_one()


def alert(conn: Connection, alert_id: UUID) -> dict[str, Any] | None:
    """One of these."""
    rows = _rows(conn, _ALERT, alert_id=alert_id)
    return rows[0] if rows else None


def reviews(conn: Connection, watch: str) -> Rows:
    """Every verdict about the objects of a watch, oldest first."""
    return _rows(conn, _REVIEWS, watch=watch)


def imagery(conn: Connection, watch: str, scene_id: str) -> Rows:
    """The items in force of one scene."""
    return _rows(conn, _IMAGERY, watch=watch, scene_id=scene_id)


def _bounded(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose bounds were measured with longitudes both to 180 and to 360 degrees, with the narrower ones."""
    shifted = row.pop("west_to_360"), row.pop("east_to_360")
    if row["west"] is None:
        return row
    sides = ("west", "south", "east", "north")
    west, south, east, north = (row[side] for side in sides)
    return row | dict(zip(sides, narrower((west, south, east, north), shifted), strict=True))


def _rows(conn: Connection, query: Any, **values: object) -> Rows:
    return [dict(row) for row in conn.execute(query, values).mappings()]
