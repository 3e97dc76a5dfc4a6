"""Scene -> pixels on a grid. Reads only the window the grid needs, by HTTP ranges.

Depends on rasterio for decoding and warping. GDAL sees no URL: it reads through
:class:`segwatch.geo.sources.ranges.RemoteFile` and decodes GeoTIFF and JPEG 2000 only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.warp import reproject
from rasterio.windows import Window

from segwatch.geo.clouds import clear_mask
from segwatch.geo.errors import ReadFailed
from segwatch.geo.grid import PixelGrid
from segwatch.geo.sources import hrefs
from segwatch.geo.sources.ranges import Cursor, RemoteFile, make_client
from segwatch.geo.types import BandRef, CloudMask, Item, Profile, Scene

Mask = NDArray[np.bool_]
_Points = NDArray[np.float64]

_DRIVERS = {
    b"II*\x00": "GTiff",
    b"MM\x00*": "GTiff",
    b"II+\x00": "GTiff",
    b"MM\x00+": "GTiff",
    b"\x00\x00\x00\x0c": "JP2OpenJPEG",
}
_ENVIRONMENT = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
    "GDAL_HTTP_MAX_RETRY": "0",
    "GDAL_PAM_ENABLED": "NO",
}
_NAME = "asset"
#: A block (tile or strip) is decoded whole; larger ones are an attack or a file that is not cloud-optimized.
_LARGEST_BLOCK_BYTES = 256 * 1024**2
_BOA_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")


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
    """Bytes that came over the network."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One item on the grid; not valid pixels are NaN."""

    bands: NDArray[np.float32]
    valid: Mask
    clear: Mask


def read(scene: Scene, profile: Profile, grid: PixelGrid, *, allowed_hosts: Sequence[str]) -> SceneWindow:
    """Mosaic the scene's items on the grid.

    Items with less cloud come first, then newer ones; the first clear pixel wins, then the first valid one.
    Bands are resampled bilinearly, masks by nearest neighbour.

    Raises
    ------
    ReadFailed
        An asset cannot be read; what was read of others is discarded, so that no gap passes for a scene.
    UnsafeHref
        An asset's href must not be opened.
    """
    ordered = sorted(scene.items, key=_least_cloud_then_newest)
    for item in ordered:
        for name in profile.assets():
            if name not in item.assets:
                raise ReadFailed(name, item.href, f"item {item.id} has no such asset")
            hrefs.check(item.assets[name], allowed_hosts)
    bands = np.zeros((3, grid.height, grid.width), np.float32)
    valid = np.zeros((grid.height, grid.width), bool)
    clear = valid.copy()
    with make_client() as client, rasterio.Env(**_ENVIRONMENT):
        source = _Source(client, allowed_hosts)
        for item in ordered:
            part = _read_item(source, item, profile, grid)
            better = part.valid & (~valid | (part.clear & ~clear))
            bands[:, better] = part.bands[:, better]
            valid |= better
            clear |= better & part.clear
            if clear.all():
                break
    return SceneWindow(bands, valid, clear, source.bytes_read)


def _least_cloud_then_newest(item: Item) -> tuple[float, float, str]:
    cover = item.properties.get("eo:cloud_cover")
    cloud = float(cover) if isinstance(cover, int | float) else 101.0
    return cloud, -item.acquired_at.timestamp(), item.id


def _read_item(source: _Source, item: Item, profile: Profile, grid: PixelGrid) -> _Part:
    wanted = (profile.red, profile.green, profile.blue)
    bands = np.full((3, grid.height, grid.width), np.nan, np.float32)
    for asset in dict.fromkeys(band.asset for band in wanted):
        places = [place for place, band in enumerate(wanted) if band.asset == asset]
        with source.open(asset, item.assets[asset]) as (dataset, file):
            indices = [wanted[place].index for place in places]
            bands[places] = _warp_bands(dataset, file, indices, profile.nodata, grid)
    # a pixel that one file lacks is not imaged; within one file see _without_nodata
    valid: Mask = np.asarray(np.isfinite(bands).all(axis=0))
    bands *= profile.scale
    bands += offset(item, profile)
    if profile.clouds is None or not valid.any():
        return _Part(bands, valid, valid.copy())
    return _Part(bands, valid, valid & _read_clear(source, item, profile.clouds, grid))


