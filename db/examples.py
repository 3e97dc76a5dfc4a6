"""What people judged about the objects and the ground of a watch: examples to evaluate a model on and to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, text

from segwatch.db import watches
from segwatch.db.codec import from_ewkb
from segwatch.db.errors import NotFound
from segwatch.geo.types.assessment import Label

#: Verdicts on objects of the series in force, those that were carried over to it too.
_HELD = text(
    """
    SELECT k.target, v.verdict, v.outline, v.geom, v.carried_from IS NOT NULL AS carried
    FROM segwatch.verdict v JOIN segwatch.track k ON k.id = v.track_id
    JOIN segwatch.series s ON s.id = k.series_id
    WHERE s.watch_name = :watch AND s.id IN (SELECT series_id FROM segwatch.current_series)
    ORDER BY k.target, v.id
    """
)
#: Verdicts that people gave on objects of any series of the watch, with the last observation that showed the object.
_REVIEWED = text(
    """
    SELECT k.target, v.verdict, v.outline, v.geom, o.id AS observation_id, o.scene_id
    FROM segwatch.verdict v JOIN segwatch.track k ON k.id = v.track_id
    JOIN segwatch.series s ON s.id = k.series_id
    CROSS JOIN LATERAL (
        SELECT o.id, o.scene_id FROM segwatch.observation o
        WHERE o.series_id = s.id AND o.state = 'observed' AND o.superseded_at IS NULL
          AND o.acquired_at <= v.looked_at AND ST_Intersects(o.footprint, v.outline)
        ORDER BY o.acquired_at DESC, o.scene_id DESC LIMIT 1) o
    WHERE s.watch_name = :watch AND v.carried_from IS NULL ORDER BY v.id
    """
)
#: Labels of points of the newest labelled assessment of each series of the watch, or of the series in force alone.
_POINTS = text(
    """
    SELECT p.target, p.stratum, p.geom, p.after_scene, l.label
    FROM segwatch.assessment_sample p
    JOIN segwatch.current_label l ON l.sample_id = p.id AND l.label <> 'unclear'
    WHERE p.stratum IN ('mapped', 'background') AND p.assessment_id IN (
        SELECT DISTINCT ON (a.series_id) a.id FROM segwatch.assessment a
        JOIN segwatch.series s ON s.id = a.series_id
        WHERE s.watch_name = :watch
          AND (NOT :in_force OR s.id IN (SELECT series_id FROM segwatch.current_series))
          AND EXISTS (SELECT FROM segwatch.assessment_sample q
                      JOIN segwatch.assessment_label m ON m.sample_id = q.id WHERE q.assessment_id = a.id)
        ORDER BY a.series_id, a.ordinal DESC)
    ORDER BY p.id
    """
)
#: Mapped and other ground of each target, m², in the newest labelled assessment of the series in force.
_AREAS = text(
    """
    SELECT t.target, t.stratum, t.area_m2 FROM segwatch.assessment_stratum t
    WHERE t.stratum IN ('mapped', 'background') AND t.assessment_id = (
        SELECT a.id FROM segwatch.assessment a JOIN segwatch.series s ON s.id = a.series_id
        WHERE s.watch_name = :watch AND s.id IN (SELECT series_id FROM segwatch.current_series)
          AND EXISTS (SELECT FROM segwatch.assessment_sample q
                      JOIN segwatch.assessment_label m ON m.sample_id = q.id WHERE q.assessment_id = a.id)
        ORDER BY a.ordinal DESC LIMIT 1)
    ORDER BY t.target, t.stratum
    """
)
_DETECTIONS = text(
    "SELECT target, geom FROM segwatch.detection WHERE observation_id = :observation_id ORDER BY id"
)
#: The newest observation that shows most of the AOI clearly; else the clearest one.
_CLEAR = text(
    """
    SELECT o.id, o.scene_id, o.acquired_at, o.footprint, o.clear_share
    FROM segwatch.observation o JOIN segwatch.series s ON s.id = o.series_id
    WHERE s.watch_name = :watch AND o.state = 'observed' AND o.superseded_at IS NULL
      AND NOT ST_IsEmpty(o.footprint)
    ORDER BY coalesce(o.clear_share, 0) >= :least DESC,
             CASE WHEN coalesce(o.clear_share, 0) >= :least THEN o.acquired_at END DESC,
             o.clear_share DESC NULLS LAST, o.acquired_at DESC, o.id
    LIMIT 1
    """
)
#: Least share of the AOI that is clear on a clear scene.
LEAST_CLEAR = 0.8


@dataclass(frozen=True, slots=True)
class JudgedObject:
    """An object with a verdict."""

    target: str
    verdict: str
    """``confirmed``, ``rejected`` or ``edited``."""
    outline: BaseGeometry
    """As the model found it, EPSG:4326."""
    drawn: BaseGeometry | None
    """As the reviewer drew it; None unless edited."""
    observation_id: UUID | None = None
    """The last observation that showed it when it was judged."""
    scene_id: UUID | None = None
    carried: bool = False
    """Whether the verdict was given on another track of the same object."""


@dataclass(frozen=True, slots=True)
class LabelledPoint:
    """A point of an assessment with what a person saw there in the later picture."""

    target: str
    stratum: str
    point: BaseGeometry
    scene_id: UUID
    label: Label


@dataclass(frozen=True, slots=True)
class ClearObservation:
    """The newest clear observation of a watch."""

    observation_id: UUID
    scene_id: UUID
    acquired_at: datetime
    footprint: BaseGeometry
    """EPSG:4326."""


def list_held(conn: Connection, watch: str) -> list[JudgedObject]:
    """List the objects of the series in force that have a verdict."""
    return [
        JudgedObject(row.target, row.verdict, from_ewkb(row.outline), _load(row.geom), carried=row.carried)
        for row in conn.execute(_HELD, {"watch": watch})
    ]


def list_reviewed(conn: Connection, watch: str) -> list[JudgedObject]:
    """List the objects of all series of a watch on which people gave verdicts, with the scenes that showed them."""
    return [
        JudgedObject(
            row.target,
            row.verdict,
            from_ewkb(row.outline),
            _load(row.geom),
            row.observation_id,
            row.scene_id,
        )
        for row in conn.execute(_REVIEWED, {"watch": watch})
    ]


def list_points(conn: Connection, watch: str, *, in_force: bool = False) -> list[LabelledPoint]:
    """List the labelled points of a watch's assessments, without unclear ones.

    Parameters
    ----------
    in_force
        Only those of the series in force.
    """
    return [
        LabelledPoint(row.target, row.stratum, from_ewkb(row.geom), row.after_scene, Label(row.label))
        for row in conn.execute(_POINTS, {"watch": watch, "in_force": in_force})
    ]


def read_areas(conn: Connection, watch: str) -> dict[tuple[str, str], float]:
    """Read the area of each target and stratum of points, m², in the assessment of :func:`list_points` in force."""
    return {(row.target, row.stratum): row.area_m2 for row in conn.execute(_AREAS, {"watch": watch})}


def list_detections(conn: Connection, observation_id: UUID) -> list[tuple[str, BaseGeometry]]:
    """List target and geometry (EPSG:4326) of the detections of an observation."""
    rows = conn.execute(_DETECTIONS, {"observation_id": observation_id})
    return [(row.target, from_ewkb(row.geom)) for row in rows]


def find_clear_observation(conn: Connection, watch: str) -> ClearObservation:
    """Find the newest observation of a watch that is clear over most of the AOI; else the clearest one.

    Raises
    ------
    NotFound
        There is no such watch, or it has no observed scene.
    """
    watches.require(conn, watch)
    row = conn.execute(_CLEAR, {"watch": watch, "least": LEAST_CLEAR}).one_or_none()
    if row is None:
        raise NotFound(f"watch {watch} has no observed scene; run: segwatch run {watch}")
    return ClearObservation(row.id, row.scene_id, row.acquired_at, from_ewkb(row.footprint))


def read_model(conn: Connection, series_id: UUID) -> str:
    """Read the model version of a series."""
    query = text("SELECT model_version FROM segwatch.series WHERE id = :id")
    return str(conn.execute(query, {"id": series_id}).scalar_one())


def _load(value: object) -> BaseGeometry | None:
    return None if value is None else from_ewkb(value)
