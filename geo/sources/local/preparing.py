"""Convert a file that a profile cannot read to one that it can.

Converted are files of a palette, of ground control points, with 0 for white, and those whose bands or values differ
from the source's: to the source's range of values, on a grid with an affine transform. Work and memory go block by
block; the result appears when it is complete.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.windows import Window

from segwatch.geo.errors import UnusableFile
from segwatch.geo.sources.local.inspection import FileFacts, read_colours
from segwatch.geo.sources.local.stretch import Stretch
from segwatch.geo.sources.rasters.structure import Structure

#: Larger files take long and much room; people convert them once with GDAL.
_MAX_PX = 1_000_000_000
#: Bytes of the original that converting may decode.
_MAX_DECODED_BYTES = 32 * 1024**3
_BLOCK = 512
_OVERVIEW_PX = 512
_ENVIRONMENT: dict[str, Any] = {"GDAL_TIFF_INTERNAL_MASK": True, "GDAL_PAM_ENABLED": "NO"}


@dataclass(frozen=True, slots=True)
class Conversion:
    """How a file is converted."""

    own: Stretch
    """Range of the file's values."""
    wanted: Stretch
    """Range of the source's values."""
    nodata: float | None
    """Value of pixels that are no data, besides those that the file marks."""


def prepare(
    dataset: DatasetReader,
    structure: Structure,
    facts: FileFacts,
    conversion: Conversion,
    path: Path,
    bands: tuple[int, int, int] = (1, 2, 3),
) -> None:
    """Write a file with red, green and blue, tiles, overviews and a mask.

    Parameters
    ----------
    bands
        Numbers of the bands that become red, green and blue; others below the last of them are empty.

    Raises
    ------
    UnusableFile
        Converting would cost too much, or there is no room for the result.
    """
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(**_ENVIRONMENT))
        _check_cost(dataset, structure, path.parent)
        draft = path.with_name(f".{path.name}.draft")
        stack.callback(draft.unlink, missing_ok=True)
        plain = conversion.wanted.is_plain
        made: dict[str, Any] = {
            "driver": "GTiff", "width": facts.width, "height": facts.height, "count": max(bands),
            "crs": rasterio.crs.CRS.from_wkt(facts.crs.to_wkt()), "transform": facts.transform,
            "dtype": "uint8" if plain else "float32", "tiled": True,
            "blockxsize": _BLOCK, "blockysize": _BLOCK, "compress": "deflate", "bigtiff": "if_safer",
            "predictor": 2 if plain else 3,
            "interleave": "band", "sparse_ok": True,
        }  # fmt: skip
        with rasterio.open(draft, "w", **made) as target:
            for window in _list_windows(dataset):
                rgb = _read(dataset, facts, window, conversion)
                _write(target, rgb, window, bands, plain=plain)
        with rasterio.open(draft, "r+") as target:
            target.build_overviews(_list_overviews(dataset), Resampling.average)
        draft.chmod(0o644)
        os.replace(draft, path)


def _check_cost(source: DatasetReader, structure: Structure, folder: Path) -> None:
    pixels = source.width * source.height
    full = structure.images[0]
    decoded = structure.decoded_bytes((0, 0, full.width, full.height), 1, 3, masked=True)
    if pixels > _MAX_PX or decoded > _MAX_DECODED_BYTES:
        raise UnusableFile(
            f"it would have to be converted, and {pixels / 1e6:.0f} million pixels are too many for that; convert it "
            "once yourself to RGB with a CRS and a transform (gdal_translate -expand rgb, gdalwarp), as a COG"
        )
    room = shutil.disk_usage(folder).free
    if room < 2 * 12 * pixels:
        raise UnusableFile(
            f"it would have to be converted, and the disk of {folder} has too little room for it"
        )


def _list_windows(source: DatasetReader) -> Iterator[Window]:
    for row in range(0, source.height, _BLOCK):
        for col in range(0, source.width, _BLOCK):
            width, height = min(_BLOCK, source.width - col), min(_BLOCK, source.height - row)
            yield Window(col, row, width, height)


def _list_overviews(source: DatasetReader) -> list[int]:
    factors, factor = [], 2
    while max(source.width, source.height) // factor >= _OVERVIEW_PX // 2:
        factors.append(factor)
        factor *= 2
    return factors


def _read(
    source: DatasetReader, facts: FileFacts, window: Window, conversion: Conversion
) -> NDArray[np.float32]:
    """(3, h, w) red, green and blue in the wanted range; NaN where not valid."""
    valid = (
        np.ones((window.height, window.width), bool)
        if facts.false_alpha
        else source.dataset_mask(window=window) != 0
    )
    if facts.palette:
        rgb = np.ascontiguousarray(np.moveaxis(read_colours(source)[source.read(1, window=window)], -1, 0))
    else:
        rgb = source.read(list(facts.bands.rgb), window=window).astype(np.float32)
    marks = (conversion.nodata, facts.nodata if facts.false_alpha else None)
    for mark in marks:
        if mark is not None:
            valid &= ~(rgb == mark).all(axis=0)
    unit = conversion.own.to_unit(rgb)
    if facts.white_is_zero:
        unit = 1 - unit
    rgb = conversion.wanted.from_unit(np.clip(unit, 0, 1))
    rgb[:, ~valid] = np.nan
    return np.asarray(rgb, np.float32)


def _write(
    target: DatasetWriter,
    rgb: NDArray[np.float32],
    window: Window,
    bands: tuple[int, int, int],
    *,
    plain: bool,
) -> None:
    valid = np.isfinite(rgb).all(axis=0)
    values = np.nan_to_num(rgb, nan=0.0)
    if plain:
        values = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    for number in dict.fromkeys(bands):
        target.write(values[bands.index(number)], number, window=window)
    target.write_mask(np.where(valid, 255, 0).astype(np.uint8), window=window)
