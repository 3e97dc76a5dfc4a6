"""Publish late observations: fold the series again from them on and write only the difference to what is recorded.

Recorded rows are never rewritten. Rows that no longer hold get their recorded range closed, and the rows that replace
them are added; changes and lineage that no longer hold are retracted, and alerts about them get a correction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, Row, text

from segwatch.db import (
    chips,
    corrections,
    fold_memory,
    ground,
    judgements,
    publishing,
    raising,
    summaries,
    verdicts,
)
from segwatch.db.codec import from_ewkb, load_track_state, load_watch, to_ewkb
from segwatch.db.fold_memory import FoldMemory, FoldPlace, FoldStart
from segwatch.db.raising import RuleMatch, SendTime
from segwatch.db.timeline import Entry, Segment, build_entries, build_segments
from segwatch.geo.types.tracking import (
    ChangeKey,
    ChangeKind,
    GroundPiece,
    TrackedObservation,
    TrackingStep,
    TrackState,
)
from segwatch.geo.types.watch import AlertRule, Watch

Around = Callable[[BaseGeometry, float], BaseGeometry]
AroundPast = Callable[[BaseGeometry, Iterable[BaseGeometry], float], BaseGeometry]

#: Rounding difference of two computations of one outline, degrees: some centimetres.
_ROUNDING_DEG = 2e-7

#: Published observations, and predicted ones that wait for no earlier one; of one scene the newest version last. An
#: observation is stale if a newer version was skipped.
_ORDER = text(
    """
    SELECT o.id, o.acquired_at, o.scene_id, o.state = 'inferred' AS arriving, o.footprint IS NULL AS nothing,
           EXISTS (SELECT 1 FROM segwatch.observation n
                   WHERE n.series_id = o.series_id AND n.scene_id = o.scene_id AND n.version > o.version
                     AND n.state = 'skipped') AS stale
    FROM segwatch.observation o
    WHERE o.series_id = :series_id AND o.superseded_at IS NULL
      AND (o.state = 'observed' OR o.state = 'inferred' AND NOT EXISTS (
          SELECT 1 FROM segwatch.unanswered p
          WHERE p.series_id = o.series_id AND (p.acquired_at, p.scene_id) < (o.acquired_at, o.scene_id)))
    ORDER BY o.acquired_at, o.scene_id, o.version
    """
)
#: A disappearance dated back to the first miss hides the states that observations in between gave the track.
_BACKDATED = text(
    """
    SELECT t.observation_id, t.missed_since
    FROM segwatch.track_state t JOIN segwatch.track k ON k.id = t.track_id
    WHERE k.series_id = :series_id AND upper_inf(t.recorded) AND NOT t.alive AND t.merged_into IS NULL
      AND t.missed_since IS NOT NULL
    """
)
_OBSERVATIONS = text(
    """
    SELECT o.id, o.scene_id, o.acquired_at, o.footprint, w.definition
    FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id
    WHERE o.id = ANY(CAST(:ids AS uuid[])) ORDER BY o.acquired_at, o.scene_id
    """
)
_WATCH = text(
    """
    SELECT w.definition FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id WHERE o.id = :id
    """
)
#: Recorded states of tracks that the fold may change: those that a folded observation touched, and those that meet the
#: folded footprints.
_ROWS = text(
    """
    WITH touched AS MATERIALIZED (
        SELECT s.track_id FROM segwatch.track_state s
        WHERE upper_inf(s.recorded) AND s.observation_id = ANY(CAST(:folded AS uuid[]))
        UNION
        SELECT s.track_id FROM segwatch.track_state s JOIN segwatch.track k ON k.id = s.track_id
        WHERE k.series_id = :series_id AND upper_inf(s.valid) AND upper_inf(s.recorded)
          AND ST_Intersects(s.geom, CAST(:ground AS geometry))
    )
    SELECT t.id, t.track_id, k.target, t.observation_id, lower(t.valid) AS valid_from, upper(t.valid) AS valid_to,
           t.geom, t.area_m2, t.score, t.first_seen, t.last_seen, t.last_looked, t.misses, t.missed_since,
           t.visible_share, t.alive, t.merged_into, t.change, t.confidence, t.status,
           t.observations_for, t.observations_against
    FROM segwatch.track_state t
    JOIN segwatch.track k ON k.id = t.track_id
    JOIN segwatch.observation o ON o.id = t.observation_id
    CROSS JOIN (
        -- a track missed before the fold starts may turn out to have disappeared at its first miss
        SELECT least(CAST(:since AS timestamptz), min(m.missed_since)) AS since
        FROM segwatch.track_state m JOIN touched n ON n.track_id = m.track_id
        WHERE upper_inf(m.recorded) AND m.alive AND m.missed_since IS NOT NULL
          AND (upper_inf(m.valid) OR upper(m.valid) >= :since)) b
    WHERE t.track_id IN (SELECT track_id FROM touched) AND upper_inf(t.recorded)
      AND (upper_inf(t.valid) OR upper(t.valid) >= b.since OR lower(t.valid) >= b.since)
    ORDER BY t.track_id, o.acquired_at, o.scene_id
    """
)
#: A result that was never published becomes skipped; a published one stays in the recorded history.
_REPLACED = text(
    """
    UPDATE segwatch.observation
    SET superseded_at = :now, committed_at = coalesce(committed_at, :now),
        reason = CASE WHEN state = 'inferred' THEN 'superseded: a newer version of its items was observed' END,
        state = CASE WHEN state = 'inferred' THEN 'skipped' ELSE state END
    WHERE id = ANY(CAST(:ids AS uuid[]))
    """
)
_CLOSE = text(
    "UPDATE segwatch.track_state SET recorded = tstzrange(lower(recorded), :now)"
    " WHERE id = ANY(CAST(:ids AS uuid[]))"
)
_RECORDED_CHANGES = text(
    """
    SELECT id, observation_id FROM segwatch.change
    WHERE observation_id = ANY(CAST(:ids AS uuid[])) AND retracted_at IS NULL
    """
)
_RETRACT_CHANGES = text(
    "UPDATE segwatch.change SET retracted_at = :now, altered_at = :now"
    " WHERE id = ANY(CAST(:ids AS uuid[])) AND retracted_at IS NULL"
)
_HOLDS_AGAIN = text(
    """
    UPDATE segwatch.change SET retracted_at = NULL, altered_at = :now
    WHERE id = ANY(CAST(:ids AS uuid[])) AND retracted_at IS NOT NULL RETURNING id
    """
)
_RETRACT_LINEAGE = text(
    """
    UPDATE segwatch.track_lineage l SET retracted_at = :now
    WHERE l.observation_id = ANY(CAST(:ids AS uuid[])) AND l.retracted_at IS NULL
      AND NOT EXISTS (
          SELECT 1 FROM unnest(CAST(:parents AS uuid[]), CAST(:children AS uuid[]), CAST(:kinds AS text[]))
              AS n(parent, child, kind)
          WHERE n.parent = l.parent AND n.child = l.child AND n.kind = l.kind)
    """
)
_UNLINK = text(
    """
    UPDATE segwatch.detection d SET track_id = NULL
    FROM unnest(CAST(:ordinals AS int[])) AS n(ordinal)
    WHERE d.observation_id = :id AND d.ordinal = n.ordinal AND d.track_id IS NOT NULL
    """
)
_ALERTED = text("SELECT DISTINCT change_id FROM segwatch.alert WHERE change_id = ANY(CAST(:ids AS uuid[]))")
#: Changes of the same id whose geometry differs by more than rounding or other vertices on the same outline.
_RESHAPED = text(
    """
    SELECT c.id FROM segwatch.change c
    JOIN unnest(CAST(:ids AS uuid[]), CAST(:grounds AS text[])) AS n(id, ground) ON n.id = c.id
    CROSS JOIN LATERAL CAST(n.ground AS geometry) g
    WHERE ST_AsBinary(c.geom) <> ST_AsBinary(g)
      AND coalesce(ST_HausdorffDistance(ST_CollectionExtract(c.geom, 3), ST_CollectionExtract(g, 3)), 1) > :rounding
    """
)


#: Changes that the fold may judge otherwise and that no rule may alert on now, as their newest judgement refutes them.
_REFUTED = text(
    """
    SELECT c.id, o.scene_id, c.track_id, c.kind
    FROM segwatch.change c
    JOIN segwatch.observation o ON o.id = c.observation_id
    CROSS JOIN LATERAL (
        SELECT i.status FROM segwatch.change_judgement i
        WHERE i.change_id = c.id AND upper_inf(i.recorded)
        ORDER BY i.acquired_at DESC, i.scene_id DESC LIMIT 1) j
    WHERE j.status = 'refuted' AND c.id IN (
        SELECT f.change_id FROM segwatch.change_judgement f
        WHERE f.observation_id = ANY(CAST(:folded AS uuid[])) AND upper_inf(f.recorded))
    """
)


@dataclass(frozen=True, slots=True)
class FoldedObservation:
    """An observation to fold, again or for the first time."""

    observation: TrackedObservation
    watch: Watch
    first: bool
    """True for the first observation of the series."""


@dataclass(frozen=True, slots=True)
class Past:
    """What is recorded of a series before and after the place at which the fold starts."""

    looks: tuple[FoldedObservation, ...]
    """Observations to fold, in order, up to the newest."""
    arriving: frozenset[UUID]
    """Ids of observations to publish: unpublished ones that are folded, and some without footprint."""
    replaced: frozenset[UUID]
    """Ids of older versions of the same scenes that the folded observations replace, published or not."""
    before: tuple[TrackState, ...]
    """States of the objects before the fold, without merged tracks."""
    rows: Mapping[UUID, tuple[Row[Any], ...]]
    """Recorded rows of each track that the fold may change, in order of observation."""
    seen: tuple[GroundPiece, ...]
    """Ground observed before the fold, where the folded footprints are."""
    memory: FoldMemory
    """What the observations before the fold left for it."""
    newest: tuple[UUID, Watch]
    """The newest observation of the series, folded or not, and its watch."""
    refuted: Mapping[UUID, ChangeKey]
    """Changes that count as refuted before the fold, by id. If they no longer do, rules see them for the first time."""


def load_past(
    conn: Connection, series_id: UUID, detections: Any, around: Around, around_past: AroundPast
) -> Past:
    """Load what is needed to fold the waiting observations of a series in their order.

    Parameters
    ----------
    conn
        Holds the lock of the series.
    series_id
        Has at least one observation to be tracked.
    detections
        Loads the detections of an observation.
    around
        Widens a footprint (EPSG:4326) by all that a fold with so many metres of tolerance may reach.
    around_past
        Widens it by all earlier detections that the fold may reach, given the objects around the footprint.
    """
    order = _scenes(conn.execute(_ORDER, {"series_id": series_id}).all())
    place = {row.id: position for position, scene in enumerate(order) for row in scene}
    times = [scene[-1].acquired_at for scene in order]
    tops = [None if scene[-1].stale or scene[-1].nothing else scene[-1].id for scene in order]
    first = next(position for position, scene in enumerate(order) if any(row.arriving for row in scene))
    first = _start(first, conn.execute(_BACKDATED, {"series_id": series_id}).all(), times, place)
    ids = [top for top in tops[first:] if top is not None]
    opening = next((top for top in tops if top is not None), None)
    pictures = chips.load_chips(conn, ids)
    observations = tuple(
        FoldedObservation(
            TrackedObservation(
                row.id,
                row.scene_id,
                row.acquired_at,
                from_ewkb(row.footprint),
                detections(conn, row.id),
                pictures.get(row.id, ()),
            ),
            load_watch(row.definition),
            first=row.id == opening,
        )
        for row in conn.execute(_OBSERVATIONS, {"ids": ids})
    )
    since, scene_id, newest = times[first], order[first][-1].scene_id, order[-1][-1].id
    rows: dict[UUID, list[Row[Any]]] = defaultdict(list)
    arriving = frozenset(scene[-1].id for scene in order if scene[-1].arriving and not scene[-1].stale)
    replaced = frozenset(row.id for scene in order for row in scene if row.stale or row is not scene[-1])
    folded = frozenset({*ids, *replaced})
    footprints = [one.observation.footprint for one in observations]
    cells = {chip.cell for some in pictures.values() for chip in some}
    tolerance_m = max((one.watch.tracking.tolerance_m for one in observations), default=0.0)
    whole = shapely.union_all(footprints)
    where = around(whole, tolerance_m)
    values = {
        "series_id": series_id,
        "since": since,
        "folded": sorted(folded),
        "ground": to_ewkb(where),
    }
    for row in conn.execute(_ROWS, values):
        rows[row.track_id].append(row)
    earlier = [[row for row in of_track if place[row.observation_id] < first] for of_track in rows.values()]
    before = tuple(load_track_state(some[-1]) for some in earlier if some and some[-1].merged_into is None)
    past_ground = around_past(whole, [state.geometry for state in before], tolerance_m)
    return Past(
        observations,
        arriving,
        replaced,
        before,
        {track_id: tuple(some) for track_id, some in rows.items()},
        ground.load_near(conn, series_id, where, without=folded),
        fold_memory.load_memory(
            conn,
            series_id,
            FoldStart(since, scene_id, folded),
            FoldPlace(footprints, where, past_ground, list(rows), cells),
        ),
        (newest, load_watch(conn.execute(_WATCH, {"id": newest}).scalar_one())),
        {
            row.id: (row.scene_id, row.track_id, ChangeKind(row.kind))
            for row in conn.execute(_REFUTED, {"folded": sorted(folded)})
        },
    )


def _scenes(rows: Sequence[Row[Any]]) -> list[list[Row[Any]]]:
    """Group ordered observations by scene; the version that counts is the last of its group."""
    return [list(group) for _, group in groupby(rows, key=lambda row: (row.acquired_at, row.scene_id))]


def _start(
    first: int, backdated: Sequence[Row[Any]], times: Sequence[datetime], place: Mapping[UUID, int]
) -> int:
    """Find where the fold must start so that no observation between a first miss and its disappearance is left out.

    Observations of one time are all folded: the row of the last one replaced those of the others.
    """
    while True:
        reach = [
            next(position for position, at in enumerate(times) if at >= row.missed_since)
            for row in backdated
            if place[row.observation_id] >= first
        ]
        earliest = times.index(times[min([first, *reach])])
        if earliest == first:
            return first
        first = earliest


def publish(
    conn: Connection,
    series_id: UUID,
    old: Past,
    steps: Sequence[TrackingStep],
    alerts: Iterable[tuple[UUID, Sequence[RuleMatch]]],
    turn: Callable[[AlertRule], SendTime],
    object_ids: Mapping[UUID, UUID] | None = None,
) -> int:
    """Write what the steps change, in the caller's transaction.

    Parameters
    ----------
    conn
        Holds the lock of the series.
    old
        What :func:`load_past` loaded.
    steps
        One per folded observation.
    alerts
        Observations in order, and the changes that satisfy rules of their watch after them.
    turn
        Returns the earliest send time of a rule; corrections wait like alerts.
    object_ids
        Object ids of tracks that the series took over, by track.

    Returns
    -------
    int
        Number of new alerts.
    """
    now = publishing.next_recorded_time(conn, series_id)
    folded = {one.observation.id for one in old.looks} | old.replaced
    fresh: dict[UUID, list[Entry]] = defaultdict(list)
    for folding, step in zip(old.looks, steps, strict=True):
        publishing.add_tracks(conn, series_id, step, object_ids)
        for track_id, entry in build_entries(step, folding.observation.acquired_at).items():
            fresh[track_id].append(entry)
    # a track that comes back has no current row and may have missed a verdict about its ground
    verdicts.carry_over(
        conn, {one: some[0].state.geometry for one, some in fresh.items() if one not in old.rows}
    )
    closed: list[UUID] = []
    added: list[Segment] = []
    for track_id in sorted({*fresh, *old.rows}):
        rows = old.rows.get(track_id, ())
        gone, more = _difference(rows, folded, fresh.get(track_id, []))
        closed += gone
        added += more
    if closed:
        conn.execute(_CLOSE, {"ids": closed, "now": now})
    states = summaries.StateChanges(tuple(closed), tuple(publishing.copy_states(conn, added, now)))
    ground.replace_ground(conn, series_id, folded, steps)
    fold_memory.save_memory(conn, folded, steps)
    known, again = _retract(conn, folded, steps, turn, now)
    reshaped = _add_changes(conn, steps, known, now)
    _link_detections(conn, steps)
    published = [
        judgements.PublishedStep(step, one.observation.acquired_at)
        for one, step in zip(old.looks, steps, strict=True)
    ]
    judged = judgements.save_judgements(conn, folded, published, old.memory.open_changes, now)
    # messages say what is believed with all judgements stored
    corrections.reinstate(conn, again, turn, now)
    corrections.record_update(conn, reshaped, now)
    new_alerts = _add_alerts(conn, alerts, known - old.refuted.keys(), judged, now)
    corrections.follow_up(conn, sorted({change_id for change_id, _ in judged}), turn, now)
    _lineage(conn, folded, steps, now)
    conn.execute(_REPLACED, {"ids": sorted(old.replaced), "now": now})
    for observation_id in sorted(old.arriving):
        publishing.finish_observation(conn, observation_id, now)
    summaries.follow_fold(conn, series_id, states, old.arriving | old.replaced, {*fresh, *old.rows})
    return new_alerts


def _difference(
    rows: Sequence[Row[Any]], folded: set[UUID], fresh: Sequence[Entry]
) -> tuple[list[UUID], list[Segment]]:
    """Compare recorded rows with new entries: ids of rows that no longer hold, and segments to add."""
    kept = [
        Entry(row.observation_id, row.valid_from, load_track_state(row), row.change)
        for row in rows
        if row.observation_id not in folded
    ]
    recorded = {(row.observation_id, row.valid_from): row for row in rows}
    holds: set[UUID] = set()
    added = []
    for segment in build_segments([*kept, *fresh]):
        row = recorded.get((segment.entry.observation_id, segment.entry.start))
        if row is not None and row.valid_to == segment.end and _same(row, segment.entry):
            holds.add(row.id)
        else:
            added.append(segment)
    return [row.id for row in rows if row.id not in holds], added


def _same(row: Row[Any], entry: Entry) -> bool:
    return row.change == entry.change and load_track_state(row) == entry.state


def _retract(
    conn: Connection,
    folded: set[UUID],
    steps: Sequence[TrackingStep],
    turn: Callable[[AlertRule], SendTime],
    now: datetime,
) -> tuple[set[UUID], list[UUID]]:
    """Retract changes that no longer hold, and alerts about them.

    Returns
    -------
    set
        Ids of changes known before.
    list
        Those among them that were retracted and hold again.
    """
    recorded = {row.id for row in conn.execute(_RECORDED_CHANGES, {"ids": sorted(folded)})}
    derived = {publishing.make_change_id(step.scene_id, one) for step in steps for one in step.changes}
    gone = sorted(recorded - derived)
    conn.execute(_RETRACT_CHANGES, {"ids": gone, "now": now})
    again = list(conn.execute(_HOLDS_AGAIN, {"ids": sorted(derived - recorded), "now": now}).scalars())
    corrections.retract(conn, gone, turn, now)
    return {*recorded, *again}, again


def _add_changes(
    conn: Connection, steps: Sequence[TrackingStep], known: set[UUID], now: datetime
) -> list[UUID]:
    """Add the changes that hold now; returns those with alerts whose geometry differs from before."""
    reshaped: list[UUID] = []
    alerted = set(conn.execute(_ALERTED, {"ids": sorted(known)}).scalars())
    for step in steps:
        grounds = publishing.compute_geometries(step, alerted)
        values = {"ids": list(grounds), "grounds": list(grounds.values()), "rounding": _ROUNDING_DEG}
        reshaped += conn.execute(_RESHAPED, values).scalars()
        publishing.add_changes(conn, step, now)
    return reshaped


def _link_detections(conn: Connection, steps: Sequence[TrackingStep]) -> None:
    for step in steps:
        lost = [ordinal for ordinal, track in enumerate(step.detection_tracks) if track is None]
        conn.execute(_UNLINK, {"id": step.observation_id, "ordinals": lost})
        publishing.link_detections(conn, step)


def _add_alerts(
    conn: Connection,
    alerts: Iterable[tuple[UUID, Sequence[RuleMatch]]],
    known: set[UUID],
    judged: set[tuple[UUID, UUID]],
    now: datetime,
) -> int:
    """Add alerts about changes that are unknown to rules or judged otherwise than before; returns their number."""
    count = 0
    for observation_id, matches in alerts:
        new = [
            one for one in matches if one.change_id not in known or (one.change_id, observation_id) in judged
        ]
        count += raising.add_alerts(conn, observation_id, new, now)
    return count


def _lineage(conn: Connection, folded: set[UUID], steps: Sequence[TrackingStep], now: datetime) -> None:
    lines = [line for step in steps for line in step.lineage]
    conn.execute(
        _RETRACT_LINEAGE,
        {
            "ids": sorted(folded),
            "parents": [line.parent for line in lines],
            "children": [line.child for line in lines],
            "kinds": [line.kind.value for line in lines],
            "now": now,
        },
    )
    for step in steps:
        publishing.add_lineage(conn, step)
