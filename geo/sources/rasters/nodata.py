"""Find the valid pixels of a file, and average only these when reading decimated.

A pixel is invalid where all its bands hold a nodata value (the profile's or the file's own; both count), where the
file's mask or alpha band says so, and where a band is NaN. GDAL's averages honour only one of these marks, and only if
the file declares it; where several apply, averages are computed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.io import DatasetReader
from rasterio.windows import Window

Mask = NDArray[np.bool_]

#: Most source pixels averaged along one side of an output cell; only zoomed-out maps have coarser cells.
_MAX_PIXELS_A_SIDE = 8
#: Values held in memory at once while averages are computed.
_CHUNK_VALUES = 8_000_000


@dataclass(frozen=True, slots=True)
class NoData:
    """The marks for invalid pixels in some bands of a file."""

    values: tuple[tuple[float, ...], ...]
    """Nodata values for each of the bands."""
    masked: bool
    """Whether the file has a mask."""
    alpha: int | None
    """1-based index of the alpha band, unless it is one of the bands."""
    by_gdal: bool
    """Whether GDAL's averages exclude all of these marks."""


def find_nodata(dataset: DatasetReader, indices: Sequence[int], declared: float | None) -> NoData:
    """Find the marks for invalid pixels in these 1-based bands; ``declared`` is the profile's nodata value."""
    own = [_to_values(dataset.nodatavals[index - 1]) for index in indices]
    values = tuple(tuple(dict.fromkeys((*mine, *_to_values(declared)))) for mine in own)
    flags = dataset.mask_flag_enums[indices[0] - 1]
    masked = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
    alphas = [place for place, kind in enumerate(dataset.colorinterp, 1) if kind is ColorInterp.alpha]
    alpha = next((place for place in alphas if place not in indices), None)
    if MaskFlags.nodata in flags:
        by_gdal = alpha is None and all(len(one) == len(mine) for one, mine in zip(values, own, strict=True))
    else:
        by_gdal = not any(values)
    return NoData(values, masked, alpha, by_gdal)


def _to_values(value: float | None) -> tuple[float, ...]:
    """Values to compare pixels with: none for NaN, which is invalid anyway."""
    return () if value is None or math.isnan(value) else (value,)


def read_bands(
    dataset: DatasetReader,
    indices: Sequence[int],
    declared: float | None,
    window: Window,
    shape: tuple[int, int],
) -> tuple[NDArray[np.float32], Mask]:
    """Read a window of a file, averaged over valid pixels.

    Parameters
    ----------
    indices
        1-based bands.
    declared
        The profile's nodata value.
    window
        In the file's pixels; a whole number of them for each cell of the result.
    shape
        (height, width) of the result.

    Returns
    -------
    values, valid
        (bands, height, width) float32, NaN where invalid; and (height, width) bool.
    """
    nodata = find_nodata(dataset, indices, declared)
    step = round(window.width / shape[1])
    if step > 1 and not nodata.by_gdal:
        return _average(dataset, indices, nodata, window, shape, step)
    given = {"window": window, "out_shape": (len(indices), *shape)}
    values = dataset.read(list(indices), resampling=Resampling.average, **given).astype(np.float32)
    valid = _find_valid(dataset, values, nodata, window, shape)
    np.copyto(values, np.nan, where=~valid)
    return values, valid


def _find_valid(
    dataset: DatasetReader,
    values: NDArray[np.float32],
    nodata: NoData,
    window: Window,
    shape: tuple[int, int],
) -> Mask:
    """(height, width) valid pixels. A nodata value in a single band may be a real dark (or bright) pixel."""
    valid: Mask = np.asarray(np.isfinite(values).all(axis=0))
    if all(nodata.values):
        empty = np.ones(shape, bool)
        for band, marks in zip(values, nodata.values, strict=True):
            empty &= np.isin(band, np.array(marks, np.float32))
        valid &= ~empty
    if nodata.masked:
        valid &= dataset.read_masks(1, window=window, out_shape=shape) != 0
    if nodata.alpha is not None:
        valid &= dataset.read(nodata.alpha, window=window, out_shape=shape) != 0
    return valid


def _average(
    dataset: DatasetReader,
    indices: Sequence[int],
    nodata: NoData,
    window: Window,
    shape: tuple[int, int],
    step: int,
) -> tuple[NDArray[np.float32], Mask]:
    height, width = shape
    side = min(step, _MAX_PIXELS_A_SIDE)
    result = np.full((len(indices), height, width), np.nan, np.float32)
    for start, stop in _split_rows(height, side * side * width * len(indices)):
        rows = stop - start
        part = Window(window.col_off, window.row_off + start * step, window.width, rows * step)
        fine = (rows * side, width * side)
        # nearest neighbour: averages and overviews mix in nodata values that the file does not declare
        values = dataset.read(
            list(indices), window=part, out_shape=(len(indices), *fine), resampling=Resampling.nearest
        ).astype(np.float32)
        valid = _find_valid(dataset, values, nodata, part, fine)
        np.copyto(values, 0, where=~valid)
        cells = (len(indices), rows, side, width, side)
        sums = values.reshape(cells).sum(axis=(2, 4), dtype=np.float64)
        counts = valid.reshape(cells[1:]).sum(axis=(1, 3))
        np.divide(sums, counts, out=result[:, start:stop], where=counts > 0, casting="same_kind")
    return result, np.asarray(np.isfinite(result).all(axis=0))


def _split_rows(height: int, values_a_row: int) -> Iterator[tuple[int, int]]:
    rows = max(1, _CHUNK_VALUES // values_a_row)
    for start in range(0, height, rows):
        yield start, min(start + rows, height)


def find_mask_nodata(dataset: DatasetReader, index: int, known: Sequence[int]) -> tuple[float, ...]:
    """Find the nodata values of a cloud mask in its header.

    Many masks declare 0 as nodata although their clear pixels hold 0. So 0 counts only if the profile lists it in
    ``known``.
    """
    own = _to_values(dataset.nodatavals[index - 1])
    return tuple(value for value in own if value != 0 or value in known)


def read_classes(
    dataset: DatasetReader, index: int, nodata: Sequence[float], window: Window, shape: tuple[int, int]
) -> tuple[NDArray[np.int32], Mask]:
    """Read (h, w) int32 class values by nearest neighbour, and (h, w) where the mask is valid."""
    found = dataset.read(index, window=window, out_shape=shape, resampling=Resampling.nearest)
    valid: Mask = np.ones(shape, bool)
    if np.issubdtype(found.dtype, np.floating):
        valid &= np.isfinite(found)
        found = np.rint(np.where(valid, found, 0))
    valid &= ~np.isin(found, np.array(nodata, np.float64))
    flags = dataset.mask_flag_enums[index - 1]
    if MaskFlags.per_dataset in flags:
        valid &= dataset.read_masks(index, window=window, out_shape=shape) != 0
    return found.astype(np.int32), valid
