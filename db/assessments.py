"""Accuracy assessments: populations to draw from, stored samples, and the labels that people give them.

Rows are only added: a new assessment of a series has a sample of its own, and of several labels of a sample the last
one counts. Which units are drawn is decided by :mod:`segwatch.flows.assessment`, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import shapely
from shapely.geometry import GeometryCollection, MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, text

from segwatch.db import accuracies, mutexes
from segwatch.db.codec import from_ewkb, to_ewkb
from segwatch.db.errors import LabelRefused, NotFound
from segwatch.db.ids import make_id
from segwatch.geo.bounded import operations
from segwatch.geo.text.storable import to_storable
from segwatch.geo.types.assessment import Label, Unit

MAX_NAME_LENGTH = 2000
#: Largest sample of one assessment.
MAX_SAMPLES = 5000

#: Objects of the series that holds now, cut to the AOI: what the map shows.
_OBJECTS = """
    SELECT n.track_id, n.confidence, n.geom,
           CASE WHEN ST_CoveredBy(n.geom, a.geom) THEN n.area_m2
                ELSE ST_Area(CAST(ST_CollectionExtract(ST_Intersection(n.geom, a.geom), 3) AS geography)) END AS m2
    FROM watch.objects_now n CROSS JOIN (SELECT geom FROM watch.watches WHERE watch = :watch) a
    WHERE n.watch = :watch AND n.target = :target
"""
#: Changes that hold and have a place: of those that came and went at once, the part that was gained.
_CHANGES = """
    SELECT * FROM (
        SELECT c.id, c.confidence, c.observation_id, c.track_id, c.valid_at,
               CASE WHEN c.status = 'refuted' THEN 'refuted' ELSE c.kind END AS stratum,
               c.kind IN ('appeared', 'reappeared', 'grew')
               OR (c.gained IS NOT NULL AND c.kind NOT IN ('disappeared', 'shrank')) AS came,
               CASE WHEN c.kind IN ('appeared', 'reappeared', 'grew') THEN coalesce(c.gained, c.geom)
                    WHEN c.kind IN ('disappeared', 'shrank') THEN coalesce(c.lost, c.geom)
                    ELSE coalesce(c.gained, c.lost) END AS part
        FROM segwatch.held_change c
        JOIN segwatch.observation o ON o.id = c.observation_id
        WHERE o.series_id = :series_id AND c.target = :target AND NOT c.baseline AND c.retracted_at IS NULL) k
    WHERE part IS NOT NULL AND ST_Area(part) > 0
