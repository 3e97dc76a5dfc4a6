"""Observations of a watch with what was found in each, and the reviewed truth, as STAC catalogs hold them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from segwatch.db.analyst.exports import Selection
from segwatch.db.analyst.rows import Rows, fetch_rows

#: Observations in force then, in order of acquisition: of a scene that was observed again, the version that held.
_OBSERVATIONS = text(
    """
    SELECT o.id AS observation_id, o.scene_id, p.scene_key, p.acquired_at, o.committed_at, p.model, p.instruction,
           i.targets, p.catalog, s.collection, s.platform, o.clear_share, o.area_km2, o.tiles, o.tiles_failed, o.answer,
           ST_AsBinary(ST_Multi(o.footprint)) AS footprint, p.item_hrefs,
           (SELECT count(*) FROM segwatch.detection d WHERE d.observation_id = o.id) AS detections,
           CASE WHEN cardinality(o.items) = 1 THEN
               (SELECT n.assets FROM segwatch.scene_item n WHERE n.id = o.items[1]) END AS assets
    FROM segwatch.observation o
    JOIN segwatch.provenance p ON p.observation_id = o.id
    JOIN segwatch.scene s ON s.id = o.scene_id
    JOIN segwatch.instruction i ON i.id = p.instruction_revision
    WHERE p.watch = :watch AND o.state = 'observed' AND o.acquired_at <= CAST(:at AS timestamptz)
      AND o.committed_at <= CAST(:known AS timestamptz)
      AND (o.superseded_at IS NULL OR o.superseded_at > CAST(:known AS timestamptz))
      AND (CAST(:bounds AS geometry) IS NULL OR ST_Intersects(o.footprint, CAST(:bounds AS geometry)))
    ORDER BY o.acquired_at, o.scene_id, o.id
    """
)
_DETECTIONS = text(
    """
    SELECT CAST(d.id AS text) AS id, CAST(d.track_id AS text) AS track_id, d.target, d.score, d.area_m2,
           ST_AsBinary(ST_Multi(d.geom)) AS geometry
    FROM segwatch.detection d
    WHERE d.observation_id = :observation_id
      AND (CAST(:bounds AS geometry) IS NULL OR ST_Intersects(d.geom, CAST(:bounds AS geometry)))
    ORDER BY d.ordinal
    """
)
_REVIEWED = text(
    """
    SELECT CAST(r.review_id AS text) AS id, CAST(r.track_id AS text) AS track_id, r.target, r.verdict, r.looked_at,
           r.decided_at, ST_AsBinary(ST_Multi(r.geom)) AS geometry
    FROM watch.reviews r
    WHERE r.watch = :watch AND r.carried_from IS NULL
      AND r.looked_at <= CAST(:at AS timestamptz) AND r.decided_at <= CAST(:known AS timestamptz)
      AND NOT EXISTS (SELECT 1 FROM watch.reviews n WHERE n.track_id = r.track_id AND n.decided_at > r.decided_at
                      AND n.decided_at <= CAST(:known AS timestamptz))
      AND (CAST(:bounds AS geometry) IS NULL OR ST_Intersects(r.geom, CAST(:bounds AS geometry)))
    ORDER BY r.decided_at, r.review_id
    """
)
OBSERVATION_COLUMNS = (
    "id", "scene_id", "acquired_at", "recorded_at", "instruction", "model", "answer", "clear_share", "observed_km2",
    "detections", "item_links", "geometry",
)  # fmt: skip
DETECTION_COLUMNS = ("id", "track_id", "target", "score", "area_m2", "geometry")
REVIEW_COLUMNS = ("id", "track_id", "target", "verdict", "looked_at", "decided_at", "geometry")


def list_observations(conn: Connection, selection: Selection) -> Rows:
    """List the observations of a watch in order of acquisition.

    ``footprint`` is the observed footprint as WKB, EPSG:4326. ``assets`` maps names to links of the only item of the
    scene; None if there are several.
    """
    return fetch_rows(conn, _OBSERVATIONS, **selection.values)


def iter_observations(conn: Connection, selection: Selection) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield the observations of a watch as :func:`list_observations` does, as rows of :data:`OBSERVATION_COLUMNS`."""
    for row in list_observations(conn, selection):
        yield [
            (
                str(row["observation_id"]), str(row["scene_id"]), row["acquired_at"], row["committed_at"],
                row["instruction"], row["model"], row["answer"], row["clear_share"], row["area_km2"],
                row["detections"], json.dumps(row["item_hrefs"]), row["footprint"],
            )
        ]  # fmt: skip


def iter_detections(
    conn: Connection, observation_id: UUID, selection: Selection
) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield the detections of an observation in parts of rows of :data:`DETECTION_COLUMNS`."""
    yield from conn.execute(
        _DETECTIONS, {"observation_id": observation_id, "bounds": selection.values["bounds"]}
    ).partitions(500)


def iter_reviewed(conn: Connection, selection: Selection) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield the latest verdict about each reviewed object in parts of rows of :data:`REVIEW_COLUMNS`."""
    yield from conn.execute(_REVIEWED, selection.values).partitions(500)
