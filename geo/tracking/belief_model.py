"""The probability model of beliefs: a place is covered by the target or not, seen through an imperfect detector.

A two-state hidden Markov model in continuous time. Rates come from the counts of the series with Beta and Gamma priors.
Sources: integrated probabilistic data association (Musicki, Evans and Stankovic 1994: existence as a two-state chain,
detection probability and false alarm density in the likelihood); Bayesian updating of forest alerts (Reiche et al.
2018: provisional alerts that later observations confirm or refute). ``docs/explanation/belief.md`` has the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from segwatch.geo.types.belief import SCORE_BINS, RegionView, TargetCounts

Floats = NDArray[np.float64]

#: A share of a view's region below this tells nothing.
MIN_VISIBLE = 0.1
#: An object counts as detected where detections cover this share of its visible part.
MIN_COVERED = 0.3
#: Share of the probability of an interval's end that lies outside the told interval, on each side.
_TAIL = 0.05
#: Probability that a region of a shape looks turned for reasons that the model does not know.
_SURPRISE = 0.003
#: Standard deviation of the covered share beyond the jitter of boundaries.
_SHARE_ERROR = 0.15
MAX_SCORE_FACTOR = 3.0
"""Largest factor by which the score of one detection changes the odds."""
#: Detections that the distribution of all scores counts for in that of the true and of the false ones.
_SCORE_PRIOR = 10.0
#: Bound of what older observations tell, as logarithm of the odds.
_MAX_LOG_ODDS = 7.0
_SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Rates:
    """What a series is expected to show of one target, estimated from its counts."""

    detection: float
    """Probability that a visible object is detected."""
    false_alarms: float
    """False detections per km² and observation."""
    births: float
    """New objects per km² and day."""
    deaths: float
    """Probability per day that an object disappears."""
    turns: float
    """Changes of shape per object and day."""
    objects: float
    """Objects per km²."""
    jitter_m: float
    """Standard deviation of boundaries of unchanged objects, metres."""
    score_ratios: tuple[float, ...] = (1.0,) * SCORE_BINS
    """How much likelier a detection's score is for a true than for a false detection, by score."""

    @classmethod
    def estimate(cls, counts: TargetCounts, tolerance_m: float) -> Self:
        """Estimate the rates as posterior means; the priors are for a pixel of one tolerance.

        Densities per area have priors for squares of a hundred pixels, as models see pixels and not metres.
        """
        cell_km2 = (tolerance_m / 10.0) ** 2
        return cls(
            detection=(counts.hits + 9.0) / (counts.hits + counts.misses + 10.0),
            false_alarms=(counts.false_alarms + 1.0) / (counts.km2_scenes + 2.0 * cell_km2),
            births=(counts.births + 0.4) / (counts.km2_days + 20.0 * cell_km2),
            deaths=(counts.deaths + 0.5) / (counts.object_days + 150.0),
            turns=(counts.turns + 2.0) / (counts.object_days + 400.0),
            objects=(counts.objects + 2.5) / (counts.first_km2 + 0.5 * cell_km2),
            jitter_m=math.sqrt(
                (counts.jitter_m2 + 5.0 * (0.1 * tolerance_m) ** 2) / (counts.jitter_objects + 5.0)
            ),
            score_ratios=_learn_score_ratios(counts),
        )

    def weigh_score(self, score: float | None) -> float:
        """Return the likelihood ratio of a score, within ``1 / MAX_SCORE_FACTOR`` and ``MAX_SCORE_FACTOR``."""
        return 1.0 if score is None else self.score_ratios[find_score_bin(score)]


def find_score_bin(score: float) -> int:
    """Return the number of the interval in which a score, 0..1, is counted."""
    return min(max(int(score * SCORE_BINS), 0), SCORE_BINS - 1)


def _learn_score_ratios(counts: TargetCounts) -> tuple[float, ...]:
    """Learn how much likelier each score is for a true than for a false detection.

    Both distributions start from that of all detections, so that the ratio is 1 as long as nothing is known, and stays
    1 where scores do not tell true from false detections. What is true and false is itself believed and not known,
    which is why the ratio is bounded: no score overrules what observations show.
    """
    true, false = np.array(counts.true_scores), np.array(counts.false_scores)
    every = true + false
    if not every.sum():
        return (1.0,) * SCORE_BINS
    shared = _SCORE_PRIOR * (every + 1 / SCORE_BINS) / (every.sum() + 1)
    ratios = (true + shared) / (true.sum() + _SCORE_PRIOR) * (false.sum() + _SCORE_PRIOR) / (false + shared)
    return tuple(np.clip(ratios, 1 / MAX_SCORE_FACTOR, MAX_SCORE_FACTOR).tolist())


@dataclass(frozen=True, slots=True)
class Chain:
    """A two-state chain of a region: 0 = not covered by the target, 1 = covered."""

    covered_at_first: float
    """Probability that it is covered at the first view."""
    to_covered: float
    """Rate per day."""
    to_uncovered: float
    """Rate per day."""

    def advance(self, days: float) -> Floats:
        """Return the (2, 2) probabilities from state to state over some days."""
        total = self.to_covered + self.to_uncovered
        if total <= 0:
            return np.eye(2)
        moved = -math.expm1(-total * days) / total
        up, down = self.to_covered * moved, self.to_uncovered * moved
        return np.array([[1 - up, up], [down, 1 - down]])


