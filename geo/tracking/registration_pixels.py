"""Measure how far an observation is displaced against its series, on the pixels of its chips.

Each chip is compared with the reference of its cell. A masked phase correlation (scikit-image, after Padfield 2012,
https://doi.org/10.1109/TIP.2011.2181402) finds the displacement in whole pixels, a least-squares fit of the gradients
(Lucas and Kanade 1981) refines it below a pixel. Both work on locally normalised pixels, so that brightness, contrast,
gamma and haze have little influence. The chips of an observation vote: their median is the displacement, their spread
and correlations tell how certain it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import NDArray
from pyproj import CRS, Proj, Transformer

from segwatch.geo.types.belief import Shift
from segwatch.geo.types.chips import CELL_PX, Cell, Chip, ReferenceChip

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

MAX_SHIFT_PX = 4.5
"""Larger displacements are not believed, pixels."""
MAX_UNCERTAINTY_PX = 0.25
"""Largest standard error of a displacement that is corrected, pixels."""
UNKNOWN_PX = 1.0
"""Assumed uncertainty where the pixels do not tell, and the largest one, pixels."""
#: A displacement this small is not corrected: polygons that did not move stay as they are.
_NEGLIGIBLE_PX = 0.1
_MIN_CORRELATION = 0.25
#: Correlation that unrelated pixels reach by chance: this over the root of the number of pixels.
_CHANCE = 15.0
_MIN_PIXELS = 800
#: Scale of the local mean that is subtracted, pixels.
_SMOOTHING_PX = 6.0
#: Distance to the median within which a chip agrees with it, pixels.
_AGREEMENT_PX = 0.5
_MIN_AGREEMENT = 0.5
_MAX_ROUNDS = 8
_CONVERGED_PX = 0.01
#: Standard error of a displacement measured on one chip with a correlation of 1, and its growth down to one of 0.
_LEAST_ERROR_PX, _ERROR_PX = 0.03, 1.0
#: Standard deviations within the median absolute deviation, and the standard error of a median, both of the normal law.
_MAD_TO_SIGMA, _MEDIAN_ERROR = 1.4826, 1.2533


@dataclass(frozen=True, slots=True)
class PixelShift:
    """Result of comparing the chips of an observation with the references of its series."""

    shift: Shift | None
    """What to add to the observation's geometries; None where it is uncertain or there was nothing to compare."""
    uncertainty_m: float
    """Standard error of the displacement, metres; 0 where there was nothing to compare."""
    compared: int
    """Chips with a reference."""


@dataclass(frozen=True, slots=True)
class _Vote:
    east_px: float
    north_px: float
    error_px: float


def measure_shift(chips: Sequence[Chip], references: Mapping[Cell, ReferenceChip]) -> PixelShift:
    """Measure the shift that moves an observation onto its series.

    Parameters
    ----------
    chips
        Those of the observation.
    references
        For each cell the chip of the series' first observation of it, with the shift of that observation.

    Returns
    -------
    PixelShift
        East and north in the horizontal directions of the place, in metres. Displacements below a tenth of a pixel, or
        below twice their standard error, count as none.
    """
    pairs = [(chip, references[chip.cell]) for chip in chips if chip.cell in references]
    if not pairs:
        return PixelShift(None, 0.0, 0)
    pixel_m = pairs[0][0].cell.pixel_m
    votes = [vote for chip, reference in pairs if (vote := _compare(chip, reference)) is not None]
    if not votes:
        return PixelShift(None, UNKNOWN_PX * pixel_m, len(pairs))
    east, north, error, quality = _decide(votes)
    if error > MAX_UNCERTAINTY_PX or quality < _MIN_AGREEMENT:
        return PixelShift(None, min(max(error, MAX_UNCERTAINTY_PX), UNKNOWN_PX) * pixel_m, len(pairs))
    if math.hypot(east, north) < max(_NEGLIGIBLE_PX, 2 * error):
        east = north = 0.0
    shift = Shift(east * pixel_m, north * pixel_m, quality, "pixels")
    return PixelShift(shift, error * pixel_m, len(pairs))


def add_references(
    references: Mapping[Cell, ReferenceChip], chips: Sequence[Chip], shift: Shift
) -> dict[Cell, ReferenceChip]:
    """Make the chips of an observation, moved by ``shift``, the references of the cells that have none yet."""
    return {chip.cell: ReferenceChip(chip, shift) for chip in chips} | dict(references)


def _decide(votes: Sequence[_Vote]) -> tuple[float, float, float, float]:
    """Displacement east and north, its standard error (pixels), and the share of votes that agree with it (0..1)."""
    errors = np.array([vote.error_px for vote in votes])
    weights = errors**-2.0
    offsets = np.array([(vote.east_px, vote.north_px) for vote in votes])
    middle = np.array([_weighted_median(axis, weights) for axis in offsets.T])
    distances = np.hypot(*(offsets - middle).T)
    # per axis
    spread = _MAD_TO_SIGMA * _weighted_median(distances, weights) / math.sqrt(2)
    expected = 1 / math.sqrt(weights.sum())
    error = max(_MEDIAN_ERROR * spread / math.sqrt(len(votes)), expected)
    quality = float(weights[distances <= _AGREEMENT_PX].sum() / weights.sum())
    return float(middle[0]), float(middle[1]), error, quality


def _weighted_median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) - weights[order] / 2
    return float(np.interp(weights.sum() / 2, reached, values[order]))


