"""How sure a series is of its objects and changes, and the evidence behind it."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import shapely
from shapely.geometry.base import BaseGeometry

MAX_VIEWS = 24
"""Maximum number of observations that a change is judged by; with as many it stays as it is."""
MAX_PAST = 8
"""Maximum number of earlier observations that a new change is judged by."""
SCORE_BINS = 10
"""Number of equal intervals in which detections are counted by their score."""
DEFAULT_CONFIDENCE = 0.8
"""Least confidence of a confirmed object or change."""
SETTLED_CONFIDENCE = 0.94
"""A change that is this sure is not judged again; rules cannot ask for more."""


Light = tuple[float, float, float]
"""How much brighter an observation is than its series' reference, grey levels: dark, medium and bright pixels."""
MAX_LIGHTS = 16
"""Maximum number of earlier observations whose light is kept."""

#: Log-odds up to which a confidence is rounded to a step, and the step: at most 0.0125 of the confidence everywhere.
_STEPS = ((3.0, 0.05), (5.0, 0.25), (math.inf, 2.5))
_MAX_LOG_ODDS = 12.5


def round_confidence(probability: float) -> float:
    """Round a probability to a step of its log-odds, so that a difference too small to notice makes none.

    Every observation moves the rates of its series a little, and with them each confidence that is derived from them. A
    late scene then rewrites the rows of the objects that it shows, and not those of all others.

    Parameters
    ----------
    probability
        0..1.

    Returns
    -------
    float
        Never 0 or 1: observations do not make anything certain.
    """
    bounded = min(max(probability, 1e-9), 1 - 1e-9)
    log_odds = math.log(bounded / (1 - bounded))
    step = next(step for most, step in _STEPS if abs(log_odds) < most)
    rounded = min(round(abs(log_odds) / step) * step, _MAX_LOG_ODDS)
    return 1 / (1 + math.exp(-math.copysign(rounded, log_odds)))


class BeliefStatus(enum.StrEnum):
    """Whether the evidence suffices to decide."""

    PROVISIONAL = "provisional"
    CONFIRMED = "confirmed"
    REFUTED = "refuted"


@dataclass(frozen=True, slots=True)
class Belief:
    """How sure a series is of an object or change."""

    confidence: float = 0.0
    """Probability that the object is there, or that the change happened, 0..1."""
    status: BeliefStatus = BeliefStatus.PROVISIONAL
    observations_for: int = 0
    """Observations that support it."""
    observations_against: int = 0
    """Observations that contradict it."""