def _read_clear(source: _Source, item: Item, clouds: CloudMask, grid: PixelGrid) -> Mask:
    band: BandRef = clouds.band
    with source.open(band.asset, item.assets[band.asset]) as (dataset, file):
        values, covered = _warp_classes(dataset, file, band.index, grid)
    return clear_mask(values, clouds) & covered


def offset(item: Item, profile: Profile) -> float:
    """What is added to the item's scaled values.

    Sentinel-2 producers add a constant since one processing baseline; some catalogs took it out again and
    say so in a property of the item.
    """
    if any(item.properties.get(name) is True for name in _BOA_APPLIED):
        return 0.0
    if profile.offset_from_baseline and _number(item.processing_baseline) < _number(
        profile.offset_from_baseline
    ):
        return 0.0
    return profile.offset


def _number(baseline: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", baseline))


class _Source:
    """Opens assets and counts their bytes."""

    def __init__(self, client: httpx.Client, allowed_hosts: Sequence[str]) -> None:
        self._client = client
        self._allowed = allowed_hosts
        self.bytes_read = 0

    @contextmanager
    def open(self, asset: str, href: str) -> Iterator[tuple[DatasetReader, RemoteFile]]:
        """The decoded asset; whatever goes wrong inside the block becomes ReadFailed or UnsafeHref."""
        file = RemoteFile(self._client, asset, href, self._allowed)
        with ExitStack() as stack:
            stack.callback(self._count, file)
            driver = _driver(file)
            try:
                dataset = stack.enter_context(rasterio.open(_NAME, driver=driver, opener=_opener(file)))
                _check(dataset, file)
                yield dataset, file
            except (RasterioError, OSError) as error:
                raise file.error or file.failure(f"it is damaged or cut off: {error}") from error
            if file.error is not None:
                raise file.error

    def _count(self, file: RemoteFile) -> None:
        self.bytes_read += file.bytes_read


def _driver(file: RemoteFile) -> str:
    head = file.read(0, 64)
    for magic, driver in _DRIVERS.items():
        if head.startswith(magic):
            return driver
    raise file.failure(f"it is neither GeoTIFF nor JPEG 2000; it begins with {head[:16]!r}")


class _opener:  # noqa: N801 - rasterio calls it like a function
    """Gives GDAL this one file, and no neighbour of it."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file

    def __call__(self, path: str, mode: str = "rb", **_: object) -> Cursor:
        return Cursor(self._file)


def _check(dataset: DatasetReader, file: RemoteFile) -> None:
    if dataset.crs is None or dataset.transform.is_identity:
        raise file.failure("it has no georeference")
    for (height, width), dtype in zip(dataset.block_shapes, dataset.dtypes, strict=True):
        if np.dtype(dtype).kind == "c":
            raise file.failure(f"values of type {dtype} cannot be rendered")
        if height * width * np.dtype(dtype).itemsize > _LARGEST_BLOCK_BYTES:
            raise file.failure(
                f"it is stored in blocks of {height} x {width} pixels; make it cloud-optimized"
            )


@dataclass(frozen=True, slots=True)
class _Cut:
    """The part of a file that a grid needs."""

    window: Window
    shape: tuple[int, int]
    """(height, width) to read it at: smaller than the window when the grid is coarser."""
    transform: Affine


def _cut(dataset: DatasetReader, grid: PixelGrid) -> _Cut | None:
    """None when the file does not reach the grid."""
    to_file = Transformer.from_crs(grid.crs, CRS.from_wkt(dataset.crs.to_wkt()), always_xy=True)
    # points all over the grid, not only its corners: edges bend between projections
    cols, rows = np.meshgrid(np.linspace(0, grid.width, 33), np.linspace(0, grid.height, 33))
    x, y = to_file.transform(*_apply(grid.transform, cols.ravel(), rows.ravel()))
    at_col, at_row = _apply(~dataset.transform, x, y)
    inside = np.isfinite(at_col) & np.isfinite(at_row)
    if not inside.any():
        return None
    at_col, at_row = at_col[inside], at_row[inside]
    step = max(1, math.floor(min(np.ptp(at_col) / grid.width, np.ptp(at_row) / grid.height)))
    rim = 2 * step
    left, right = max(0, math.floor(at_col.min()) - rim), min(dataset.width, math.ceil(at_col.max()) + rim)
    top, bottom = max(0, math.floor(at_row.min()) - rim), min(dataset.height, math.ceil(at_row.max()) + rim)
    if left >= right or top >= bottom:
        return None
    shape = (math.ceil((bottom - top) / step), math.ceil((right - left) / step))
    scaling = Affine.scale((right - left) / shape[1], (bottom - top) / shape[0])
    transform = dataset.transform @ Affine.translation(left, top) @ scaling
    return _Cut(Window(left, top, right - left, bottom - top), shape, transform)


def _apply(transform: Affine, cols: _Points, rows: _Points) -> tuple[_Points, _Points]:
    """Many points through an affine transform at once."""
    x = transform.a * cols + transform.b * rows + transform.c
    y = transform.d * cols + transform.e * rows + transform.f
    return x, y


def _warp_bands(
    dataset: DatasetReader, file: RemoteFile, indices: list[int], nodata: float | None, grid: PixelGrid
) -> NDArray[np.float32]:
    """(bands, H, W) on the grid, NaN where the file shows nothing."""
    result = np.full((len(indices), grid.height, grid.width), np.nan, np.float32)
    cut = _cut(dataset, grid)
    if cut is None:
        return result
    _check_indices(dataset, file, indices)
    values = dataset.read(
        indices, window=cut.window, out_shape=(len(indices), *cut.shape), resampling=Resampling.average
    ).astype(np.float32)
    shown = _shown(dataset, values, indices, nodata, cut)
    values[:, ~shown] = np.nan
    _reproject(values, result, cut, dataset, grid, Resampling.bilinear)
    imaged = np.zeros((grid.height, grid.width), np.uint8)
    _reproject(shown.astype(np.uint8), imaged, cut, dataset, grid, Resampling.nearest)
    # bilinear weights reach half a pixel beyond what was imaged
    result[:, imaged == 0] = np.nan
    return result


def _shown(
    dataset: DatasetReader, values: NDArray[np.float32], indices: list[int], nodata: float | None, cut: _Cut
) -> Mask:
    """(h, w): where the file shows ground.

    Within one file a pixel is empty only when *all* bands hold the nodata value: one band alone may be that
    dark (or bright) in truth.
    """
    shown: Mask = np.asarray(np.isfinite(values).all(axis=0))
    empty = [dataset.nodatavals[index - 1] if nodata is None else nodata for index in indices]
    if all(value is not None for value in empty):
        shown &= (values != np.array(empty, np.float32)[:, None, None]).any(axis=0)
    flags = dataset.mask_flag_enums[indices[0] - 1]
    if MaskFlags.per_dataset in flags:
        shown &= dataset.dataset_mask(window=cut.window, out_shape=cut.shape) != 0
    return shown


def _warp_classes(
    dataset: DatasetReader, file: RemoteFile, index: int, grid: PixelGrid
) -> tuple[NDArray[np.int32], Mask]:
    """(H, W) class values on the grid, and where the file reaches."""
    values = np.zeros((grid.height, grid.width), np.int32)
    covered = np.zeros((grid.height, grid.width), np.uint8)
    cut = _cut(dataset, grid)
    if cut is None:
        return values, covered.astype(bool)
    _check_indices(dataset, file, [index])
    found = dataset.read(index, window=cut.window, out_shape=cut.shape, resampling=Resampling.nearest)
    _reproject(found.astype(np.int32), values, cut, dataset, grid, Resampling.nearest)
    _reproject(np.ones(cut.shape, np.uint8), covered, cut, dataset, grid, Resampling.nearest)
    return values, covered.astype(bool)


def _check_indices(dataset: DatasetReader, file: RemoteFile, indices: list[int]) -> None:
    for index in indices:
        if index > dataset.count:
            raise file.failure(f"band {index} is asked for, it has {dataset.count}")


def _reproject(
    values: NDArray[np.generic],
    result: NDArray[np.generic],
    cut: _Cut,
    dataset: DatasetReader,
    grid: PixelGrid,
    resampling: Resampling,
) -> None:
    """Into ``result``, which keeps what it holds where ``values`` do not reach or are NaN."""
    floating = np.issubdtype(values.dtype, np.floating)
    reproject(
        values,
        result,
        src_transform=cut.transform,
        src_crs=dataset.crs,
        dst_transform=grid.transform,
        dst_crs=grid.crs.to_wkt(),
        resampling=resampling,
        src_nodata=np.nan if floating else None,
        dst_nodata=np.nan if floating else None,
        init_dest_nodata=floating,
    )
