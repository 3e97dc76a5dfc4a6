"""What a fold needs of the observations before it, and leaves for those after it.

Running counts, changes that are still open, and the last observations of the same ground. Everything that is loaded
lies near the ground that is folded, so that the cost of a scene follows the scene.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, Row, insert, text

from segwatch.db import tables
from segwatch.db.chips import load_references, load_shift
from segwatch.db.codec import from_ewkb, load_belief, to_ewkb
from segwatch.geo.types.belief import MAX_PAST, Evidence, RegionView, TargetCounts
from segwatch.geo.types.chips import Cell, ReferenceChip
from segwatch.geo.types.evidence import SpectralEvidence
from segwatch.geo.types.tracking import (
    Change,
    ChangeKind,
    Detection,
    Judgement,
    OpenChange,
    PastChange,
    PastObservation,
    TrackingStep,
)

_COUNTS = text(
    """
    SELECT c.counts FROM segwatch.series_counts c
    WHERE c.observation_id = (
        SELECT o.id FROM segwatch.observation o
        WHERE o.series_id = :series_id AND o.state = 'observed' AND o.superseded_at IS NULL
          AND (o.acquired_at, o.scene_id) < (:acquired_at, :scene_id)
          AND NOT (o.id = ANY(CAST(:folded AS uuid[])))
          AND EXISTS (SELECT 1 FROM segwatch.series_counts n WHERE n.observation_id = o.id)
        ORDER BY o.acquired_at DESC, o.scene_id DESC LIMIT 1)
    ORDER BY c.target
    """
)
#: Changes that are open now, and those that a folded observation decided, with their newest judgement before the fold.
_OPEN = text(
    """
    WITH candidate AS MATERIALIZED (
        SELECT c.id FROM segwatch.change c JOIN segwatch.track k ON k.id = c.track_id
        WHERE k.series_id = :series_id AND c.is_open AND c.retracted_at IS NULL
          AND ST_Intersects(c.geom, CAST(:ground AS geometry))
        UNION
        SELECT j.change_id FROM segwatch.change_judgement j
        WHERE upper_inf(j.recorded) AND j.observation_id = ANY(CAST(:folded AS uuid[]))
    )
    SELECT c.track_id, c.kind, c.target, c.valid_at, c.before_m2, c.after_m2, c.gained, c.lost, c.score, c.baseline,
           c.geom, o.scene_id AS change_scene_id, j.confidence, j.status, j.observations_for, j.observations_against,
           j.earliest, j.latest, j.views, e.content AS evidence
    FROM candidate n
    JOIN segwatch.change c ON c.id = n.id
    JOIN segwatch.observation o ON o.id = c.observation_id
    CROSS JOIN LATERAL (
        SELECT i.* FROM segwatch.change_judgement i
        WHERE i.change_id = c.id AND upper_inf(i.recorded)
          AND (i.acquired_at, i.scene_id) < (:acquired_at, :scene_id)
          AND NOT (i.observation_id = ANY(CAST(:folded AS uuid[])))
        ORDER BY i.acquired_at DESC, i.scene_id DESC LIMIT 1) j
    JOIN segwatch.judgement_evidence e ON e.id = j.evidence_id
    WHERE c.retracted_at IS NULL
      AND NOT (c.observation_id = ANY(CAST(:folded AS uuid[])))
    ORDER BY c.id
    """
)
#: For each footprint the last observations before the fold that meet it.
_PAST = text(
    """
    SELECT o.id, o.acquired_at, o.footprint, o.shift_east_m, o.shift_north_m, o.shift_quality, o.shift_source
    FROM segwatch.observation o
    WHERE o.id IN (
        SELECT p.id
        FROM (SELECT DISTINCT CAST(f.geom AS geometry) AS geom FROM unnest(CAST(:footprints AS text[])) AS f(geom)) n
        CROSS JOIN LATERAL (
            SELECT e.id FROM segwatch.observation e
            WHERE e.series_id = :series_id AND e.state = 'observed' AND e.superseded_at IS NULL
              AND (e.acquired_at, e.scene_id) < (:acquired_at, :scene_id)
              AND NOT (e.id = ANY(CAST(:folded AS uuid[]))) AND ST_Intersects(e.footprint, n.geom)
            ORDER BY e.acquired_at DESC, e.scene_id DESC LIMIT :most) p)
    ORDER BY o.acquired_at, o.scene_id
    """
)
_PAST_DETECTIONS = text(
    """
    SELECT d.observation_id, d.target, d.geom, d.score, d.area_m2, d.evidence
    FROM unnest(CAST(:ids AS uuid[])) AS n(id)
    JOIN segwatch.detection d ON d.observation_id = n.id AND ST_Intersects(d.geom, CAST(:past_ground AS geometry))
    ORDER BY d.observation_id, d.ordinal
    """
)
_PAST_CHANGES = text(
    """
    SELECT c.observation_id, c.track_id, c.kind
    FROM unnest(CAST(:ids AS uuid[])) AS n(id)
    JOIN segwatch.change c ON c.observation_id = n.id
    WHERE c.retracted_at IS NULL AND c.track_id = ANY(CAST(:tracks AS uuid[]))
    ORDER BY c.observation_id, c.id
    """
)
_DROP_COUNTS = text("DELETE FROM segwatch.series_counts WHERE observation_id = ANY(CAST(:ids AS uuid[]))")
_SHIFTS = text(
    """
    UPDATE segwatch.observation o
    SET shift_east_m = n.east, shift_north_m = n.north, shift_quality = n.quality, shift_source = n.source
    FROM unnest(CAST(:ids AS uuid[]), CAST(:east AS float8[]), CAST(:north AS float8[]), CAST(:quality AS float8[]),
                CAST(:source AS text[])) AS n(id, east, north, quality, source)
    WHERE o.id = n.id AND (o.shift_east_m, o.shift_north_m, o.shift_quality, o.shift_source)
                          IS DISTINCT FROM (n.east, n.north, n.quality, n.source)
    """
)


@dataclass(frozen=True, slots=True)
class FoldStart:
    """Where a fold starts in a series."""

    acquired_at: datetime
    scene_id: UUID
    folded: frozenset[UUID] = frozenset()
    """Ids of the observations that are folded or replaced; what they left counts as not recorded."""


@dataclass(frozen=True, slots=True)
class FoldMemory:
    """What the observations before a fold left for it."""

    counts: tuple[TargetCounts, ...] = ()
    """Counts after the observation just before."""
    open_changes: tuple[OpenChange, ...] = ()
    """Changes near the folded ground that the fold may decide."""
    past: tuple[PastObservation, ...] = ()
    """The last observations before the fold that meet a folded footprint."""
    references: Mapping[Cell, ReferenceChip] = field(default_factory=dict)
    """Chips that those of the folded observations are compared with."""


@dataclass(frozen=True, slots=True)
class FoldPlace:
    """Where the memory of a fold is looked for; all geometries in EPSG:4326."""

    footprints: Sequence[BaseGeometry]
    """Of the folded observations, as they were read."""
    ground: BaseGeometry
    """Their union, widened by all that they reach."""
    past_ground: BaseGeometry
    """Their union, widened by all earlier detections that they reach, as those were read."""
    tracks: Collection[UUID]
    """Tracks of the objects on ``ground``."""
    cells: Collection[Cell]
    """Cells of the folded observations' chips."""


