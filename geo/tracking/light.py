"""In which light an observation shows the ground, and whether that alone explains a change.

Light and haze move the outlines that a model draws. No single object tells that apart from a true change, but the
pixels of the whole scene do: they become brighter or darker everywhere. A change that follows the light, seen in all
observations in the new light and in none in the old one, is evidence of the scene. One that is seen in the old light as
well, or in light beyond it, is evidence of the object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from segwatch.geo.types.belief import Light, RegionView
from segwatch.geo.types.chips import Cell, Chip, ReferenceChip

#: Difference of light, grey levels, within which two observations count as equally lit.
_ALIKE = 1.0
#: Percentiles of the reference's pixels that divide them into dark, medium and bright ones.
_CLASSES = (33.0, 67.0)
_MIN_PIXELS = 100


def measure_light(chips: Sequence[Chip], references: Mapping[Cell, ReferenceChip]) -> Light | None:
    """Measure how much brighter an observation is than the references of its series.

    Returns
    -------
    tuple of float, or None
        Median difference, grey levels, of the pixels that are dark, medium and bright in the references. Medians, so
        that changes on less than half of the ground do not count. None where too few pixels can be compared.
    """
    pairs = [
        (chip.decode(), references[chip.cell].chip.decode()) for chip in chips if chip.cell in references
    ]
    if not pairs:
        return None
    common = [clear & old_clear for (_, clear), (_, old_clear) in pairs]
    grey = np.concatenate([new[mask] for ((new, _), _), mask in zip(pairs, common, strict=True)])
    before = np.concatenate([old[mask] for (_, (old, _)), mask in zip(pairs, common, strict=True)])
    if len(grey) < 3 * _MIN_PIXELS:
        return None
    low, high = np.percentile(before, _CLASSES)
    difference = grey.astype(float) - before
    classes = (before <= low, (before > low) & (before <= high), before > high)
    if min(int(one.sum()) for one in classes) < _MIN_PIXELS:
        return None
    # pixels are whole grey levels; the mean of the middle half is finer than the median
    dark, medium, bright = (_compute_middle_mean(difference[one]) for one in classes)
    return dark, medium, bright


def _compute_middle_mean(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    ordered = np.sort(values)
    quarter = len(ordered) // 4
    return round(float(ordered[quarter : len(ordered) - quarter].mean()), 2)


def is_explained_by_light(
    views: Sequence[RegionView], raised: int, is_new_state: Callable[[RegionView], bool]
) -> bool:
    """Return whether the light alone separates the views of the new state from those of the old one.

    Parameters
    ----------
    views
        Those that tell anything, in order of acquisition time.
    raised
        Index of the view that raised the change.
    is_new_state
        Whether a view shows the state after the change.
    """
    old = [one.light for one in views if one.light is not None and not is_new_state(one)]
    new = [one.light for one in views[raised:] if one.light is not None and is_new_state(one)]
    earlier = [one.light for one in views[:raised] if one.light is not None and not is_new_state(one)]
    if not (earlier and new):
        return False
    direction = np.array(new[0]) - np.array(earlier[-1])
    length = float(np.linalg.norm(direction))
    if length <= _ALIKE:
        return False
    along = direction / length
    return float((np.array(new) @ along).min() - (np.array(old) @ along).max()) > _ALIKE
