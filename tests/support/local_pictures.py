"""Small GeoTIFFs of one piece of ground, in every form in which people have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint

from tests.support.made_scenes import WATER

LAND = (70, 110, 50)
CRS = "EPSG:32633"
GSD_M = 10.0
Rgb = NDArray[np.uint8]


def north_up(height: int, left: float = 500_000.0, bottom: float = 5_100_000.0) -> Affine:
    """The transform of a picture of this height whose lower left corner is there."""
    return Affine(GSD_M, 0, left, 0, -GSD_M, bottom + GSD_M * height)


def paint(shape: tuple[int, int], *lakes: tuple[int, int, int]) -> Rgb:
    """(3, h, w): land with round lakes of (row, column, radius) in pixels."""
    rows, cols = np.mgrid[: shape[0], : shape[1]] + 0.5
    rgb = np.empty((3, *shape), np.uint8)
    rgb[:] = np.array(LAND, np.uint8)[:, None, None]
    for row, col, radius in lakes:
        rgb[:, np.hypot(rows - row, cols - col) < radius] = np.array(WATER, np.uint8)[:, None]
    return rgb


def write(path: Path, bands: NDArray[Any], transform: Affine, crs: str = CRS, **more: Any) -> Path:
    """Write (b, h, w) as GeoTIFF."""
    count, height, width = bands.shape
    made = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": bands.dtype}
    with (
        rasterio.Env(GDAL_PAM_ENABLED="NO"),
        rasterio.open(path, "w", **made, transform=transform, crs=crs, **more) as file,
    ):
        file.write(bands)
    return path


def write_plain(path: Path, rgb: Rgb) -> Path:
    """8-bit RGB, north up."""
    return write(path, rgb, north_up(rgb.shape[1]), photometric="rgb")


def write_south_up(path: Path, rgb: Rgb) -> Path:
    """Rows from south to north."""
    flip = Affine.translation(0, rgb.shape[1]) @ Affine.scale(1, -1)
    return write(path, rgb[:, ::-1], north_up(rgb.shape[1]) @ flip)


def write_turned(path: Path, rgb: Rgb) -> Path:
    """Rows from west to east become columns: turned by 90 degrees, so that no pixel is resampled."""
    turned = np.ascontiguousarray(np.rot90(rgb, axes=(1, 2)))
    base = north_up(rgb.shape[1])
    # column c of the turned picture is row c of the plain one; row r is column width - r
    turn = Affine(0, -1, rgb.shape[2], 1, 0, 0)
    return write(path, turned, base @ turn)


def write_control_points(path: Path, rgb: Rgb) -> Path:
    """Georeferenced by its corners alone."""
    _, height, width = rgb.shape
    base = north_up(height)
    corners = ((0, 0), (width, 0), (width, height), (0, height))
    points = [
        GroundControlPoint(row=row, col=col, x=base.c + GSD_M * col, y=base.f - GSD_M * row)
        for col, row in corners
    ]
    made = {"driver": "GTiff", "count": 3, "height": height, "width": width, "dtype": "uint8"}
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.open(path, "w", **made) as file:
        file.write(rgb)
        file.gcps = points, rasterio.crs.CRS.from_string(CRS)
    return path


def write_palette(path: Path, rgb: Rgb) -> Path:
    """One band of indices into a colour table."""
    colours, indices = np.unique(rgb.reshape(3, -1), axis=1, return_inverse=True)
    made = {"driver": "GTiff", "count": 1, "height": rgb.shape[1], "width": rgb.shape[2], "dtype": "uint8"}
    with rasterio.open(
        path, "w", **made, transform=north_up(rgb.shape[1]), crs=CRS, photometric="palette"
    ) as file:
        file.write(indices.reshape(rgb.shape[1:]).astype(np.uint8), 1)
        file.write_colormap(1, {place: (*map(int, colour), 255) for place, colour in enumerate(colours.T)})
    return path


def write_alpha(path: Path, rgb: Rgb, hidden: int) -> Path:
    """With an alpha band that hides so many columns in the west."""
    alpha = np.full((1, *rgb.shape[1:]), 255, np.uint8)
    alpha[:, :, :hidden] = 0
    return write(path, np.concatenate([rgb, alpha]), north_up(rgb.shape[1]), photometric="rgb", alpha="yes")


def write_16_bit(path: Path, rgb: Rgb) -> Path:
    """Blue, green, red and infrared of 16 bits, named as Planet does."""
    values = rgb[::-1].astype(np.uint16) * 20 + 300
    return write(path, np.concatenate([values, values[:1] * 2]), north_up(rgb.shape[1]))
