"""Decide whether an object grew, shrank or moved between two observations (step 4 of tracking)."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from segwatch.geo.tracking.overlay import Geometries
from segwatch.geo.types.tracking import ChangeKind
from segwatch.geo.types.watch import TrackingSettings


def classify_changes(
    before: Geometries,
    after: Geometries,
    before_m2: NDArray[np.float64],
    after_m2: NDArray[np.float64],
    settings: TrackingSettings,
    min_change_m2: NDArray[np.float64],
) -> list[ChangeKind | None]:
    """Classify the change of each of N objects: grew, shrank, moved, or None within noise.

    Differences within one tolerance of the old boundary count as misregistration. The rest must exceed the absolute and
    the relative minimum. An object moved if it lost about as much area as it gained.

    Parameters
    ----------
    before, after
        (N,) geometries in the series' equal-area CRS.
    before_m2, after_m2
        (N,) geodesic areas, m².
    settings
        Tolerance, ``min_change_m2`` and ``min_change_ratio`` of the watch.
    min_change_m2
        (N,) further minimum for each object, m².
    """
    old_area = shapely.area(before)
    least = np.maximum(settings.min_change_m2, settings.min_change_ratio * old_area)
    least = np.maximum(least, min_change_m2)
    # cheap test first: if even the whole symmetric difference is below the minimum, nothing changed
    common = shapely.area(shapely.intersection(before, after))
    candidates = np.flatnonzero(old_area + shapely.area(after) - 2 * common > least)
    kinds: list[ChangeKind | None] = [None] * len(before)
    old, new = before[candidates], after[candidates]
    gains = shapely.area(shapely.difference(new, shapely.buffer(old, settings.tolerance_m)))
    losses = shapely.area(shapely.difference(shapely.buffer(old, -settings.tolerance_m), new))
    for index, gain, loss in zip(candidates.tolist(), gains.tolist(), losses.tolist(), strict=True):
        net = float(after_m2[index] - before_m2[index])
        kinds[index] = _classify(gain, loss, net, float(least[index]))
    return kinds


def _classify(gain: float, loss: float, net: float, least: float) -> ChangeKind | None:
    if gain + loss <= least:
        return None
    if min(gain, loss) > least / 2 and abs(net) <= least:
        return ChangeKind.MOVED
    return ChangeKind.GREW if net > 0 else ChangeKind.SHRANK
