"""Scene -> pixels on a grid. Reads only the window the grid needs, by HTTP ranges.

Depends on rasterio for warping; see :mod:`segwatch.geo.sources.rasters.files` for how it may open what.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.warp import reproject

from segwatch.geo.clouds import clear_mask
from segwatch.geo.errors import UnfitPixels
from segwatch.geo.grid import PixelGrid
from segwatch.geo.items import cloud_cover, offset_unknown
from segwatch.geo.sentinel2 import offset_taken_out
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.http.connections import open_connections
from segwatch.geo.sources.http.credentials import NO_CREDENTIALS, Credentials
from segwatch.geo.sources.rasters.files import ENVIRONMENT, Cut, OpenFile, Source, cut_of
from segwatch.geo.sources.rasters.header_check import LEAST_POWER, Header
from segwatch.geo.sources.rasters.nodata import mask_nodata, read_bands, read_classes
from segwatch.geo.types.scene import Item, Scene, baseline_number
from segwatch.geo.types.source import CloudMask, Profile

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SceneWindow:
    """A scene on a grid."""

    bands: NDArray[np.float32]
    """(3, H, W): red, green, blue with scale and offset applied; 0 where not valid."""
    valid: Mask
    """(H, W): imaged."""
    clear: Mask
    """(H, W): imaged and free of cloud and shadow. Equal to ``valid`` when the profile has no mask."""
    bytes_read: int
    """Bytes that came over the network since the scene was opened."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One item on the grid; not valid pixels are NaN."""

    bands: NDArray[np.float32]
    valid: Mask
    clear: Mask


def read(
    scene: Scene,
    profile: Profile,
    grid: PixelGrid,
    *,
    allowed_hosts: Sequence[str],
    credentials: Credentials = NO_CREDENTIALS,
    seconds: float = math.inf,
) -> SceneWindow:
    """The whole grid at once; see :func:`opened`."""
    with opened(
        scene, profile, grid, allowed_hosts=allowed_hosts, credentials=credentials, seconds=seconds
    ) as reader:
        return reader.read(grid)


@contextmanager
def opened(
    scene: Scene,
    profile: Profile,
    grid: PixelGrid,
    *,
    allowed_hosts: Sequence[str],
    credentials: Credentials = NO_CREDENTIALS,
    seconds: float = math.inf,
) -> Iterator[SceneReader]:
    """The scene's files, opened when a window first needs them and closed after the block.

    Parameters
    ----------
    grid
        The whole that windows will be taken from.
    allowed_hosts
        As in :func:`segwatch.geo.sources.http.hrefs.check`.
    credentials
        What ``profile.access`` needs.
    seconds
        After which the network is given up, for readers on whom somebody waits.

    Raises
    ------
    ReadFailed
        An asset cannot be read; a window is given whole or not at all, so that no gap passes for a scene.
    UnfitPixels
        An item lacks an asset, or a file is not what the profile says.
    UnsafeHref
        An asset's href must not be opened.
    """
    for item in scene.items:
        for name in profile.assets():
            if name not in item.assets:
                raise UnfitPixels(name, item.href, f"item {item.id} has no such asset")
            hrefs.check(item.assets[name], allowed_hosts)
    with (
        open_connections(profile, credentials, seconds) as shared,
        rasterio.Env(**ENVIRONMENT),
        ExitStack() as files,
    ):
        yield SceneReader(scene, profile, Source(shared, allowed_hosts, files, grid, profile))


class SceneReader:
    """Windows of an open scene, for one thread."""

    def __init__(self, scene: Scene, profile: Profile, source: Source) -> None:
        self._items = sorted(scene.items, key=_least_cloud_then_newest)
        self._profile = profile
        self._source = source

    def read(self, grid: PixelGrid) -> SceneWindow:
        """Mosaic the scene's items on a window of the whole grid.

        Items with less cloud come first, then newer ones; the first clear pixel wins, then the first valid one.
        Bands are resampled bilinearly, masks by nearest neighbour.
        """
        bands = np.zeros((3, grid.height, grid.width), np.float32)
        valid = np.zeros((grid.height, grid.width), bool)
        clear = valid.copy()
        for item in self._items:
            part = self._read_item(item, grid)
            if part is None:
                continue
            better = part.valid & (~valid | (part.clear & ~clear))
            np.copyto(bands, part.bands, where=better)
            valid |= better
            clear |= better & part.clear
            if clear.all():
                break
        return SceneWindow(bands, valid, clear, self._source.bytes_read)

    def headers(self) -> list[Header]:
        """What the files of the first item in order of preference say of themselves, by asset."""
        item, found = self._items[0], []
        for asset in self._profile.assets():
            with self._source.use(asset, item.assets[asset]) as file:
                found.append(file.header)
        return found

    def mask_values(self, grid: PixelGrid) -> list[int]:
        """Values that the cloud mask of the same item has on a window; empty without a mask."""
        clouds, item = self._profile.clouds, self._items[0]
        if clouds is None:
            return []
        with self._source.use(clouds.band.asset, item.assets[clouds.band.asset]) as file:
            values, covered = _warp_classes(file, clouds, grid, cut_of(file, grid))
        return [int(value) for value in np.unique(values[covered])]

    def _read_item(self, item: Item, grid: PixelGrid) -> _Part | None:
        """None when the item does not reach the window."""
        profile = self._profile
        wanted = profile.bands()
        bands = np.full((len(wanted), grid.height, grid.width), np.nan, np.float32)
        for asset in dict.fromkeys(band.asset for band in wanted):
            places = [place for place, band in enumerate(wanted) if band.asset == asset]
            with self._source.use(asset, item.assets[asset]) as file:
                cut = cut_of(file, grid)
                if cut is None:
                    return None
                indices = [wanted[place].index for place in places]
                bands[places] = _warp_bands(file, indices, profile.nodata, grid, cut)
        # a pixel that one file lacks is not imaged; within one file see nodata
        valid: Mask = np.asarray(np.isfinite(bands).all(axis=0))
        bands *= profile.scale
        bands += offset(item, profile)
        bands = _shown_values(bands, profile)
        if profile.clouds is None or not valid.any():
            return _Part(bands, valid, valid.copy())
        return _Part(bands, valid, valid & self._read_clear(item, profile.clouds, grid))

    def _read_clear(self, item: Item, clouds: CloudMask, grid: PixelGrid) -> Mask:
        asset = clouds.band.asset
        with self._source.use(asset, item.assets[asset]) as file:
            values, covered = _warp_classes(file, clouds, grid, cut_of(file, grid))
        return clear_mask(values, clouds) & covered


