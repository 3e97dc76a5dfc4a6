"""Find the threshold between two classes of an index from the pixels of one scene, or say that there is none.

Otsu's threshold (1979) exists for every histogram, also for one with a single mode, where it cuts the mode in two.
So three guards decide whether a histogram has two classes at all. Otsu also misses classes of few pixels beside a wide
one. Where it finds nothing, the physical range of the index decides: where all values lie clearly on one side, as those
of a scene without water do, any threshold in between gives the same polygons. Where that fails, too, the caller gets
the reason and no threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Histogram of -1..1.
BINS = 200
_MIN_PIXELS = 200
#: Least share of the smaller class.
_MIN_SHARE = 0.005
#: Ashman's D (1994) of two normal distributions of equal width is clearly bimodal above 2; skewed ones need more.
_MIN_SEPARATION = 2.2
#: Deepest point between the classes, as a share of the lower of their two peaks.
_MAX_VALLEY = 0.6


@dataclass(frozen=True, slots=True)
class Threshold:
    """Threshold of an index, or why the scene has none."""

    value: float | None
    reason: str = ""
    """Why there is none, or why there is one without two modes; empty where two modes tell it."""


def count_values(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count values of -1..1 in :data:`BINS` bins; histograms of a scene's windows add up."""
    return np.histogram(values, BINS, (-1.0, 1.0))[0].astype(np.int64)


def find_threshold(
    counts: NDArray[np.int64], plausible: tuple[float, float], undecided: tuple[float, float]
) -> Threshold:
    """Find the threshold between two classes from a histogram.

    Parameters
    ----------
    counts
        As :func:`count_values` returns them.
    plausible
        Range in which the threshold of this index lies on real ground. A threshold outside of it separates two other
        classes, such as forest from fields in an index of water.
    undecided
        Range of values that either class may have. Ground below it is clearly of the lower class, ground above it
        clearly of the upper one.
    """
    total = int(counts.sum())
    if total < _MIN_PIXELS:
        return Threshold(None, f"only {total} clear pixels")
    low, between, high = _count_sides(counts, undecided)
    middle, resolution = sum(undecided) / 2, _MIN_SHARE * total
    if total - low <= resolution:
        return Threshold(middle, f"{low / total:.1%} of the pixels are clearly below")
    if total - high <= resolution:
        return Threshold(middle, f"{high / total:.1%} of the pixels are clearly above")
    found = _find_between_modes(counts, plausible)
    if found.value is None and between <= resolution:
        return Threshold(middle, f"only {between / total:.1%} of the pixels may be either")
    if found.value is None and min(low, high) >= resolution:
        return _find_valley(counts, (max(plausible[0], undecided[0]), min(plausible[1], undecided[1])))
    return found


def _count_sides(counts: NDArray[np.int64], undecided: tuple[float, float]) -> tuple[int, int, int]:
    """Count the pixels below, within and above the undecided range."""
    first, last = _find_bins(undecided)
    return int(counts[:first].sum()), int(counts[first:last].sum()), int(counts[last:].sum())


def _find_bins(values: tuple[float, float]) -> tuple[int, int]:
    """Find the first bin of a range of values, and the first one behind it."""
    first, last = (round((one + 1) * BINS / 2) for one in values)
    return first, last


def _find_between_modes(counts: NDArray[np.int64], plausible: tuple[float, float]) -> Threshold:
    """Find Otsu's threshold of a histogram with two modes."""
    total = int(counts.sum())
    centres = (np.arange(BINS) + 0.5) * 2 / BINS - 1
    cut, separation = _split(counts, centres)
    low, high = counts[:cut], counts[cut:]
    share = min(low.sum(), high.sum()) / total
    if share < _MIN_SHARE:
        return Threshold(None, f"the histogram has one mode: the smaller class has {share:.1%} of the pixels")
    if separation < _MIN_SEPARATION:
        return Threshold(None, f"the histogram has one mode: its halves are {separation:.1f} widths apart")
    depth = _measure_valley(counts, cut)
    if depth > _MAX_VALLEY:
        return Threshold(
            None, f"the histogram has one mode: no valley between its halves ({depth:.0%} of the peak)"
        )
    value = float(centres[cut] - 1 / BINS)
    if not plausible[0] <= value <= plausible[1]:
        return Threshold(
            None, f"its two modes meet at {value:.2f}, not within {plausible[0]:g} to {plausible[1]:g}"
        )
    return Threshold(value)


def _find_valley(counts: NDArray[np.int64], within: tuple[float, float]) -> Threshold:
    """Find the deepest point of a range, if it is a valley between two peaks and not the foot of a slope.

    It tells a class of few pixels, whose threshold Otsu's method places within the other class.
    """
    first, last = _find_bins(within)
    smooth = _smooth(counts)[first:last]
    lowest = np.flatnonzero(smooth == smooth.min())
    place = int(lowest[len(lowest) // 2])
    depth = _measure_valley(counts, first + place)
    if depth > _MAX_VALLEY or place in {0, len(smooth) - 1}:
        return Threshold(
            None, "the histogram has one mode: no valley between its clearly lower and clearly higher values"
        )
    return Threshold(
        (first + place) * 2 / BINS - 1, "a valley between clearly lower and clearly higher values"
    )


def _split(counts: NDArray[np.int64], centres: NDArray[np.float64]) -> tuple[int, float]:
    """First bin of the upper class, by Otsu, and Ashman's D of the two classes."""
    weight = np.cumsum(counts)[:-1].astype(np.float64)
    total = float(counts.sum())
    first = np.cumsum(counts * centres)[:-1]
    mean = float((counts * centres).sum()) / total
    inside = (weight > 0) & (weight < total)
    between = np.zeros_like(weight)
    np.divide((mean * weight - first) ** 2, weight * (total - weight), out=between, where=inside)
    # empty bins between the classes are equally good: take the middle
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    cut = int(best[len(best) // 2]) + 1
    halves = [(counts[:cut], centres[:cut]), (counts[cut:], centres[cut:])]
    means, widths = zip(*(_describe(*half) for half in halves), strict=True)
    return cut, float(np.sqrt(2) * abs(means[1] - means[0]) / np.sqrt(widths[0] ** 2 + widths[1] ** 2))


def _describe(counts: NDArray[np.int64], centres: NDArray[np.float64]) -> tuple[float, float]:
    total = max(1, int(counts.sum()))
    mean = float((counts * centres).sum()) / total
    spread = float((counts * (centres - mean) ** 2).sum()) / total
    # a class within one bin still has the bin's width
    return mean, max(spread, (2 / BINS) ** 2 / 12) ** 0.5


def _measure_valley(counts: NDArray[np.int64], cut: int) -> float:
    """Lowest point between the peaks of both classes, as a share of the lower peak, of the smoothed histogram."""
    smooth = _smooth(counts)
    left, right = int(smooth[:cut].argmax()), cut + int(smooth[cut:].argmax())
    lower = min(smooth[left], smooth[right])
    return float(smooth[left : right + 1].min() / lower) if lower > 0 else 1.0


def _smooth(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    return np.convolve(np.pad(counts.astype(np.float64), 2, mode="edge"), kernel, "valid")