"""
_HEAD = text(
    """
    SELECT s.id AS series_id, w.gsd_m, w.targets
    FROM segwatch.current_series c JOIN segwatch.series s ON s.id = c.series_id
    JOIN watch.watches w ON w.watch = s.watch_name WHERE s.watch_name = :watch
    """
)
_TARGETS = text("SELECT DISTINCT target FROM segwatch.track WHERE series_id = :series_id")
_AOI = text("SELECT geom FROM watch.watches WHERE watch = :watch")
#: Parts of the ground that the series observed; where old versions stored none, what its observations covered.
_GROUND = text(
    """
    SELECT s.geom FROM segwatch.seen_ground s WHERE s.series_id = :series_id AND NOT ST_IsEmpty(s.geom)
    UNION ALL
    SELECT o.footprint FROM segwatch.observation o
    WHERE o.series_id = :series_id AND o.state = 'observed' AND o.superseded_at IS NULL
      AND NOT EXISTS (SELECT 1 FROM segwatch.seen_ground s WHERE s.series_id = :series_id)
    """
).execution_options(yield_per=20)
_GEODESIC_M2 = text("SELECT ST_Area(CAST(CAST(:geom AS geometry) AS geography))")
_SUM_OBJECTS = text(f"SELECT count(*) AS objects, coalesce(sum(m2), 0) AS m2 FROM ({_OBJECTS}) o")  # noqa: S608
_COUNT_CHANGES = text(f"SELECT stratum, count(*) AS n FROM ({_CHANGES}) c GROUP BY stratum ORDER BY stratum")  # noqa: S608
#: How many of the positions fall into the part of each object; width_bucket searches the sorted array.
_BY_AREA = text(
    f"""
    WITH o AS ({_OBJECTS}), cut AS (
        SELECT o.*, sum(m2) OVER (ORDER BY track_id ROWS UNBOUNDED PRECEDING) AS top FROM o WHERE m2 > 0)
    SELECT cut.track_id, cut.confidence, ST_CollectionExtract(ST_Intersection(cut.geom, a.geom), 3) AS geom,
           width_bucket(top, :positions) - width_bucket(top - m2, :positions) AS points
    FROM cut CROSS JOIN (SELECT geom FROM watch.watches WHERE watch = :watch) a
    WHERE width_bucket(top, :positions) > width_bucket(top - m2, :positions) ORDER BY track_id
    """  # noqa: S608 - parts of this file
)
_BY_ORDINAL = text(
    f"""
    SELECT * FROM (SELECT o.*, row_number() OVER (ORDER BY track_id) AS n FROM ({_OBJECTS}) o) numbered
    WHERE n = ANY (:ordinals) ORDER BY n
    """  # noqa: S608 - parts of this file
)
_CHANGES_BY_ORDINAL = text(
    f"""
    SELECT numbered.*, o.scene_id, o.acquired_at FROM (
        SELECT c.*, row_number() OVER (ORDER BY id) AS n FROM ({_CHANGES}) c WHERE stratum = :stratum) numbered
    JOIN segwatch.observation o ON o.id = numbered.observation_id
    WHERE n = ANY (:ordinals) ORDER BY n
    """  # noqa: S608 - parts of this file
)
_POINTS = (
    "SELECT n, ST_SetSRID(ST_Point(lon, lat), 4326) AS geom"
    " FROM unnest(CAST(:lons AS float8[]), CAST(:lats AS float8[])) WITH ORDINALITY AS p(lon, lat, n)"
)
#: LIMIT has each point looked up in the spatial index; joined as a whole, every object would be compared.
_ON_OBJECTS = text(
    f"""
    SELECT p.n FROM ({_POINTS}) p JOIN LATERAL (
        SELECT FROM watch.objects_now o
        WHERE o.watch = :watch AND o.target = :target AND ST_Intersects(o.geom, p.geom) LIMIT 1) hit ON true
    """  # noqa: S608 - parts of this file
)
_SCENES = """
    SELECT o.scene_id FROM segwatch.observation o JOIN segwatch.series s ON s.id = o.series_id
    WHERE s.watch_name = :watch AND o.state = 'observed' AND o.superseded_at IS NULL
      AND ST_Intersects(o.footprint, p.geom)