def load_memory(conn: Connection, series_id: UUID, start: FoldStart, place: FoldPlace) -> FoldMemory:
    """Load what the observations before a fold left for it.

    Parameters
    ----------
    conn
        Holds the lock of the series.
    start, place
        Where the fold starts in its series, and where it lies on the ground.
    """
    before = {
        "series_id": series_id,
        "acquired_at": start.acquired_at,
        "scene_id": start.scene_id,
        "folded": sorted(start.folded),
    }
    counts = conn.execute(_COUNTS, before).scalars()
    open_changes = conn.execute(_OPEN, {**before, "ground": to_ewkb(place.ground)})
    return FoldMemory(
        tuple(TargetCounts.from_json(one) for one in counts),
        tuple(_load_open(row) for row in open_changes),
        _load_past(conn, before, place),
        load_references(
            conn,
            series_id,
            place.cells,
            acquired_at=start.acquired_at,
            scene_id=start.scene_id,
            folded=start.folded,
        ),
    )


def _load_open(row: Row[Any]) -> OpenChange:
    change = Change(
        track_id=row.track_id,
        kind=ChangeKind(row.kind),
        target=row.target,
        valid_at=row.valid_at,
        before_m2=row.before_m2,
        after_m2=row.after_m2,
        gained=None if row.gained is None else from_ewkb(row.gained),
        lost=None if row.lost is None else from_ewkb(row.lost),
        score=row.score,
        baseline=row.baseline,
    )
    judgement = Judgement(
        row.change_scene_id,
        row.track_id,
        change.kind,
        load_belief(row),
        row.earliest,
        row.latest,
        tuple(RegionView.from_json(view) for view in row.views),
        Evidence.from_json(row.evidence),
    )
    return OpenChange(change, row.change_scene_id, judgement, from_ewkb(row.geom))


def _load_past(
    conn: Connection, before: Mapping[str, object], place: FoldPlace
) -> tuple[PastObservation, ...]:
    footprints = [to_ewkb(one) for one in place.footprints]
    rows = conn.execute(_PAST, {**before, "footprints": footprints, "most": MAX_PAST}).all()
    ids = [row.id for row in rows]
    detections: dict[UUID, list[Detection]] = defaultdict(list)
    changes: dict[UUID, list[PastChange]] = defaultdict(list)
    if rows:
        near = to_ewkb(place.past_ground)
        for one in conn.execute(_PAST_DETECTIONS, {"ids": ids, "past_ground": near}):
            evidence = None if one.evidence is None else SpectralEvidence.from_json(one.evidence)
            found = Detection(one.target, from_ewkb(one.geom), one.score, one.area_m2, evidence)
            detections[one.observation_id].append(found)
        for one in conn.execute(_PAST_CHANGES, {"ids": ids, "tracks": sorted(place.tracks)}):
            changes[one.observation_id].append(PastChange(one.track_id, ChangeKind(one.kind)))
    return tuple(
        PastObservation(
            row.id,
            row.acquired_at,
            from_ewkb(row.footprint),
            tuple(detections[row.id]),
            load_shift(row),
            tuple(changes[row.id]),
        )
        for row in rows
    )


def save_memory(conn: Connection, folded: Collection[UUID], steps: Sequence[TrackingStep]) -> None:
    """Store shifts and counts of steps, and drop the counts of all other observations that were folded or replaced."""
    conn.execute(_DROP_COUNTS, {"ids": sorted(folded)})
    counts = [
        {"observation_id": step.observation_id, "target": one.target, "counts": one.to_json()}
        for step in steps
        for one in step.counts
    ]
    if counts:
        conn.execute(insert(tables.series_counts), counts)
    if steps:
        shifts = [step.shift for step in steps]
        values = {
            "ids": [step.observation_id for step in steps],
            "east": [one.east_m for one in shifts],
            "north": [one.north_m for one in shifts],
            "quality": [one.quality for one in shifts],
            "source": [one.source for one in shifts],
        }
        conn.execute(_SHIFTS, values)
