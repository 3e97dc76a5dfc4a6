"""Values of an accuracy assessment: strata, labels, estimates with 95 % intervals, calibration of the confidence."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID


class Unit(enum.StrEnum):
    """What is drawn in a stratum."""

    POINT = "point"
    """A pixel of the observed ground."""
    OBJECT = "object"
    CHANGE = "change"


MAPPED = "mapped"
"""Stratum of points inside the objects of a target."""
BACKGROUND = "background"
"""Stratum of points on observed ground outside the objects of a target."""
OBJECTS = "object"
"""Stratum of the objects of a target; strata of changes are named by their kind, such as ``appeared``."""

REFUTED = "refuted"
"""Stratum of the changes that later observations refuted; a label agrees where nothing happened."""


class Label(enum.StrEnum):
    """What a person saw at the marked point, in a picture before and a picture after."""

    BOTH = "both"
    """The target is there in both pictures."""
    AFTER = "after"
    """The target is there in the later picture only."""
    BEFORE = "before"
    """The target is there in the earlier picture only."""
    NEITHER = "neither"
    UNCLEAR = "unclear"
    """The pictures do not tell; the sample counts for nothing."""


PRESENT = (Label.BOTH, Label.AFTER)
"""Labels that find the target in the later picture."""
ABSENT = (Label.BEFORE, Label.NEITHER)
"""Labels that do not find the target in the later picture."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate with its 95 % interval."""

    value: float
    standard_error: float
    """Of the stratified estimator, from the sample."""
    low: float
    high: float

    def scale(self, factor: float) -> Estimate:
        """Multiply by a positive factor, such as an area for a share of it."""
        return Estimate(
            self.value * factor, self.standard_error * factor, self.low * factor, self.high * factor
        )


@dataclass(frozen=True, slots=True)
class StratumCounts:
    """Labels of one stratum of one target."""

    target: str
    stratum: str
    unit: Unit
    size: float
    """Number of units in the population: pixels, objects or changes."""
    area_m2: float
    """Geodesic area of the stratum; 0 where units are not points."""
    samples: int
    """Units drawn."""
    correct: int
    """Labels that agree with the map."""
    wrong: int
    unclear: int

    @property
    def judged(self) -> int:
        """Number of labels that count."""
        return self.correct + self.wrong

    @property
    def labelled(self) -> int:
        """Number of labelled samples, unclear ones too."""
        return self.judged + self.unclear


@dataclass(frozen=True, slots=True)
class TargetAccuracy:
    """Accuracy of the map of one target; None where too few samples are labelled."""

    target: str
    samples: int
    labels: int
    """Samples with a label that counts."""
    mapped_m2: float
    """Area that the map gave the target when the sample was drawn."""
    users: Estimate | None = None
    """Share of the mapped area that is the target."""
    producers: Estimate | None = None
    """Share of the target's true area that is mapped."""
    overall: Estimate | None = None
    """Share of the observed ground on which the map is right."""
    area_m2: Estimate | None = None
    """True area of the target, from labels and map."""
    objects: Estimate | None = None
    """Share of the objects that are there."""
    changes: Estimate | None = None
    """Share of the changes that happened, without refuted ones."""
    change_kinds: Mapping[str, Estimate] = field(default_factory=dict)
    """By kind; ``refuted`` is the share of refuted changes that did not happen."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What is known about the accuracy of a watch's current series."""

    watch: str
    assessment_id: UUID | None
    """Newest assessment of the series in force; None where there is none."""
    drawn_at: datetime | None
    targets: tuple[TargetAccuracy, ...]
    is_demonstration: bool = False
    """Whether the series is of the model that ships with segwatch, which is not made for decisions."""

    def find(self, target: str) -> TargetAccuracy | None:
        """Find the accuracy of a target."""
        return next((one for one in self.targets if one.target == target), None)


@dataclass(frozen=True, slots=True)
class Judged:
    """A raw confidence, and whether a person found what it is about."""

    confidence: float
    true: bool
    weight: float = 1.0
    """Inverse of the inclusion probability; 1 for reviews, which stand for themselves only."""


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Judgements whose confidence lies in one tenth of the range."""

    confidence: float
    """Weighted mean."""
    share: float
    """Weighted share that is true."""
    weight: float
    """Share of all weights."""
    labels: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """A non-decreasing map from raw to calibrated confidence: piecewise linear, constant beyond its ends."""

    raw: tuple[float, ...]
    calibrated: tuple[float, ...]
    labels: int
    bins_before: tuple[ReliabilityBin, ...]
    bins_after: tuple[ReliabilityBin, ...]
    """Cross-validated: each judgement is calibrated by a fit without it."""
    error_before: float
    """Expected calibration error, ten bins."""
    error_after: float


def to_json(bins: Sequence[ReliabilityBin]) -> list[dict[str, Any]]:
    """Convert bins to JSON."""
    return [
        {"confidence": one.confidence, "share": one.share, "weight": one.weight, "labels": one.labels}
        for one in bins
    ]


def from_json(documents: Sequence[Mapping[str, Any]]) -> tuple[ReliabilityBin, ...]:
    """Convert back what :func:`to_json` returned."""
    return tuple(ReliabilityBin(**one) for one in documents)
