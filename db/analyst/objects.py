"""Objects as the map shows them, and the reviews about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from segwatch.db.analyst.rows import Rows, fetch_rows
from segwatch.db.errors import NotFound

#: Two equal texts name two snapshots that see the same transactions.
_SNAPSHOT = text("SELECT CAST(pg_current_snapshot() AS text)")
_TILE = text(
    "SELECT CAST(pg_current_snapshot() AS text),"
    " watch.objects_tile(:watch, CAST(:at AS timestamptz), :z, :x, :y)"
)
_PROBE = text("SELECT 1 FROM watch.objects_now LIMIT 1")
#: The newest detection of an object up to a time, the largest of its scene.
_DETECTION = text(
    """
    SELECT d.acquired_at, d.evidence, d.shadow_share, d.shadow_iou,
           (SELECT s.shadow FROM watch.shadow_comparisons s WHERE s.observation_id = d.observation_id LIMIT 1) AS shadow
    FROM watch.detections d WHERE d.track_id = :track_id AND d.acquired_at <= CAST(:at AS timestamptz)
    ORDER BY d.acquired_at DESC, d.scene_id DESC, d.area_m2 DESC LIMIT 1
    """
)
_CHANGE = text(
    """
    SELECT c.kind, c.valid_at, c.evidence FROM watch.changes c
    WHERE c.track_id = :track_id AND c.retracted_at IS NULL AND NOT c.baseline
      AND c.valid_at <= CAST(:at AS timestamptz) AND c.status IS DISTINCT FROM 'refuted'
    ORDER BY c.valid_at DESC, c.recorded_at DESC, c.change_id LIMIT 1
    """
)
_IS_KNOWN = text("SELECT EXISTS (SELECT 1 FROM watch.object_history WHERE track_id = :track_id)")
_REVIEWS = text("SELECT * FROM watch.reviews WHERE watch = :watch ORDER BY decided_at, review_id")
_REVIEWS_WITHOUT_GEOMETRY = text(
    """
    SELECT review_id, track_id, target, verdict, reviewer, reason, decided_at, holds, carried_from
    FROM watch.reviews WHERE watch = :watch ORDER BY decided_at, review_id
    """
)


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """Spectral evidence of an object and its last change, and the agreement of the shadow segmenter, at a time."""

    detection: dict[str, Any] | None
    """``acquired_at``, ``evidence``, ``shadow``, ``shadow_share``, ``shadow_iou``; None = not found until then."""
    change: dict[str, Any] | None
    """``kind``, ``valid_at``, ``evidence``; None = it did not change until then."""


def read_snapshot(conn: Connection) -> str:
    """Name the database snapshot that this transaction sees; nothing read changes while the name stays the same."""
    return str(conn.execute(_SNAPSHOT).scalar_one())


def read_object_tile(conn: Connection, watch: str, at: str, z: int, x: int, y: int) -> tuple[str, bytes]:
    """Make the vector tile (MVT) of a watch's objects as they were at a time.

    ``z``, ``x`` and ``y`` count tiles of the web mercator grid; see the database function ``watch.objects_tile``.

    Returns
    -------
    tuple[str, bytes]
        The snapshot that the tile was made from, as :func:`read_snapshot` names it, and the tile.
    """
    values = {"watch": watch, "at": at, "z": z, "x": x, "y": y}
    snapshot, tile = conn.execute(_TILE, values).one()
    return str(snapshot), bytes(tile)


def read_second_opinion(conn: Connection, track_id: UUID, at: str) -> SecondOpinion:
    """Read what is known of an object at a time that does not depend on the model.

    ``at`` is a time as PostgreSQL reads it, such as those of :func:`segwatch.db.analyst.list_scenes`.

    Raises
    ------
    segwatch.db.errors.NotFound
        The reader sees no such object.
    """
    values = {"track_id": track_id, "at": at}
    detections = fetch_rows(conn, _DETECTION, **values)
    changes = fetch_rows(conn, _CHANGE, **values)
    if not (detections or changes or conn.execute(_IS_KNOWN, {"track_id": track_id}).scalar_one()):
        raise NotFound(f"there is no object {track_id}; watch.objects_now and watch.object_history list them")
    return SecondOpinion(detections[0] if detections else None, changes[0] if changes else None)


def check_readable(conn: Connection) -> None:
    """Read a row of the analyst views; raises what the database raises when it cannot."""
    conn.execute(_PROBE)


def list_reviews(conn: Connection, watch: str, *, geometry: bool = False) -> Rows:
    """List every review of the objects of a watch, oldest first; ``geometry`` adds the outlines as hex EWKB."""
    return fetch_rows(conn, _REVIEWS if geometry else _REVIEWS_WITHOUT_GEOMETRY, watch=watch)
