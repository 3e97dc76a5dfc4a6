"""Coverage of the 95 % intervals of an assessment, in simulated samples from maps whose accuracy is known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from segwatch.geo.assessment.estimators import assess_target
from segwatch.geo.types.assessment import BACKGROUND, MAPPED, OBJECTS, Estimate, StratumCounts, Unit

_POINTS = 1e7
_OBJECTS = 400
NAMES = ("users", "producers", "overall", "area_m2", "objects", "changes")


def run(*, quick: bool) -> dict[str, float | int]:
    """Measure, print and return the mean coverage, and that of each estimate."""
    found = measure_coverage(2000 if quick else 20_000)
    covered = {f"assessment_coverage_{name}": round(value, 4) for name, value in found.items()}
    mean = round(float(np.mean(list(found.values()))), 4)
    print(f"95 % intervals of an assessment cover the truth in {mean:.1%} of simulated samples: {found}")
    return {"assessment_interval_coverage": mean, **covered}


def measure_coverage(samples: int, seed: int = 0) -> dict[str, float]:
    """Draw samples from maps of random accuracy; return the share of intervals that contain the truth, by estimate."""
    random = np.random.default_rng(seed)
    hits = {name: [] for name in NAMES}  # type: dict[str, list[bool]]
    for _ in range(samples):
        for name, true, estimate in _simulate(random):
            hits[name].append(estimate is not None and estimate.low <= true <= estimate.high)
    return {name: float(np.mean(found)) for name, found in hits.items()}


def _simulate(random: np.random.Generator) -> Iterator[tuple[str, float, Estimate | None]]:
    """Make a map, sample it as an assessment does, and yield the true value of each quantity with its estimate."""
    mapped, users, omitted = random.uniform(0.02, 0.5), random.uniform(0.6, 0.98), random.uniform(0.005, 0.1)
    points = random.choice([40, 75, 150])
    strata = [
        _draw_points(random, MAPPED, mapped, users, points),
        _draw_points(random, BACKGROUND, 1 - mapped, 1 - omitted, points),
    ]
    objects = _draw_units(random, OBJECTS, Unit.OBJECT, random.uniform(0.7, 0.98), 60)
    kinds = [
        _draw_units(random, kind, Unit.CHANGE, random.uniform(0.4, 0.95), 30) for kind in ("appeared", "grew")
    ]
    found = assess_target("water", [*strata, objects[0], *(one for one, _ in kinds)])
    true_area = mapped * users + (1 - mapped) * omitted
    yield "users", users, found.users
    yield "producers", mapped * users / true_area, found.producers
    yield "overall", mapped * users + (1 - mapped) * (1 - omitted), found.overall
    yield "area_m2", true_area * _POINTS, found.area_m2
    yield "objects", objects[1], found.objects
    yield "changes", float(np.mean([share for _, share in kinds])), found.changes


def _draw_points(
    random: np.random.Generator, stratum: str, share: float, right: float, count: int
) -> StratumCounts:
    correct = int(random.binomial(count, right))
    size = share * _POINTS
    return StratumCounts("water", stratum, Unit.POINT, size, size, count, correct, count - correct, 0)


def _draw_units(
    random: np.random.Generator, stratum: str, unit: Unit, right: float, count: int
) -> tuple[StratumCounts, float]:
    """Draw units without replacement; returns the counts and the true share of right ones in the population."""
    good = round(_OBJECTS * right)
    correct = int(random.hypergeometric(good, _OBJECTS - good, count))
    counts = StratumCounts("water", stratum, unit, _OBJECTS, 0.0, count, correct, count - correct, 0)
    return counts, good / _OBJECTS
