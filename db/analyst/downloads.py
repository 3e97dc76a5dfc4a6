"""Objects of a watch as the map shows them, for files: read with the rights of the analyst, in parts."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from segwatch.db.analyst.comparisons import Box
from segwatch.geo import identity

#: Rows that are fetched together.
_FETCHED = 500
#: Names as in :data:`segwatch.db.analyst.OBJECT_COLUMNS`.
SHOWN_COLUMNS = (
    "id", "object_id", "watch", "target", "model", "model_version", "model_mark", "score", "confidence", "status",
    "observations_for", "observations_against", "valid_begin", "valid_end", "area_m2", "review", "observation_id",
    "scene_id", "item_links", "accuracy", "geometry",
)  # fmt: skip
_SHOWN = text(
    """
    SELECT o.track_id, o.object_id, o.watch, o.target, o.model, o.score, o.confidence, o.status, o.observations_for,
           o.observations_against, o.valid_from, o.valid_to, o.area_m2, o.review, o.observation_id, o.scene_id,
           o.item_hrefs, o.accuracy, ST_AsBinary(ST_Multi(o.geom)) AS geometry
    FROM watch.objects_as_of(
        CAST(coalesce(CAST(:at AS timestamptz), 'infinity') AS timestamptz),
        CAST(coalesce(CAST(:known_at AS timestamptz), 'infinity') AS timestamptz),
        CASE WHEN CAST(:west AS float8) IS NOT NULL THEN ST_MakeEnvelope(:west, :south, :east, :north, 4326) END) o
    WHERE o.watch = :watch
      AND (CAST(:targets AS text[]) IS NULL OR o.target = ANY(CAST(:targets AS text[])))
      AND (CAST(:statuses AS text[]) IS NULL OR coalesce(o.status, 'not judged') = ANY(CAST(:statuses AS text[])))
    ORDER BY o.track_id LIMIT :limit
    """
)


@dataclass(frozen=True, slots=True)
class Shown:
    """Which objects the map shows."""

    watch: str
    at: datetime | None = None
    """When they were there, UTC; None = now."""
    known_at: datetime | None = None
    """Only what was recorded up to then, UTC; None = everything."""
    box: Box | None = None
    """West, south, east, north, degrees (EPSG:4326); None = everywhere."""
    targets: Collection[str] | None = None
    """None = all, as below."""
    statuses: Collection[str] | None = None


def iter_shown(conn: Connection, shown: Shown, limit: int) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield objects in parts of rows of :data:`SHOWN_COLUMNS`, in order of id, at most ``limit``."""
    sides = dict(zip(("west", "south", "east", "north"), shown.box or (None,) * 4, strict=True))
    values = {
        "watch": shown.watch,
        "at": shown.at,
        "known_at": shown.known_at,
        "targets": None if shown.targets is None else list(shown.targets),
        "statuses": None if shown.statuses is None else list(shown.statuses),
        "limit": limit,
        **sides,
    }
    for part in conn.execution_options(yield_per=_FETCHED).execute(_SHOWN, values).partitions():
        yield [_to_row(one) for one in part]


def _to_row(row: Row[Any]) -> tuple[Any, ...]:
    name, _, version = row.model.partition("@")
    mark = "demonstration model" if name in identity.DEMONSTRATION_MODELS else None
    return (
        str(row.track_id), str(row.object_id), row.watch, row.target, name, version or None, mark, row.score,
        row.confidence, row.status, row.observations_for, row.observations_against, row.valid_from, row.valid_to,
        row.area_m2, row.review, str(row.observation_id), str(row.scene_id), json.dumps(row.item_hrefs), row.accuracy,
        row.geometry,
    )  # fmt: skip
