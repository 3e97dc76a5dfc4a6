"""Which pixels of a file show ground, and means of these alone.

A pixel shows none where all its bands hold a value for no data (the profile's or the file's own: both count), where
the file's mask or transparency says so, and where a band is not a number. GDAL leaves out of its means what one of
these marks, and only if the file declares it; where more are in force, means are computed here.
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

#: Of a cell's side at most so many pixels are read for its mean; a coarser grid is a map that is zoomed out.
_MAX_PIXELS_A_SIDE = 8
#: Values that are held at once while means are computed.
_CHUNK_VALUES = 8_000_000


@dataclass(frozen=True, slots=True)
class NoData:
    """What marks no data in some bands of a file."""

    values: tuple[tuple[float, ...], ...]
    """For each of the bands."""
    masked: bool
    """Whether the file has a mask of its own."""
    alpha: int | None
    """Band of transparency, 1-based, unless it is one of the bands."""
    by_gdal: bool
    """Whether GDAL's means leave out all of it by themselves."""


def nodata_of(dataset: DatasetReader, indices: Sequence[int], declared: float | None) -> NoData:
    """What marks no data in these bands; ``declared`` is the profile's value."""
    own = [_matching(dataset.nodatavals[index - 1]) for index in indices]
    values = tuple(tuple(dict.fromkeys((*mine, *_matching(declared)))) for mine in own)
    flags = dataset.mask_flag_enums[indices[0] - 1]
    masked = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
    alphas = [place for place, kind in enumerate(dataset.colorinterp, 1) if kind is ColorInterp.alpha]
    alpha = next((place for place in alphas if place not in indices), None)
    if MaskFlags.nodata in flags:
        by_gdal = alpha is None and all(len(one) == len(mine) for one, mine in zip(values, own, strict=True))
    else:
        by_gdal = not any(values)
    return NoData(values, masked, alpha, by_gdal)


def _matching(value: float | None) -> tuple[float, ...]:
    """A value that pixels can be compared with; what is not a number is no data anyway."""
    return () if value is None or math.isnan(value) else (value,)


def read_bands(
    dataset: DatasetReader,
    indices: Sequence[int],
    declared: float | None,
    window: Window,
    shape: tuple[int, int],
) -> tuple[NDArray[np.float32], Mask]:
    """A window of a file as means over ground, NaN elsewhere.

    Parameters
    ----------
    indices
        Bands, 1-based.
    declared
        The profile's value for no data.
    window
        In the file's pixels, a whole number of them for each cell of the result.
    shape
        (height, width) of the result.

    Returns
    -------
    values, shown
        (bands, height, width), and (height, width) True where they show ground.
    """
    nodata = nodata_of(dataset, indices, declared)
    step = round(window.width / shape[1])
    if step > 1 and not nodata.by_gdal:
        return _means(dataset, indices, nodata, window, shape, step)
    given = {"window": window, "out_shape": (len(indices), *shape)}
    values = dataset.read(list(indices), resampling=Resampling.average, **given).astype(np.float32)
    shown = _shown(dataset, values, nodata, window, shape)
    np.copyto(values, np.nan, where=~shown)
    return values, shown


def _shown(
    dataset: DatasetReader,
    values: NDArray[np.float32],
    nodata: NoData,
    window: Window,
    shape: tuple[int, int],
) -> Mask:
    """Where there is ground. One band alone may be that dark (or bright) in truth."""
    shown: Mask = np.asarray(np.isfinite(values).all(axis=0))
    if all(nodata.values):
        empty = np.ones(shape, bool)
        for band, marks in zip(values, nodata.values, strict=True):
            empty &= np.isin(band, np.array(marks, np.float32))
        shown &= ~empty
    if nodata.masked:
        shown &= dataset.read_masks(1, window=window, out_shape=shape) != 0
    if nodata.alpha is not None:
        shown &= dataset.read(nodata.alpha, window=window, out_shape=shape) != 0
    return shown


def _means(
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
    for start, stop in _chunks(height, side * side * width * len(indices)):
        rows = stop - start
        part = Window(window.col_off, window.row_off + start * step, window.width, rows * step)
        fine = (rows * side, width * side)
        # not by means: an overview of the file has mixed what it did not know to be no data
        values = dataset.read(
            list(indices), window=part, out_shape=(len(indices), *fine), resampling=Resampling.nearest
        ).astype(np.float32)
        shown = _shown(dataset, values, nodata, part, fine)
        np.copyto(values, 0, where=~shown)
        cells = (len(indices), rows, side, width, side)
        sums = values.reshape(cells).sum(axis=(2, 4), dtype=np.float64)
        counts = shown.reshape(cells[1:]).sum(axis=(1, 3))
        np.divide(sums, counts, out=result[:, start:stop], where=counts > 0, casting="same_kind")
    return result, np.asarray(np.isfinite(result).all(axis=0))


def _chunks(height: int, values_a_row: int) -> Iterator[tuple[int, int]]:
    rows = max(1, _CHUNK_VALUES // values_a_row)
    for start in range(0, height, rows):
        yield start, min(start + rows, height)


def mask_nodata(dataset: DatasetReader, index: int, known: Sequence[int]) -> tuple[float, ...]:
    """Values that mean no data in a mask of clouds, by the mask's own header.

    Many masks declare 0 without meaning it: 0 is what their clear pixels hold. There the profile's lists (``known``)
    decide.
    """
    own = _matching(dataset.nodatavals[index - 1])
    return tuple(value for value in own if value != 0 or value in known)


def read_classes(
    dataset: DatasetReader, index: int, marks: Sequence[float], window: Window, shape: tuple[int, int]
) -> tuple[NDArray[np.int32], Mask]:
    """(h, w) class values by nearest neighbour, and where the mask says anything."""
    found = dataset.read(index, window=window, out_shape=shape, resampling=Resampling.nearest)
    told: Mask = np.ones(shape, bool)
    if np.issubdtype(found.dtype, np.floating):
        told &= np.isfinite(found)
        found = np.rint(np.where(told, found, 0))
    told &= ~np.isin(found, np.array(marks, np.float64))
    flags = dataset.mask_flag_enums[index - 1]
    if MaskFlags.per_dataset in flags:
        told &= dataset.read_masks(index, window=window, out_shape=shape) != 0
    return found.astype(np.int32), told
