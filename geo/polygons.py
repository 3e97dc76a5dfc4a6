"""Trace masks to valid, oriented polygons with holes; a mask may come in strips of rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import scipy
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from segwatch.geo.antimeridian import split_at_antimeridian
from segwatch.geo.area import compute_area_m2, extract_polygons
from segwatch.geo.crs import to_lonlat
from segwatch.geo.grid import get_crs
from segwatch.geo.types.tracking import Detection

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

#: Edges are split to at most this many pixels before reprojection, so that straight pixel edges keep their place.
_MAX_EDGE_PX = 64

_Labels = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Region:
    """A connected region of a mask."""

    outline: BaseGeometry
    """Along pixel edges, in (column, row) of the whole grid; several polygons where parts touch only at corners."""
    first: tuple[int, int]
    """(row, column) of its first pixel."""
    mean: float
    """Mean probability over its pixels; 1 without logits."""
    instance: int = 0
    """Number of the object that the segmenter told apart; 0 = none."""


@dataclass(slots=True)
class _Growing:
    """A region that may continue in the next rows."""

    instance: int = 0
    parts: list[BaseGeometry] = field(default_factory=list)
    first: tuple[int, int] = (np.iinfo(np.int64).max, 0)
    total: float = 0.0
    count: int = 0

    def absorb(self, other: _Growing) -> None:
        self.instance = other.instance
        self.parts += other.parts
        self.first = min(self.first, other.first)
        self.total += other.total
        self.count += other.count

    def region(self) -> Region:
        # strips leave extra vertices in the middle of straight edges
        joined = self.parts[0] if len(self.parts) == 1 else shapely.union_all(self.parts).simplify(0)
        return Region(joined, self.first, self.total / self.count, self.instance)


class Tracer:
    """Traces the connected regions of a mask that comes in strips of rows, from the top.

    Pixels of different instances are never in one region. Memory follows the regions that reach the last row, not the
    number of rows.

    Parameters
    ----------
    width
        Columns of the mask.
    connectivity
        4 or 8; regions that touch only at a corner are one with 8.
    row, col
        Position of the mask's upper left pixel in the grid.
    """

    def __init__(self, width: int, connectivity: int = 4, *, row: int = 0, col: int = 0) -> None:
        self._structure = scipy.ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
        self._reach = (0,) if connectivity == 4 else (-1, 0, 1)
        self._row, self._col = row, col
        self._open: list[_Growing] = []
        self._last: _Labels = np.zeros(width, np.int32)
        """Labels of the last row: 1 + index into the open regions, 0 = none."""

    def add(
        self,
        mask: NDArray[np.bool_],
        logits: NDArray[np.float32] | None = None,
        instances: NDArray[np.int32] | None = None,
    ) -> list[Region]:
        """Add the next (h, W) rows; return the regions that ended.

        Parameters
        ----------
        instances
            (h, W) number of the object that a pixel belongs to, the same in all strips; 0 = of no object. None = of no
            object anywhere.
        """
        labels, count = self._label(mask, instances)
        pieces = self._pieces(labels, count, mask, logits)
        if instances is not None:
            for label, one in zip(*np.unique(labels, return_index=True), strict=True):
                if label:
                    pieces[label - 1].instance = int(instances.ravel()[one])
        known = len(self._open)
        owners = np.array([one.instance for one in (*self._open, *pieces)], np.int32)
        groups, of = self._join(labels[0], known, owners)
        last = labels[-1]
        reaching = np.unique(of[known + last[last > 0] - 1])
        merged = [_Growing() for _ in range(groups)]
        for node, piece in enumerate([*self._open, *pieces]):
            merged[of[node]].absorb(piece)
        still = np.zeros(groups, np.int32)
        still[reaching] = np.arange(1, len(reaching) + 1)
        self._last = np.where(last > 0, still[of[known + last - 1]] if count else 0, 0).astype(np.int32)
        self._open = [merged[index] for index in reaching]
        self._row += len(mask)
        return [one.region() for index, one in enumerate(merged) if not still[index]]

    def end(self) -> list[Region]:
        """Return the regions that reach the last row."""
        ended, self._open = [one.region() for one in self._open], []
        self._last[:] = 0
        return ended

    def _label(self, mask: NDArray[np.bool_], instances: NDArray[np.int32] | None) -> tuple[_Labels, int]:
        """Label the connected regions of pixels of one instance from 1; returns their number, too."""
        if instances is None or not instances.any():
            labels, count = scipy.ndimage.label(mask, self._structure)
            return labels.astype(np.int32, copy=False), int(count)
        labels, count = np.zeros(mask.shape, np.int32), 0
        found, compact = np.unique(np.where(mask, instances, -1), return_inverse=True)
        compact = compact.reshape(mask.shape) + 1
        for at, window in enumerate(scipy.ndimage.find_objects(compact)):
            if window is None or found[at] < 0:
                continue
            part, more = scipy.ndimage.label(compact[window] == at + 1, self._structure)
            within = part > 0
            labels[window][within] = part[within] + count
            count += int(more)
        return labels, count

    def _pieces(
        self, labels: _Labels, count: int, mask: NDArray[np.bool_], logits: NDArray[np.float32] | None
    ) -> list[_Growing]:
        pieces = [_Growing() for _ in range(count)]
        if not count:
            return pieces
        flat = labels.ravel()
        where = np.flatnonzero(flat)
        of = flat[where]
        first = np.zeros(count + 1, np.int64)
        first[of[::-1]] = where[::-1]  # the last assignment wins: the first pixel
        counts = np.bincount(of, minlength=count + 1)
        weights = None if logits is None else _sigmoid(logits.ravel()[where])
        totals = np.bincount(of, weights=weights, minlength=count + 1)
        for index, piece in enumerate(pieces, 1):
            row, col = divmod(int(first[index]), labels.shape[1])
            piece.first = (self._row + row, self._col + col)
            piece.total, piece.count = float(totals[index]), int(counts[index])
        below = Affine.translation(self._col, self._row)
        for outline, label in shapes(labels, mask=mask, connectivity=4, transform=below):
            rings = outline["coordinates"]
            pieces[int(label) - 1].parts.append(Polygon(rings[0], rings[1:]))
        return pieces

    def _join(self, top: _Labels, known: int, owners: NDArray[np.int32]) -> tuple[int, NDArray[np.int32]]:
        """Group open regions and new pieces, with the instance of each: number of groups, and the group of each."""
        width = len(top)
        pairs = []
        for shift in self._reach:
            above = self._last[max(0, shift) : width + min(0, shift)]
            below = top[max(0, -shift) : width + min(0, -shift)]
            both = (above > 0) & (below > 0)
            pairs.append(np.stack([above[both] - 1, known + below[both] - 1]))
        one, other = np.unique(np.concatenate(pairs, axis=1), axis=1)
        same = owners[one] == owners[other]
        one, other = one[same], other[same]
        total = len(owners)
        graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(total, total))
        groups, of = connected_components(graph, directed=False) if total else (0, np.zeros(0, np.int32))
        return int(groups), of


def to_detection(region: Region, grid: GeoBox, target: str) -> Detection:
    """Georeference a region of the grid; its mean probability becomes the score."""
    geometry = georeference(region.outline, grid)
    return Detection(target, geometry, region.mean, compute_area_m2(geometry))


def trace(
    mask: NDArray[np.bool_],
    logits: NDArray[np.float32],
    grid: GeoBox,
    *,
    target: str,
    min_area_m2: float = 0.0,
    connectivity: int = 4,
) -> list[Detection]:
    """Make one detection for each connected region of a mask, in row-major order of its first pixel.

    Outlines follow pixel edges exactly; holes are kept; the score is the mean sigmoid of ``logits`` over the
    region.

    Parameters
    ----------
    mask, logits
        (height, width) pixels of the grid.
    connectivity
        As in :class:`Tracer`.
    """
    tracer = Tracer(grid.width, connectivity)
    regions = sorted([*tracer.add(mask, logits), *tracer.end()], key=lambda one: one.first)
    found = (to_detection(region, grid, target) for region in regions)
    return [one for one in found if one.area_m2 >= min_area_m2]


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def georeference(outline: BaseGeometry, grid: GeoBox) -> BaseGeometry:
    """Convert polygons in (column, row) of the grid to one clean EPSG:4326 geometry."""
    a, b, c, d, e, f, *_ = grid.transform
    cut = outline.segmentize(_MAX_EDGE_PX)

    def place(at: NDArray[np.float64]) -> NDArray[np.float64]:
        col, row = at[:, 0], at[:, 1]
        return np.column_stack([a * col + b * row + c, d * col + e * row + f])

    return clean(split_at_antimeridian(to_lonlat(shapely.transform(cut, place), get_crs(grid))))


def clean(geometry: BaseGeometry) -> BaseGeometry:
    """Make a geometry valid and polygonal, exterior rings counter-clockwise (RFC 7946); drop parts without area."""
    if not geometry.is_valid:
        geometry = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    polygons = [orient(part) for part in extract_polygons(geometry) if part.area > 0]
    if not polygons:
        return Polygon()
    return polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)