def _least_cloud_then_newest(item: Item) -> tuple[float, float, str]:
    cover = cloud_cover(item)
    return 101.0 if cover is None else cover, -item.acquired_at.timestamp(), item.id


def _shown_values(bands: NDArray[np.float32], profile: Profile) -> NDArray[np.float32]:
    """(B, H, W) scaled values of ``profile.bands()`` -> (3, H, W) as they are rendered."""
    if profile.decibels:
        bands = 10 * np.log10(np.maximum(bands, np.float32(LEAST_POWER)))
    others = iter(bands[3:])
    for place, band in enumerate((profile.red, profile.green, profile.blue)):
        if band.minus is not None:
            bands[place] -= next(others)
    return bands[:3]


def offset(item: Item, profile: Profile) -> float:
    """What is added to the item's scaled values.

    Sentinel-2 producers add a constant since one processing baseline; some catalogs took it out again and
    say so in a property of the item.

    Raises
    ------
    UnfitPixels
        Nothing tells whether the constant is in the values: a guess would be wrong by a tenth of all light.
    """
    if not profile.offset_from_baseline:
        return 0.0 if offset_taken_out(item.properties) else profile.offset
    if offset_unknown(item.properties, item.processing_baseline, item.acquired_at):
        reason = f"the processing baseline of item {item.id} is unknown, and with it the offset of its values"
        raise UnfitPixels(profile.red.asset, item.href, reason)
    first = baseline_number(profile.offset_from_baseline)
    if offset_taken_out(item.properties) or baseline_number(item.processing_baseline) < first:
        return 0.0
    return profile.offset


def _warp_bands(
    file: OpenFile, indices: list[int], nodata: float | None, grid: PixelGrid, cut: Cut
) -> NDArray[np.float32]:
    """(bands, H, W) on the grid, NaN where the file shows nothing."""
    with file.decoding(cut, len(indices)) as dataset:
        values, shown = read_bands(dataset, indices, nodata, cut.window, cut.shape)
    crs = file.layout.crs
    at = _aligned(file, cut, grid)
    if at is not None:
        return np.ascontiguousarray(values[(slice(None), *at)])
    result = np.full((len(indices), grid.height, grid.width), np.nan, np.float32)
    _reproject(values, result, cut, crs, grid, Resampling.bilinear)
    imaged = np.zeros((grid.height, grid.width), np.uint8)
    _reproject(shown.astype(np.uint8), imaged, cut, crs, grid, Resampling.nearest)
    # bilinear weights reach half a pixel beyond what was imaged
    result[:, imaged == 0] = np.nan
    return result


def _aligned(file: OpenFile, cut: Cut, grid: PixelGrid) -> tuple[slice, slice] | None:
    """Rows and columns of the cut that are the grid's pixels; None when it must be resampled."""
    offset = ~cut.transform @ grid.transform
    col, row = round(offset.c), round(offset.f)
    same = offset.almost_equals(Affine.translation(col, row), precision=1e-6)
    whole = 0 <= row <= cut.shape[0] - grid.height and 0 <= col <= cut.shape[1] - grid.width
    if not (same and whole and file.crs == grid.crs):
        return None
    return slice(row, row + grid.height), slice(col, col + grid.width)


def _warp_classes(
    file: OpenFile, clouds: CloudMask, grid: PixelGrid, cut: Cut | None
) -> tuple[NDArray[np.int32], Mask]:
    """(H, W) class values on the grid, and where the file says anything."""
    values = np.zeros((grid.height, grid.width), np.int32)
    covered = np.zeros((grid.height, grid.width), np.uint8)
    if cut is None:
        return values, covered.astype(bool)
    index, crs = clouds.band.index, file.layout.crs
    with file.decoding(cut, 1) as dataset:
        marks = mask_nodata(dataset, index, (*clouds.unclear_values, *clouds.invalid_values))
        found, told = read_classes(dataset, index, marks, cut.window, cut.shape)
    _reproject(found, values, cut, crs, grid, Resampling.nearest)
    _reproject(told.astype(np.uint8), covered, cut, crs, grid, Resampling.nearest)
    return values, covered.astype(bool)


def _reproject(
    values: NDArray[np.generic],
    result: NDArray[np.generic],
    cut: Cut,
    crs: rasterio.crs.CRS,
    grid: PixelGrid,
    resampling: Resampling,
) -> None:
    """Into ``result``, which keeps what it holds where ``values`` do not reach or are NaN."""
    floating = np.issubdtype(values.dtype, np.floating)
    reproject(
        values,
        result,
        src_transform=cut.transform,
        src_crs=crs,
        dst_transform=grid.transform,
        dst_crs=grid.crs.to_wkt(),
        resampling=resampling,
        src_nodata=np.nan if floating else None,
        dst_nodata=np.nan if floating else None,
        init_dest_nodata=floating,
    )
