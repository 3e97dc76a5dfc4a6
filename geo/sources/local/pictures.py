"""Small pictures of files, as a profile renders them, north up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.warp import reproject

from segwatch.geo.crs import choose_utm, get_transformer
from segwatch.geo.encoding import encode_png
from segwatch.geo.sources.local.inspection import FileFacts
from segwatch.geo.sources.local.registry import write_atomically
from segwatch.geo.sources.local.stretch import Stretch

_SIDE_PX = 240
_GAP_PX = 6
_MAX_COLUMNS = 4
MAX_PICTURES = 16
"""Files that a sheet shows."""
_BACKGROUND = 255


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A file's sample, north up."""

    rgb: NDArray[np.float32]
    """(3, h, w) stored values; NaN where not valid."""
    white_is_zero: bool


def make_thumbnail(facts: FileFacts, nodata: float | None) -> Thumbnail:
    """Warp the sample of a file to UTM, at most 240 pixels a side."""
    sample = facts.sample
    rgb = sample.rgb.copy()
    if nodata is not None:
        rgb[:, (rgb == nodata).all(axis=0)] = np.nan
    left, top, *_ = sample.window
    transform = facts.transform @ Affine.translation(left, top) @ Affine.scale(sample.step)
    utm = choose_utm(facts.footprint)
    height, width = rgb.shape[1:]
    cols, rows = np.array([0.0, width, width, 0.0]), np.array([0.0, 0.0, height, height])
    xs, ys = get_transformer(facts.crs, utm).transform(
        transform.a * cols + transform.b * rows + transform.c,
        transform.d * cols + transform.e * rows + transform.f,
    )
    size = max(max(xs) - min(xs), max(ys) - min(ys)) / _SIDE_PX
    shape = max(1, math.ceil((max(ys) - min(ys)) / size)), max(1, math.ceil((max(xs) - min(xs)) / size))
    warped = np.full((3, *shape), np.nan, np.float32)
    reproject(
        rgb,
        warped,
        src_transform=transform,
        src_crs=rasterio.crs.CRS.from_wkt(facts.crs.to_wkt()),
        dst_transform=Affine(size, 0, min(xs), 0, -size, max(ys)),
        dst_crs=rasterio.crs.CRS.from_wkt(utm.to_wkt()),
        resampling=Resampling.average,
        src_nodata=np.nan,
        dst_nodata=np.nan,
    )
    return Thumbnail(warped, facts.white_is_zero)


def draw_thumbnail(thumbnail: Thumbnail, stretch: Stretch, gamma: float) -> NDArray[np.uint8]:
    """Render a thumbnail: (h, w, 3) uint8, white where not valid."""
    unit = np.clip(stretch.to_unit(thumbnail.rgb), 0, 1)
    if thumbnail.white_is_zero:
        unit = 1 - unit
    unit = unit ** (1 / gamma)
    unit[:, ~np.isfinite(thumbnail.rgb).all(axis=0)] = 1
    return np.ascontiguousarray(np.moveaxis(np.rint(unit * 255).astype(np.uint8), 0, -1))


def write_sheet(pictures: Sequence[NDArray[np.uint8]], path: Path) -> None:
    """Write pictures (h, w, 3) side by side as PNG, row by row in their order."""
    cell = _SIDE_PX + _GAP_PX
    columns = min(len(pictures), _MAX_COLUMNS)
    lines = -(-len(pictures) // columns)
    sheet = np.full((lines * cell + _GAP_PX, columns * cell + _GAP_PX, 3), _BACKGROUND, np.uint8)
    for place, picture in enumerate(pictures):
        row, col = (_GAP_PX + cell * at for at in divmod(place, columns))
        height, width = picture.shape[:2]
        sheet[row : row + height, col : col + width] = picture
    write_atomically(path, encode_png(sheet))