@dataclass(frozen=True, slots=True)
class Turn:
    """When a region turned into the state that it had at the scene that raised a change."""

    confidence: float
    """Probability that it turned between the views, and was in that state then, 0..1."""
    earliest: datetime
    latest: datetime
    """Interval that holds the time with 90 % probability, if it turned."""


def smooth_turn(
    views: Sequence[RegionView], likelihoods: Floats, chain: Chain, to_covered: bool, raised: int
) -> Turn:
    """Compute when the region turned into the state after the change, given all views.

    Parameters
    ----------
    views
        V views in order of acquisition time.
    likelihoods
        (V, 2) probability of each view given that the region is not covered, or covered.
    chain
        How the region changes on its own.
    to_covered
        Whether it is covered after the change.
    raised
        Index of the view that raised the change.
    """
    old, new = (0, 1) if to_covered else (1, 0)
    times = [one.acquired_at for one in views]
    steps = [chain.advance(_count_days(*pair)) for pair in pairwise(times)]
    forward = np.empty((len(views), 2))
    forward[0] = np.array([1 - chain.covered_at_first, chain.covered_at_first]) * likelihoods[0]
    for index, step in enumerate(steps, start=1):
        forward[index] = forward[index - 1] @ step * likelihoods[index]
    backward = np.ones(2)
    for index in range(len(views) - 1, raised, -1):
        backward = steps[index - 1] @ (likelihoods[index] * backward)
    # began[j]: the old state at view j - 1, the new one from view j to the view that raised the change
    began = np.zeros(raised + 1)
    run = backward[new] / float(forward[raised] @ backward)
    for index in range(raised, 0, -1):
        run *= likelihoods[index, new]
        began[index] = forward[index - 1, old] * steps[index - 1][old, new] * run
        run *= steps[index - 1][new, new]
    return Turn(min(float(began.sum()), 1.0), *_find_interval(times[: raised + 1], began))


def _find_interval(times: Sequence[datetime], began: Floats) -> tuple[datetime, datetime]:
    """Find the views between which the change happened with 90 % probability."""
    total = float(began.sum())
    if total <= 0 or len(times) < 2:
        return times[0], times[-1]
    share = np.cumsum(began) / total
    first = int(np.searchsorted(share, _TAIL, side="right"))
    last = int(np.searchsorted(share, 1 - _TAIL, side="left"))
    return times[max(first - 1, 0)], times[min(last, len(times) - 1)]


def _count_days(before: datetime, after: datetime) -> float:
    return (after - before).total_seconds() / _SECONDS_PER_DAY


def believe_older(there: float, rates: Rates, area_km2: float, hits: int, misses: int) -> float:
    """Compute the probability that an object was there before the first view, from older hits and misses.

    Parameters
    ----------
    there
        Probability of an object at any such place.
    rates, area_km2
        As in :func:`judge_existence`.
    hits, misses
        Older detections and counted misses of the object.
    """
    false = -math.expm1(-rates.false_alarms * area_km2)
    odds = math.log(there / (1 - there)) + hits * math.log(rates.detection / false)
    odds += misses * math.log((1 - rates.detection) / (1 - false))
    return 1 / (1 + math.exp(-min(max(odds, -_MAX_LOG_ODDS), _MAX_LOG_ODDS)))


def judge_existence(views: Sequence[RegionView], rates: Rates, area_km2: float) -> Floats:
    """Compute the likelihoods, (V, 2), of views of the place of an object: without it, and with it.

    An object is detected as a whole or missed as a whole; a false detection may lie in its place. The score and the
    spectral evidence of a detection tell which of both it is; where nothing is known of them they are neutral.

    Parameters
    ----------
    views
        V views.
    rates
        Of the series.
    area_km2
        Size of the place within which a false detection would be taken for the object, km².
    """
    false = -math.expm1(-rates.false_alarms * area_km2)
    likelihoods = np.ones((len(views), 2))
    for row, view in zip(likelihoods, views, strict=True):
        if view.visible_share < MIN_VISIBLE:
            continue
        hits = np.array([false, rates.detection])
        if is_detected(view):
            row[:] = hits * (1.0, rates.weigh_score(view.score) * math.exp(view.spectral))
        else:
            row[:] = 1 - hits
    return likelihoods


def is_detected(view: RegionView) -> bool:
    """Return whether a view of an object's place shows it."""
    return view.covered_share >= MIN_COVERED


def is_shape_shown(view: RegionView) -> bool:
    """Return whether a view tells anything about the shape of an object: it was detected, and the region visible."""
    return view.core_detected is True and view.visible_share >= MIN_VISIBLE


def judge_shape(views: Sequence[RegionView], rates: Rates, width_m: float, area_km2: float) -> Floats:
    """Compute the likelihoods, (V, 2), of views of a region that an object gained or lost: not covered, and covered.

    The covered share scatters around 0 or 1 with the jitter of the series over the width of the region.

    Parameters
    ----------
    views
        V views.
    rates
        Of the series.
    width_m
        Mean width of the region, metres.
    area_km2
        Its area; a false detection may lie in it.
    """
    sigma = math.hypot(rates.jitter_m / max(width_m, 1e-9), _SHARE_ERROR)
    surprise = min(_SURPRISE - math.expm1(-rates.false_alarms * area_km2), 0.5)
    likelihoods = np.ones((len(views), 2))
    for row, view in zip(likelihoods, views, strict=True):
        if is_shape_shown(view):
            apart = np.array([view.covered_share, 1 - view.covered_share]) / sigma
            row[:] = (1 - surprise) * np.exp(-0.5 * apart**2) + surprise
    return likelihoods