"""
_FIRST_AND_LAST = text(
    f"""
    SELECT p.n, first.scene_id AS before, last.scene_id AS after FROM ({_POINTS}) p
    JOIN LATERAL ({_SCENES} ORDER BY o.acquired_at, o.scene_id LIMIT 1) first ON true
    JOIN LATERAL ({_SCENES} ORDER BY o.acquired_at DESC, o.scene_id DESC LIMIT 1) last ON true
    """  # noqa: S608 - parts of this file
)
#: The last scene at a point before a change. An object that went was still there when it was last detected: an
#: observation after that, of too little of it to count as a miss, may show the ground without it.
_BEFORE = text(
    f"""
    SELECT before.scene_id FROM (
        SELECT CAST(:point AS geometry) AS geom, (
            SELECT max(t.last_seen) FROM segwatch.track_state t
            WHERE t.track_id = :track_id AND upper_inf(t.recorded) AND t.last_seen < :valid_at) AS last_seen) p
    JOIN LATERAL ({_SCENES} AND o.acquired_at < :valid_at
                  AND (CAST(:came AS boolean) OR o.acquired_at <= coalesce(p.last_seen, 'infinity'))
                  ORDER BY o.acquired_at DESC, o.scene_id DESC LIMIT 1) before ON true
    """  # noqa: S608 - parts of this file
)
#: The first scene at a point that shows a change, at the latest the one that raised it.
_AFTER = text(
    f"""
    SELECT after.scene_id FROM (SELECT CAST(:point AS geometry) AS geom) p
    JOIN LATERAL ({_SCENES} AND o.acquired_at >= :valid_at AND o.acquired_at < :raised_at
                  ORDER BY o.acquired_at, o.scene_id LIMIT 1) after ON true
    """  # noqa: S608 - parts of this file
)
_NEXT = text("SELECT coalesce(max(ordinal), 0) + 1 FROM segwatch.assessment WHERE series_id = :series_id")
_ADD = text(
    """
    INSERT INTO segwatch.assessment (id, series_id, ordinal, seed, drawn_at)
    VALUES (:id, :series_id, :ordinal, :seed, now()) RETURNING drawn_at
    """
)
_ADD_STRATUM = text(
    """
    INSERT INTO segwatch.assessment_stratum (assessment_id, target, stratum, unit, size, area_m2)
    VALUES (:assessment_id, :target, :stratum, :unit, :size, :area_m2)
    """
)
_ADD_SAMPLE = text(
    """
    INSERT INTO segwatch.assessment_sample (id, assessment_id, ordinal, target, stratum, probability, geom, track_id,
                                            change_id, confidence, before_scene, after_scene, agreeing)
    VALUES (:id, :assessment_id, :ordinal, :target, :stratum, :probability, CAST(:geom AS geometry), :track_id,
            :change_id, :confidence, :before_scene, :after_scene, :agreeing)
    """
)
#: The newest assessment of the series in force.
_FIND = text(
    """
    SELECT a.id FROM segwatch.assessment a JOIN segwatch.series s ON s.id = a.series_id
    WHERE s.watch_name = :watch AND a.series_id IN (SELECT series_id FROM segwatch.current_series)
    ORDER BY a.ordinal DESC LIMIT 1
    """
)
_LIST = text(
    """
    SELECT p.id AS sample_id, p.ordinal, p.target, ST_X(p.geom) AS lon, ST_Y(p.geom) AS lat, p.before_scene,
           b.acquired_at AS before_at, p.after_scene, f.acquired_at AS after_at, l.label, l.labeller, l.labelled_at,
           CASE WHEN l.label IS NOT NULL THEN p.stratum END AS stratum,
           CASE WHEN l.label <> 'unclear' THEN l.label = ANY (p.agreeing) END AS agrees
    FROM segwatch.assessment_sample p
    JOIN segwatch.scene f ON f.id = p.after_scene
    LEFT JOIN segwatch.scene b ON b.id = p.before_scene
    LEFT JOIN segwatch.current_label l ON l.sample_id = p.id
    WHERE p.assessment_id = :id ORDER BY p.ordinal
    """
)
_SAMPLE = text("SELECT assessment_id, stratum, agreeing FROM segwatch.assessment_sample WHERE id = :id")
_LAST_LABEL = text("SELECT ordinal, label, labeller FROM segwatch.current_label WHERE sample_id = :id")
_ADD_LABEL = text(
    """
    INSERT INTO segwatch.assessment_label (sample_id, ordinal, label, labeller)
    VALUES (:id, :ordinal, :label, :labeller)
    """
)


@dataclass(frozen=True, slots=True)
class AssessedSeries:
    """The series in force of a watch, and what its map covers."""

    watch: str
    series_id: UUID
    gsd_m: float
    """Side of a pixel of the source, metres: the sampling unit on the ground."""
    targets: tuple[str, ...]
    ground: BaseGeometry
    """Observed part of the AOI, EPSG:4326."""
    ground_m2: float


@dataclass(frozen=True, slots=True)
class DrawnObject:
    """An object, or a part of it inside the AOI, and how many random points it got."""

    track_id: UUID
    confidence: float | None
    geometry: BaseGeometry
    points: int = 1


@dataclass(frozen=True, slots=True)
class DrawnChange:
    """A change, the part of the ground that it turned, and when."""

    change_id: UUID
    confidence: float | None
    geometry: BaseGeometry
    came: bool
    """Whether the target came there; else it went."""
    track_id: UUID
    valid_at: datetime
    """When it happened on the ground; earlier than ``raised_at`` where several observations were needed to tell."""
    scene_id: UUID
    """Scene that raised it."""
    raised_at: datetime
    """Acquisition time of that scene."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """A stratum with its size, for storing."""

    target: str
    name: str
    unit: Unit
    size: float
    area_m2: float = 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A drawn unit, for storing."""

    target: str
    stratum: str
    probability: float
    point: Point
    """EPSG:4326."""
    after_scene: UUID
    before_scene: UUID | None
    agreeing: tuple[Label, ...]
    track_id: UUID | None = None
    change_id: UUID | None = None
    confidence: float | None = None


def load_series(conn: Connection, watch: str) -> AssessedSeries:
    """Load the series in force of a watch.

    Raises
    ------
    NotFound
        The watch has no published observation.
    """
    head = conn.execute(_HEAD, {"watch": watch}).one_or_none()
    values = {"watch": watch, "series_id": None if head is None else head.series_id}
    ground = GeometryCollection() if head is None else _find_ground(conn, values)
    if head is None or ground.is_empty:
        raise NotFound(
            f"watch {watch} has no observed scene, so there is nothing to assess; run: segwatch run {watch}"
        )
    targets = {*head.targets, *conn.execute(_TARGETS, values).scalars()}
    ground_m2 = float(conn.execute(_GEODESIC_M2, {"geom": to_ewkb(ground)}).scalar_one())
    return AssessedSeries(watch, head.series_id, head.gsd_m, tuple(sorted(targets)), ground, ground_m2)


