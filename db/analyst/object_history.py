"""One object over time: what each observation found of it, its lineage and its reviews."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from segwatch.db.analyst.rows import Rows, fetch_rows
from segwatch.db.errors import NotFound

#: The newest observations, in order of acquisition.
_OBSERVATIONS = text(
    """
    SELECT * FROM (
        SELECT o.*, count(*) OVER () AS of_all FROM watch.object_observations(:track_id) o
        WHERE CAST(:watch AS text) IS NULL OR o.watch = :watch
        ORDER BY o.acquired_at DESC, o.observation_id LIMIT :limit) newest
    ORDER BY acquired_at, observation_id
    """
)
_LINEAGE = text("SELECT * FROM watch.object_lineage(:track_id)")
_REVIEWS = text(
    """
    SELECT review_id, verdict, reviewer, reason, decided_at, holds FROM watch.reviews
    WHERE track_id = :track_id ORDER BY decided_at, review_id
    """
)


@dataclass(frozen=True, slots=True)
class ObjectHistory:
    """One object over time, as known now."""

    watch: str
    target: str
    observations: Rows
    """Rows of ``watch.object_observations``, oldest first; of many only the newest."""
    observations_of_all: int
    """Number of observations without the limit."""
    parents: Rows
    """Objects that it came out of: ``track_id``, ``kind`` and ``at``."""
    children: Rows
    """Objects that came out of it."""
    reviews: Rows


def read_object_history(
    conn: Connection, track_id: UUID, watch: str | None = None, limit: int = 1000
) -> ObjectHistory:
    """Read an object over time.

    Parameters
    ----------
    watch
        Watch that the object must belong to; None = any.
    limit
        Most observations; the newest are kept.

    Raises
    ------
    segwatch.db.errors.NotFound
        The reader sees no such object, or a review rejected it.
    """
    rows = fetch_rows(conn, _OBSERVATIONS, track_id=track_id, watch=watch, limit=limit)
    if not rows:
        raise NotFound(f"there is no object {track_id} that is shown; watch.object_history lists objects")
    counts = [row.pop("of_all") for row in rows]
    lineage = fetch_rows(conn, _LINEAGE, track_id=track_id)
    return ObjectHistory(
        watch=rows[0]["watch"],
        target=rows[0]["target"],
        observations=rows,
        observations_of_all=counts[0],
        parents=[_relate(row, "parent") for row in lineage if row["child"] == track_id],
        children=[_relate(row, "child") for row in lineage if row["parent"] == track_id],
        reviews=fetch_rows(conn, _REVIEWS, track_id=track_id),
    )


def _relate(row: dict[str, Any], side: str) -> dict[str, Any]:
    return {"track_id": row[side], "kind": row["kind"], "at": row["valid_at"]}