@lru_cache(maxsize=256)
def _compare(chip: Chip, reference: ReferenceChip) -> _Vote | None:
    """None where the pixels show no common pattern; scenes that are folded again compare the same chips again."""
    moving, clear = _prepare(chip)
    fixed, reference_clear = _prepare(reference.chip)
    found = _align(fixed, reference_clear, moving, clear)
    if found is None:
        return None
    down, right, correlation = found
    east, north = _rotate_to_north(right, -down, chip.cell)
    return _Vote(
        east + reference.shift.east_m / chip.cell.pixel_m,
        north + reference.shift.north_m / chip.cell.pixel_m,
        _LEAST_ERROR_PX + _ERROR_PX * (1 - correlation),
    )


@lru_cache(maxsize=64)
def _prepare(chip: Chip) -> tuple[Floats, Mask]:
    """Return the normalised pixels of a chip and the mask of the clear ones; references are asked scene by scene."""
    grey, clear = chip.decode()
    return _normalise(grey, clear), clear


def _normalise(grey: NDArray[np.uint8], clear: Mask) -> Floats:
    """Subtract the local mean of the clear pixels and divide by their local spread; 0 elsewhere."""
    weight = scipy.ndimage.gaussian_filter(clear.astype(float), _SMOOTHING_PX)
    mean = scipy.ndimage.gaussian_filter(np.where(clear, grey, 0.0), _SMOOTHING_PX) / np.maximum(weight, 1e-6)
    detail = np.where(clear, grey - mean, 0.0)
    wider = scipy.ndimage.gaussian_filter(clear.astype(float), 2 * _SMOOTHING_PX)
    power = scipy.ndimage.gaussian_filter(detail**2, 2 * _SMOOTHING_PX) / np.maximum(wider, 1e-6)
    # noise on water and other flat ground is not amplified
    least = max(1.0, 0.5 * math.sqrt(float((detail**2).sum()) / max(1, int(clear.sum()))))
    return np.asarray(detail / np.maximum(np.sqrt(power), least))


def _align(
    fixed: Floats, fixed_mask: Mask, moving: Floats, moving_mask: Mask
) -> tuple[float, float, float] | None:
    """Displacement (down, right) in pixels that moves ``moving`` onto ``fixed``, and their correlation then."""
    shift = _find_whole_pixels(fixed, fixed_mask, moving, moving_mask)
    for _ in range(_MAX_ROUNDS):
        moved = scipy.ndimage.shift(moving, shift, order=3, mode="constant")
        moved_mask = (
            scipy.ndimage.shift(moving_mask.astype(np.float32), shift, order=1, mode="constant") > 0.999
        )
        common = scipy.ndimage.binary_erosion(fixed_mask & moved_mask, iterations=2)
        if np.count_nonzero(common) < _MIN_PIXELS:
            return None
        step = _fit_step(fixed, moved, common)
        if not np.isfinite(step).all():
            return None
        shift = shift + step
        if np.abs(shift).max() > MAX_SHIFT_PX:
            return None
        if np.abs(step).max() < _CONVERGED_PX:
            break
    correlation = _correlate(fixed[common], moved[common])
    least = max(_MIN_CORRELATION, _CHANCE / math.sqrt(np.count_nonzero(common)))
    return (float(shift[0]), float(shift[1]), correlation) if correlation >= least else None


def _find_whole_pixels(fixed: Floats, fixed_mask: Mask, moving: Floats, moving_mask: Mask) -> Floats:
    if not (fixed[fixed_mask].any() and moving[moving_mask].any()):
        return np.zeros(2)
    # most runs have no chip to register
    from skimage.registration import phase_cross_correlation

    shift, _, _ = phase_cross_correlation(  # type: ignore[no-untyped-call]
        fixed, moving, reference_mask=fixed_mask, moving_mask=moving_mask, overlap_ratio=0.5
    )
    whole = np.asarray(shift, float)
    # a repeating pattern may fit better far away: then the fit starts without a displacement
    return whole if np.abs(whole).max() <= MAX_SHIFT_PX else np.zeros(2)


def _fit_step(fixed: Floats, moved: Floats, common: Mask) -> Floats:
    """Least-squares displacement (down, right), with the gain and offset of ``moved`` fitted as well."""
    down, right = (np.asarray(np.gradient(moved, axis=axis)) for axis in (0, 1))
    columns = np.stack([down[common], right[common], moved[common], np.ones(np.count_nonzero(common))])
    try:
        fit = np.linalg.solve(columns @ columns.T, columns @ fixed[common])
    except np.linalg.LinAlgError:
        return np.full(2, np.nan)
    return -fit[:2]


def _correlate(one: Floats, other: Floats) -> float:
    one, other = one - one.mean(), other - other.mean()
    power = float((one**2).sum() * (other**2).sum())
    return float((one * other).sum()) / math.sqrt(power) if power > 0 else 0.0


def _rotate_to_north(right: float, up: float, cell: Cell) -> tuple[float, float]:
    """Turn a displacement along the axes of a cell's grid to east and north at its centre."""
    convergence = _compute_convergence(cell)
    cos, sin = math.cos(convergence), math.sin(convergence)
    return right * cos + up * sin, up * cos - right * sin


@lru_cache(maxsize=1024)
def _compute_convergence(cell: Cell) -> float:
    """Compute the angle between north and the axes of a grid at the centre of a cell, radians; takes 25 ms."""
    crs = CRS.from_user_input(cell.crs)
    side = CELL_PX * cell.pixel_m
    centre = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True).transform(
        (cell.col + 0.5) * side, -(cell.row + 0.5) * side
    )
    return math.radians(Proj(crs).get_factors(*centre).meridian_convergence)