def _find_ground(conn: Connection, values: Mapping[str, object]) -> BaseGeometry:
    """Find the observed part of the AOI, in bounded memory however many observations there are."""
    area = from_ewkb(conn.execute(_AOI, values).scalar_one())
    with conn.execute(_GROUND, values) as rows:
        gap = operations.subtract_all(area, (from_ewkb(row.geom) for row in rows))
    ground = operations.subtract_all(area, [gap])
    return MultiPolygon([one for one in shapely.get_parts(ground).tolist() if isinstance(one, Polygon)])


def sum_objects(conn: Connection, watch: str, target: str) -> tuple[int, float]:
    """Count the objects of a target, and sum up their area inside the AOI in geodesic m²."""
    row = conn.execute(_SUM_OBJECTS, {"watch": watch, "target": target}).one()
    return row.objects, float(row.m2)


def count_changes(conn: Connection, series_id: UUID, target: str) -> dict[str, int]:
    """Count the changes of a target by stratum: kinds of change, and ``refuted``."""
    return {
        row.stratum: row.n for row in conn.execute(_COUNT_CHANGES, {"series_id": series_id, "target": target})
    }


def pick_objects_by_area(
    conn: Connection, watch: str, target: str, positions: Sequence[float]
) -> list[DrawnObject]:
    """Find the objects that positions (m²) fall into if the objects' areas lie side by side in order of their ids."""
    values = {"watch": watch, "target": target, "positions": list(positions)}
    rows = conn.execute(_BY_AREA, values)
    return [DrawnObject(row.track_id, row.confidence, from_ewkb(row.geom), row.points) for row in rows]


def pick_objects(conn: Connection, watch: str, target: str, ordinals: Sequence[int]) -> list[DrawnObject]:
    """Find objects by their numbers, from 1 on in order of their ids."""
    values = {"watch": watch, "target": target, "ordinals": list(ordinals)}
    return [
        DrawnObject(row.track_id, row.confidence, from_ewkb(row.geom))
        for row in conn.execute(_BY_ORDINAL, values)
    ]


def pick_changes(
    conn: Connection, series_id: UUID, target: str, stratum: str, ordinals: Sequence[int]
) -> list[DrawnChange]:
    """Find changes of a stratum by their numbers, from 1 on in order of their ids."""
    values = {"series_id": series_id, "target": target, "stratum": stratum, "ordinals": list(ordinals)}
    return [
        DrawnChange(
            change_id=row.id,
            confidence=row.confidence,
            geometry=from_ewkb(row.part),
            came=row.came,
            track_id=row.track_id,
            valid_at=row.valid_at,
            scene_id=row.scene_id,
            raised_at=row.acquired_at,
        )
        for row in conn.execute(_CHANGES_BY_ORDINAL, values)
    ]


def find_mapped(conn: Connection, watch: str, target: str, points: Sequence[Point]) -> set[int]:
    """Find which points lie on objects of a target; returns their indices."""
    rows = conn.execute(_ON_OBJECTS, {"watch": watch, "target": target, **_to_arrays(points)})
    return {row.n - 1 for row in rows}


def find_first_and_last_scenes(
    conn: Connection, watch: str, points: Sequence[Point]
) -> dict[int, tuple[UUID, UUID]]:
    """Find the first and the last observed scene at each point, by index; points that none shows are left out."""
    rows = conn.execute(_FIRST_AND_LAST, {"watch": watch, **_to_arrays(points)})
    return {row.n - 1: (row.before, row.after) for row in rows}


def find_scenes_around(
    conn: Connection, watch: str, point: Point, change: DrawnChange
) -> tuple[UUID | None, UUID]:
    """Find the last scene at a point before a change, if there is one, and the first that shows the change.

    An object that went is still there in the scene before: it is none after the object's last detection. Where several
    observations were needed to tell, as after ``gone_after`` misses, the scene after is that of the first of them.
    """
    values = {
        "watch": watch,
        "point": to_ewkb(point),
        "track_id": change.track_id,
        "came": change.came,
        "valid_at": change.valid_at,
        "raised_at": change.raised_at,
    }
    before = conn.execute(_BEFORE, values).scalar_one_or_none()
    after = conn.execute(_AFTER, values).scalar_one_or_none()
    return before, after or change.scene_id


def _to_arrays(points: Sequence[Point]) -> dict[str, list[float]]:
    return {"lons": [one.x for one in points], "lats": [one.y for one in points]}


