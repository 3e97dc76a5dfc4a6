"""Evaluate the map of a watch on its own labels: precision, recall and IoU per target, beside baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Engine

from segwatch.db import assessments, examples, watches
from segwatch.db.errors import NotFound
from segwatch.db.examples import JudgedObject, LabelledPoint
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.inference import segmenters
from segwatch.flows.learning.rescan import load_scene, predict_again
from segwatch.geo.area import compute_area_m2, extract_polygons
from segwatch.geo.assessment.estimators import MIN_LABELS
from segwatch.geo.assessment.intervals import estimate_proportion
from segwatch.geo.assessment.scores import (
    NOTHING,
    PointCell,
    Scores,
    estimate_everything,
    estimate_map,
    estimate_objects,
    estimate_points,
    find_shortage,
)
from segwatch.geo.errors import GeoError
from segwatch.geo.types.assessment import MAPPED, PRESENT, Estimate
from segwatch.geo.types.tracking import ObservationResult
from segwatch.geo.types.watch import Watch

MODEL, NOTHING_MARKED, EVERYTHING_MARKED, SPECTRAL = (
    "model",
    "nothing marked",
    "everything marked",
    "spectral",
)
#: Scenes that the spectral segmenter is run on, those with the most labelled points first.
_MAX_SCENES = 3


@dataclass(frozen=True, slots=True)
class PredictionScores:
    """Figures of the model or of a baseline."""

    name: str
    """``model``, ``nothing marked``, ``everything marked`` or ``spectral``."""
    scores: Scores
    intervals: str
    """How the intervals were made."""


@dataclass(frozen=True, slots=True)
class TargetEvaluation:
    """One target on one kind of label."""

    target: str
    source: str
    """``assessment`` or ``reviews``."""
    labels: int
    refused: str | None
    """Why there are no figures; None if there are."""
    predictions: tuple[PredictionScores, ...] = ()
    objects_there: Estimate | None = None
    """Of reviews: share of the reviewed objects that are there, edited ones too; Wilson's interval."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A watch's map, evaluated on its own labels."""

    watch: str
    model: str
    targets: tuple[TargetEvaluation, ...]


def evaluate_watch(
    engine: Engine, settings: FlowSettings, watch: str, *, spectral: bool = True
) -> Evaluation:
    """Evaluate the series in force of a watch on its reviews and its newest labelled assessment.

    Parameters
    ----------
    spectral
        Whether to run the spectral segmenter on the scenes of the labelled points, too.

    Raises
    ------
    NotFound
        There is no such watch, or it has no observed scene.
    """
    with engine.connect() as conn:
        stored = watches.load_current(conn, watch).watch
        series = assessments.load_series(conn, watch)
        points = examples.list_points(conn, watch, in_force=True)
        areas = examples.read_areas(conn, watch)
        reviewed = examples.list_held(conn, watch)
        model = examples.read_model(conn, series.series_id)
    rival = _SpectralRival(engine, settings, stored, points) if spectral and points else None
    found: list[TargetEvaluation] = []
    for target in series.targets:
        mine = [one for one in points if one.target == target]
        sizes = {name: area for (owner, name), area in areas.items() if owner == target}
        found.append(_evaluate_points(target, mine, sizes, rival))
        found.append(_evaluate_objects(target, [one for one in reviewed if one.target == target]))
    return Evaluation(watch, model, tuple(found))


def _evaluate_points(
    target: str, points: Sequence[LabelledPoint], areas: dict[str, float], rival: _SpectralRival | None
) -> TargetEvaluation:
    source = "assessment"
    cells = [PointCell(one.stratum, one.stratum == MAPPED, one.label in PRESENT) for one in points]
    if not points:
        return TargetEvaluation(
            target,
            source,
            0,
            "no labelled assessment; draw one: segwatch assess start, and label its samples",
        )
    short = find_shortage(cells, areas)
    if short is not None:
        return TargetEvaluation(target, source, len(cells), f"too few labels: {short}; label more samples")
    of_map, share = estimate_map(cells, areas)
    how = "weighted by strata (Olofsson et al. 2014), Wilson and MOVER"
    made = [
        PredictionScores(MODEL, of_map, how),
        PredictionScores(NOTHING_MARKED, NOTHING if share.value else Scores(None, None, None), "exact"),
        PredictionScores(EVERYTHING_MARKED, estimate_everything(share), how),
    ]
    notes: list[str] = []
    if rival is not None:
        chosen, note = rival.mark(target, points)
        if chosen and find_shortage(chosen, areas) is None:
            made.append(PredictionScores(SPECTRAL, estimate_points(chosen, areas), "stratified bootstrap"))
        elif chosen:
            note = f"too few labelled points on its scenes ({len(chosen)})"
        if note:
            notes.append(f"spectral: {note}")
    return TargetEvaluation(target, source, len(cells), None, tuple(made), notes=tuple(notes))


def _evaluate_objects(target: str, objects: Sequence[JudgedObject]) -> TargetEvaluation:
    source, count = "reviews", len(objects)
    if count < MIN_LABELS:
        return TargetEvaluation(
            target,
            source,
            count,
            f"too few labels: {count} reviewed objects, at least {MIN_LABELS} are needed; review more: segwatch review",
        )
    parts = [_measure(one) for one in objects]
    of_model = estimate_objects(parts)
    everything = estimate_objects([(both + missed, extra, 0.0) for both, extra, missed in parts])
    how = "bootstrap over the reviewed objects, no probability sample"
    there = sum(one.verdict != "rejected" for one in objects)
    notes = ["recall counts only what edits added: reviews say nothing about objects that the model missed"]
    if carried := sum(one.carried for one in objects):
        notes.append(f"{carried} of {count} verdicts were carried over from other tracks of the same objects")
    made = (
        PredictionScores(MODEL, of_model, how),
        PredictionScores(NOTHING_MARKED, NOTHING if there else Scores(None, None, None), "exact"),
        PredictionScores(EVERYTHING_MARKED, everything, f"{how}; on the ground of the objects alone"),
    )
    return TargetEvaluation(
        target, source, count, None, made, estimate_proportion(there, count), tuple(notes)
    )


def _measure(one: JudgedObject) -> tuple[float, float, float]:
    """Measure the ground of an object that is predicted and true, predicted only, and true only, geodesic m²."""
    truth = {"confirmed": one.outline, "rejected": Polygon()}.get(one.verdict, one.drawn or one.outline)
    return (
        _m2(shapely.intersection(one.outline, truth)),
        _m2(shapely.difference(one.outline, truth)),
        _m2(shapely.difference(truth, one.outline)),
    )


def _m2(geometry: BaseGeometry) -> float:
    return compute_area_m2(shapely.union_all(extract_polygons(geometry)))


class _SpectralRival:
    """What the spectral segmenter says about labelled points; it sees whole scenes, each once."""

    def __init__(
        self, engine: Engine, settings: FlowSettings, watch: Watch, points: Sequence[LabelledPoint]
    ) -> None:
        self._engine, self._settings, self._watch = engine, settings, watch
        common = Counter(one.scene_id for one in points).most_common(_MAX_SCENES)
        self._results = {scene_id: self._predict(scene_id) for scene_id, _ in common}

    def _predict(self, scene_id: UUID) -> ObservationResult | str:
        segmenter = segmenters.load_named("spectral")
        try:
            with self._engine.connect() as conn:
                shown = load_scene(conn, self._settings, self._watch.name, scene_id)
            (found,) = predict_again(shown, [self._watch], segmenter, self._settings.tile_batch)
        except (GeoError, NotFound) as error:
            return str(error)
        return found

    def mark(self, target: str, points: Sequence[LabelledPoint]) -> tuple[list[PointCell], str]:
        """Mark the points that it observed; and say why others are left out."""
        cells: list[PointCell] = []
        reasons = {one for one in self._results.values() if isinstance(one, str)}
        for scene_id, result in self._results.items():
            if isinstance(result, ObservationResult):
                cells += _mark(result, target, [one for one in points if one.scene_id == scene_id])
        if reasons:
            return cells, "; ".join(sorted(reasons))
        left = len(points) - len(cells)
        return cells, f"{left} points lie on other scenes, or where it observed nothing" if left else ""


def _mark(result: ObservationResult, target: str, points: Sequence[LabelledPoint]) -> Iterator[PointCell]:
    found = shapely.union_all([one.geometry for one in result.detections if one.target == target])
    for one in points:
        if shapely.intersects(result.footprint, one.point):
            yield PointCell(one.stratum, bool(shapely.intersects(found, one.point)), one.label in PRESENT)
