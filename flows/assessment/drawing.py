"""Draw the sample of an assessment from the ledger, in one snapshot of it.

Points are drawn on the ground of each target's objects and outside of them; objects and changes are drawn as units and
judged at the point farthest from their border. The same seed draws the same sample from the same ledger.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np
from shapely.geometry import Point
from sqlalchemy import Connection, Engine

from segwatch.db import assessments, watches
from segwatch.db.assessments import AssessedSeries, Sample, Stratum
from segwatch.flows.errors import ConfigError
from segwatch.geo.assessment.sampling import (
    Allocation,
    Population,
    allocate_by_count,
    allocate_by_error,
    draw_ordinals,
    draw_points,
    draw_positions,
    find_core,
    shuffle,
)
from segwatch.geo.types.assessment import ABSENT, BACKGROUND, MAPPED, OBJECTS, PRESENT, REFUTED, Label, Unit

DEFAULT_STANDARD_ERROR = 0.02
#: Rounds of random points outside objects; where objects cover nearly all ground, fewer points than asked are found.
_MAX_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class DrawnAssessment:
    """A stored assessment."""

    assessment_id: UUID
    seed: int
    samples: int
    strata: Mapping[tuple[str, str], int]
    """Number of samples by target and stratum."""
    asked: int | None = None
    """Number of samples that were asked for; None = as many as the standard error needs."""

    def explain_size(self) -> str:
        """Say why the sample is not as large as asked; empty if it is, or if no number was given."""
        if self.asked is None or self.asked == self.samples:
            return ""
        if self.samples > self.asked:
            why = "each stratum has at least 20 samples, each kind of change 10, or all of its units"
        else:
            why = (
                "there are no more objects and changes, and no more of the ground has two pictures to compare"
            )
        return f"{self.samples} samples instead of {self.asked}: {why}"


@dataclass(slots=True)
class _Draft:
    """The sample of one assessment while it is drawn."""

    conn: Connection
    series: AssessedSeries
    random: np.random.Generator
    strata: list[Stratum] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)


def draw_assessment(
    engine: Engine,
    watch: str,
    *,
    samples: int | None = None,
    standard_error: float = DEFAULT_STANDARD_ERROR,
    seed: int | None = None,
) -> DrawnAssessment:
    """Draw a sample of a watch's objects, changes and observed ground, and store it.

    Parameters
    ----------
    samples
        Size of the sample, divided among the targets; None = as many as ``standard_error`` needs.
    standard_error
        Standard error that the overall accuracy of each target's map shall get.

    Raises
    ------
    segwatch.db.errors.NotFound
        There is no such watch, or it has no observed scene.
    ConfigError
        The sample would be too large.
    """
    seed = secrets.randbits(32) if seed is None else seed
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as conn, conn.begin():
        watches.require(conn, watch)
        draft = _Draft(conn, assessments.load_series(conn, watch), np.random.default_rng(seed))
        targets = draft.series.targets
        for index, target in enumerate(targets):
            population = _measure(draft, target)
            part = None if samples is None else (samples + index) // len(targets)
            _draw_target(draft, target, population, _allocate(population, part, standard_error))
        if len(draft.samples) > assessments.MAX_SAMPLES:
            raise ConfigError(
                f"{len(draft.samples)} samples are more than {assessments.MAX_SAMPLES}; give a smaller number with "
                "--samples, or a larger --standard-error"
            )
        order = shuffle(draft.random, len(draft.samples))
        numbered = sorted(zip(order, draft.samples, strict=True), key=lambda one: one[0])
        made = assessments.add(conn, draft.series.series_id, seed, draft.strata, numbered)
    return DrawnAssessment(made, seed, len(draft.samples), _count(draft.samples), samples)


def _count(samples: Sequence[Sample]) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for one in samples:
        key = (one.target, one.stratum)
        counts[key] = counts.get(key, 0) + 1
    return counts


def _measure(draft: _Draft, target: str) -> Population:
    """Measure the strata of a target and note their sizes."""
    series = draft.series
    objects, mapped_m2 = assessments.sum_objects(draft.conn, series.watch, target)
    mapped_m2 = min(mapped_m2, series.ground_m2)
    changes = assessments.count_changes(draft.conn, series.series_id, target)
    pixel = series.gsd_m**2
    rest_m2 = series.ground_m2 - mapped_m2
    draft.strata += [
        Stratum(target, MAPPED, Unit.POINT, mapped_m2 / pixel, mapped_m2),
        Stratum(target, BACKGROUND, Unit.POINT, rest_m2 / pixel, rest_m2),
        Stratum(target, OBJECTS, Unit.OBJECT, objects),
        *(Stratum(target, kind, Unit.CHANGE, count) for kind, count in changes.items()),
    ]
    return Population(mapped_m2 / pixel, rest_m2 / pixel, objects, changes)


def _allocate(population: Population, samples: int | None, standard_error: float) -> Allocation:
    if samples is None:
        return allocate_by_error(population, standard_error)
    return allocate_by_count(population, samples)


def _draw_target(draft: _Draft, target: str, population: Population, wanted: Allocation) -> None:
    mapped = list(_draw_on_objects(draft, target, population, wanted.mapped))
    _add_points(draft, target, MAPPED, mapped, population.mapped, PRESENT)
    outside = _draw_outside(draft, target, wanted.background)
    _add_points(draft, target, BACKGROUND, outside, population.background, ABSENT)
    _add_objects(draft, target, population.objects, wanted.objects)
    for stratum, count in wanted.changes.items():
        _add_changes(draft, target, stratum, population.changes[stratum], count)


def _draw_on_objects(draft: _Draft, target: str, population: Population, count: int) -> Iterator[Point]:
    """Draw points that are uniform on the ground of all objects of a target."""
    if not count:
        return
    total = population.mapped * draft.series.gsd_m**2
    positions = draw_positions(draft.random, total, count)
    watch = draft.series.watch
    for one in assessments.pick_objects_by_area(draft.conn, watch, target, positions.tolist()):
        yield from draw_points(draft.random, one.geometry, one.points)


def _draw_outside(draft: _Draft, target: str, count: int) -> list[Point]:
    """Draw points that are uniform on the observed ground outside the objects of a target."""
    found: list[Point] = []
    for _ in range(_MAX_ROUNDS):
        if len(found) >= count:
            break
        drawn = draw_points(draft.random, draft.series.ground, max(2 * count, 50))
        mapped = assessments.find_mapped(draft.conn, draft.series.watch, target, drawn)
        found += [one for index, one in enumerate(drawn) if index not in mapped]
    return found[:count]


def _add_points(
    draft: _Draft,
    target: str,
    stratum: str,
    points: Sequence[Point],
    population: float,
    agreeing: tuple[Label, ...],
) -> None:
    scenes = assessments.find_first_and_last_scenes(draft.conn, draft.series.watch, points)
    probability = min(1.0, len(points) / population) if points else 1.0
    draft.samples += [
        Sample(target, stratum, probability, points[index], after, _other(before, after), agreeing)
        for index, (before, after) in sorted(scenes.items())
    ]


def _add_objects(draft: _Draft, target: str, population: int, count: int) -> None:
    if not count:
        return
    ordinals = draw_ordinals(draft.random, population, count)
    drawn = assessments.pick_objects(draft.conn, draft.series.watch, target, ordinals.tolist())
    points = [find_core(one.geometry) for one in drawn]
    scenes = assessments.find_first_and_last_scenes(draft.conn, draft.series.watch, points)
    for index, (before, after) in sorted(scenes.items()):
        one = drawn[index]
        draft.samples.append(
            Sample(
                target, OBJECTS, count / population, points[index], after, _other(before, after), PRESENT,
                track_id=one.track_id, confidence=one.confidence,
            )
        )  # fmt: skip


def _add_changes(draft: _Draft, target: str, stratum: str, population: int, count: int) -> None:
    ordinals = draw_ordinals(draft.random, population, count)
    series = draft.series
    for one in assessments.pick_changes(draft.conn, series.series_id, target, stratum, ordinals.tolist()):
        point = find_core(one.geometry)
        before, after = assessments.find_scenes_around(draft.conn, series.watch, point, one)
        happened = Label.AFTER if one.came else Label.BEFORE
        agreeing: tuple[Label, ...] = (happened,)
        if stratum == REFUTED:
            agreeing = tuple(label for label in Label if label not in {happened, Label.UNCLEAR})
        draft.samples.append(
            Sample(
                target, stratum, count / population, point, after, before, agreeing,
                change_id=one.change_id, confidence=one.confidence,
            )
        )  # fmt: skip


def _other(before: UUID, after: UUID) -> UUID | None:
    """Return the earlier scene, if there is one."""
    return None if before == after else before