def add(
    conn: Connection,
    series_id: UUID,
    seed: int,
    strata: Sequence[Stratum],
    samples: Sequence[tuple[int, Sample]],
) -> UUID:
    """Store an assessment; ``samples`` are numbered in the order in which they are labelled."""
    ordinal = conn.execute(_NEXT, {"series_id": series_id}).scalar_one()
    made = make_id("assessment", series_id, ordinal)
    conn.execute(_ADD, {"id": made, "series_id": series_id, "ordinal": ordinal, "seed": seed})
    for one in strata:
        row = {"target": one.target, "stratum": one.name, "unit": one.unit.value, "size": one.size}
        conn.execute(_ADD_STRATUM, {**row, "assessment_id": made, "area_m2": one.area_m2})
    rows = [_to_row(made, number, sample) for number, sample in samples]
    if rows:
        conn.execute(_ADD_SAMPLE, rows)
    return made


def _to_row(assessment_id: UUID, ordinal: int, sample: Sample) -> dict[str, Any]:
    return {
        "id": make_id("assessment_sample", assessment_id, ordinal),
        "assessment_id": assessment_id,
        "ordinal": ordinal,
        "target": sample.target,
        "stratum": sample.stratum,
        "probability": sample.probability,
        "geom": to_ewkb(sample.point),
        "track_id": sample.track_id,
        "change_id": sample.change_id,
        "confidence": sample.confidence,
        "before_scene": sample.before_scene,
        "after_scene": sample.after_scene,
        "agreeing": [one.value for one in sample.agreeing],
    }


def find(conn: Connection, watch: str) -> UUID | None:
    """Find the newest assessment of the series in force."""
    return conn.execute(_FIND, {"watch": watch}).scalar_one_or_none()


def list_samples(conn: Connection, assessment_id: UUID) -> list[dict[str, Any]]:
    """List the samples in their order of labelling; what the map says of a sample is null until it is labelled."""
    return [dict(row) for row in conn.execute(_LIST, {"id": assessment_id}).mappings()]


@dataclass(frozen=True, slots=True)
class AddedLabel:
    """A label, and what the map says."""

    created: bool
    """False if the same person's same label was in force already."""
    stratum: str
    agrees: bool | None
    """Whether the label agrees with the map; None if it is unclear."""


def add_label(conn: Connection, sample_id: UUID, label: Label, labeller: str) -> AddedLabel:
    """Label a sample, as :func:`add_labels` does."""
    return add_labels(conn, [(sample_id, label)], labeller)[0]


def add_labels(conn: Connection, labels: Iterable[tuple[UUID, Label]], labeller: str) -> list[AddedLabel]:
    """Label samples, and store the accuracy that follows from it.

    Repeating the label in force adds nothing, another one replaces it.

    Raises
    ------
    NotFound
        No sample has this id.
    LabelRefused
        The name is missing, too long or cannot be stored.
    """
    labeller = labeller.strip()
    if not labeller or len(labeller) > MAX_NAME_LENGTH:
        raise LabelRefused(f"labeller: write 1 to {MAX_NAME_LENGTH} characters")
    if to_storable(labeller) != labeller:
        raise LabelRefused("labeller: NUL and halves of surrogate pairs cannot be stored; leave them out")
    mutexes.lock(conn, "label")
    made, touched = [], set()
    for sample_id, label in labels:
        assessment_id, one = _add_label(conn, sample_id, label, labeller)
        made.append(one)
        if one.created:
            touched.add(assessment_id)
    accuracies.save(conn, touched)
    return made


def _add_label(conn: Connection, sample_id: UUID, label: Label, labeller: str) -> tuple[UUID, AddedLabel]:
    sample = conn.execute(_SAMPLE, {"id": sample_id}).one_or_none()
    if sample is None:
        raise sample_not_found(sample_id)
    agrees = None if label is Label.UNCLEAR else label.value in sample.agreeing
    last = conn.execute(_LAST_LABEL, {"id": sample_id}).one_or_none()
    if last is not None and (last.label, last.labeller) == (label.value, labeller):
        return sample.assessment_id, AddedLabel(False, sample.stratum, agrees)
    ordinal = 1 if last is None else last.ordinal + 1
    row = {"id": sample_id, "ordinal": ordinal, "label": label.value, "labeller": labeller}
    conn.execute(_ADD_LABEL, row)
    return sample.assessment_id, AddedLabel(True, sample.stratum, agrees)


def sample_not_found(sample_id: UUID) -> NotFound:
    """Build the error for a sample that does not exist or that the reader may not see."""
    return NotFound(
        f"there is no sample {sample_id}; `segwatch assess export WATCH FILE` writes them to a file"
    )
