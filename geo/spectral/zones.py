"""Means of spectral indices inside detections and in rings around them, window by window.

Depends on scipy for distances and on rasterio for burning polygons into pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from scipy.ndimage import distance_transform_edt

from segwatch.geo.crs import to_crs_all
from segwatch.geo.grid import get_crs
from segwatch.geo.spectral.indices import NO_VALUE, SpectralIndex
from segwatch.geo.types.evidence import IndexMean, SpectralEvidence
from segwatch.geo.types.tracking import Detection

#: Distance in pixels at which the ring begins: the pixels that touch an object are partly inside it.
_RING_FROM = 1.5
#: Distance in pixels at which it ends.
_RING_TO = 4.5
_MARGIN = 5


class ZoneMeter:
    """Averages indices inside each detection and in its ring; windows may come in any order, each pixel once.

    A ring has no pixel of another detection of the same target.

    Parameters
    ----------
    detections
        EPSG:4326.
    grid
        The whole pixel grid.
    """

    def __init__(
        self, detections: Sequence[Detection], grid: GeoBox, indices: Sequence[SpectralIndex]
    ) -> None:
        self._indices = tuple(indices)
        self._transform = grid.transform
        shapes = np.array([one.geometry for one in detections], object)
        self._shapes = to_crs_all(shapes, get_crs(grid)) if len(shapes) else shapes
        self._tree = shapely.STRtree(list(shapely.envelope(self._shapes)))
        self._targets = np.array([one.target for one in detections], object)
        size = (2, len(self._indices), len(detections))
        self._sums, self._counts = np.zeros(size), np.zeros(size, np.int64)
        self._pixels = np.zeros((2, len(detections)), np.int64)

    def add(self, row: int, col: int, values: NDArray[np.int16]) -> None:
        """Add a window of ``compute_indices`` (:mod:`segwatch.geo.spectral.indices`) with this upper left pixel."""
        height, width = values.shape[1:]
        corner = self._transform @ Affine.translation(col - _MARGIN, row - _MARGIN)
        shape = (height + 2 * _MARGIN, width + 2 * _MARGIN)
        left, top = corner @ (0, 0)
        right, bottom = corner @ (shape[1], shape[0])
        near = np.sort(self._tree.query(shapely.box(left, bottom, right, top)))
        core = np.s_[_MARGIN : _MARGIN + height, _MARGIN : _MARGIN + width]
        for target in dict.fromkeys(self._targets[near]):
            chosen = near[self._targets[near] == target]
            labels = rasterize(
                [(self._shapes[at], place) for place, at in enumerate(chosen, 1)],
                out_shape=shape,
                transform=corner,
                dtype="int32",
            )
            if labels.any():
                self._count(0, chosen, labels[core], values)
                self._count(1, chosen, _find_rings(labels)[core], values)

    def _count(
        self, zone: int, chosen: NDArray[np.int64], labels: NDArray[np.int32], values: NDArray[np.int16]
    ) -> None:
        rows, cols = np.nonzero(labels)
        label = labels[rows, cols] - 1
        picked = values[:, rows, cols]
        known = picked != NO_VALUE
        size = len(chosen)
        self._pixels[zone, chosen] += np.bincount(label[known.any(axis=0)], minlength=size)
        for at in range(len(self._indices)):
            self._counts[zone, at, chosen] += np.bincount(label[known[at]], minlength=size)
            weights = picked[at, known[at]].astype(np.float64)
            self._sums[zone, at, chosen] += np.bincount(label[known[at]], weights, minlength=size)

    def result(self) -> list[SpectralEvidence | None]:
        """Return the evidence of each detection, in order; None where no pixel inside it has a value."""
        steps = np.array([one.steps_per_unit for one in self._indices])[:, None]
        counted = self._counts > 0
        means = (
            np.divide(self._sums, self._counts, out=np.full_like(self._sums, np.nan), where=counted) / steps
        )
        return [self._build(means[:, :, at], self._pixels[:, at]) for at in range(len(self._targets))]

    def _build(self, means: NDArray[np.float64], pixels: NDArray[np.int64]) -> SpectralEvidence | None:
        if not pixels[0]:
            return None
        found = []
        for at, one in enumerate(self._indices):
            inside, ring = (None if np.isnan(mean) else float(mean) for mean in means[:, at])
            if inside is not None:
                found.append(IndexMean(one.name, inside, ring))
        return SpectralEvidence(tuple(found), int(pixels[0]), int(pixels[1]))


def _find_rings(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Label the pixels of each region's ring; a pixel between two regions belongs to the nearer one."""
    distance, nearest = distance_transform_edt(labels == 0, return_indices=True)
    around = (distance >= _RING_FROM) & (distance <= _RING_TO)
    return np.where(around, labels[tuple(nearest)], 0).astype(np.int32)