@dataclass(frozen=True, slots=True)
class RegionView:
    """What one observation showed of the region that a change turned."""

    observation_id: UUID
    acquired_at: datetime
    visible_share: float
    """Share of the region that the observation covered, 0..1."""
    covered_share: float
    """Share of the visible part that detections of the target cover, 0..1."""
    core_detected: bool | None = None
    """Whether the unchanged part of the object was detected; None if too little of it was visible, or it has none."""
    score: float | None = None
    """Mean score of the detections in the region, 0..1; None without a detection."""
    spectral: float = 0.0
    """Mean log-likelihood ratio of the detections' spectral evidence; 0 where there is none, or no detection."""
    light: Light | None = None
    """In which light the observation shows the ground; None = not measured."""

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "observation_id": str(self.observation_id),
            "acquired_at": self.acquired_at.isoformat(),
            "visible_share": self.visible_share,
            "covered_share": self.covered_share,
            "core_detected": self.core_detected,
            "score": self.score,
            "spectral": self.spectral,
            "light": None if self.light is None else list(self.light),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` made."""
        light = document.get("light")
        return cls(
            **{
                **document,
                "observation_id": UUID(document["observation_id"]),
                "acquired_at": datetime.fromisoformat(document["acquired_at"]),
                "light": None if light is None else tuple(light),
            }
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What later observations are compared with to judge a change."""

    region: BaseGeometry
    """Region that the change turned from uncovered to covered by the target or back, EPSG:4326."""
    to_covered: bool
    """Whether the region is covered by the target after the change."""
    raised_at: datetime
    """Acquisition time of the observation that raised the change."""
    core: BaseGeometry | None = None
    """Part of the object that the change left as it was, EPSG:4326; None if it has none."""
    rivals: tuple[BaseGeometry, ...] = ()
    """What may be one with the object, or split off it, EPSG:4326.

    Of an appearance: objects from which no observation has shown it apart. Of growth: objects that it reaches. Of a
    loss: the pieces in which it left the object, largest first.
    """
    blocked: bool = False
    """Whether another change may explain this one; it is not confirmed meanwhile."""
    prior: float = 1.0
    """Probability that the objects were there that the change needs, 0..1."""
    hits_before: int = 0
    """Detections of the object that are older than the first view."""
    misses_before: int = 0
    """Counted misses of the object that are older than the first view."""
    seen_at: datetime | None = None
    """Acquisition time of the newest of these detections; None if there are none."""
    unchanged: bool = False
    """Whether a spectral index says the same of the change's ground before and after it."""

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON values, geometries as hexadecimal WKB."""
        return {
            "region": shapely.to_wkb(self.region, hex=True),
            "to_covered": self.to_covered,
            "raised_at": self.raised_at.isoformat(),
            "core": None if self.core is None else shapely.to_wkb(self.core, hex=True),
            "rivals": [shapely.to_wkb(one, hex=True) for one in self.rivals],
            "blocked": self.blocked,
            "prior": self.prior,
            "hits_before": self.hits_before,
            "misses_before": self.misses_before,
            "seen_at": None if self.seen_at is None else self.seen_at.isoformat(),
            "unchanged": self.unchanged,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` made."""
        core, seen_at = document["core"], document.get("seen_at")
        return cls(
            shapely.from_wkb(document["region"]),
            document["to_covered"],
            datetime.fromisoformat(document["raised_at"]),
            None if core is None else shapely.from_wkb(core),
            tuple(shapely.from_wkb(one) for one in document["rivals"]),
            document["blocked"],
            document["prior"],
            document.get("hits_before", 0),
            document.get("misses_before", 0),
            None if seen_at is None else datetime.fromisoformat(seen_at),
            document.get("unchanged", False),
        )


@dataclass(frozen=True, slots=True)
class TargetCounts:
    """What a series has shown about its detector and about one target; sums, so that rates follow from them."""

    target: str
    hits: float = 0.0
    """Visible objects that were detected, weighted by the belief that they are there."""
    misses: float = 0.0
    """Visible objects that were not detected, weighted likewise."""
    false_alarms: float = 0.0
    """Appearances that were refuted."""
    km2_scenes: float = 0.0
    """Observed ground, summed over the observations, km²."""
    births: float = 0.0
    """Appearances that were confirmed."""
    km2_days: float = 0.0
    """Observed ground times the days since the observation before, km² days."""
    deaths: float = 0.0
    """Disappearances that were confirmed."""
    object_days: float = 0.0
    """Observed objects times the days since the observation before."""
    turns: float = 0.0
    """Changes of shape, splits and mergers that were confirmed."""
    objects: float = 0.0
    """Objects found on ground that was observed for the first time."""
    first_km2: float = 0.0
    """Ground that was observed for the first time, km²."""
    jitter_m2: float = 0.0
    """Sum of squared displacements of the boundaries of unchanged objects, m²."""
    jitter_objects: float = 0.0
    """Number of these objects."""
    true_scores: tuple[float, ...] = (0.0,) * SCORE_BINS
    """Detections of known objects by score, weighted by the belief that the object is there."""
    false_scores: tuple[float, ...] = (0.0,) * SCORE_BINS
    """Detections that appeared and were refuted, by score."""
    lights: tuple[tuple[UUID, Light], ...] = ()
    """Light of the newest observations of the series, by observation id, oldest first."""

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            **asdict(self),
            "true_scores": list(self.true_scores),
            "false_scores": list(self.false_scores),
            "lights": [[str(observation_id), list(light)] for observation_id, light in self.lights],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` made."""
        scores = {name: tuple(document[name]) for name in ("true_scores", "false_scores") if name in document}
        lights = tuple((UUID(name), tuple(light)) for name, light in document.get("lights", ()))
        return cls(**{**document, **scores, "lights": lights})


@dataclass(frozen=True, slots=True)
class Shift:
    """Displacement that moves an observation onto its series' reference."""

    east_m: float = 0.0
    north_m: float = 0.0
    quality: float = 0.0
    """How certain it is, 0..1."""
    source: str = "none"
    """What it was measured on: pixels, outlines or none."""

    @property
    def is_zero(self) -> bool:
        """Whether nothing is moved."""
        return self.east_m == 0.0 and self.north_m == 0.0
