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

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.abc import MultiByteRangeResourceContainer
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.warp import reproject
from rasterio.windows import Window

from segwatch.geo.clouds import clear_mask
from segwatch.geo.errors import ReadFailed
from segwatch.geo.grid import PixelGrid
from segwatch.geo.scenes import cloud_cover
from segwatch.geo.sources import hrefs
from segwatch.geo.sources.access import NO_CREDENTIALS, Credentials
from segwatch.geo.sources.ranges import Cursor, Network, RemoteFile, network
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
#: Decoded blocks that GDAL keeps: a row of blocks of some files.
_CACHE_BYTES = 128 * 1024**2
_ENVIRONMENT = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
    "GDAL_HTTP_MAX_RETRY": "0",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_CACHEMAX": _CACHE_BYTES,
}
#: A block (tile or strip) is decoded whole; larger ones are an attack or a file that is not cloud-optimized.
_LARGEST_BLOCK_BYTES = 256 * 1024**2
#: -60 dB, below every sensor's noise.
_LEAST_POWER = np.float32(1e-6)
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
) -> SceneWindow:
    """The whole grid at once; see :func:`opened`."""
    with opened(scene, profile, grid, allowed_hosts=allowed_hosts, credentials=credentials) as reader:
        return reader.read(grid)


@contextmanager
def opened(
    scene: Scene,
    profile: Profile,
    grid: PixelGrid,
    *,
    allowed_hosts: Sequence[str],
    credentials: Credentials = NO_CREDENTIALS,
) -> Iterator[SceneReader]:
    """The scene's files, opened when a window first needs them and closed after the block.

    Parameters
    ----------
    grid
        The whole that windows will be taken from.
    allowed_hosts
        As in :func:`segwatch.geo.sources.hrefs.check`.
    credentials
        What ``profile.access`` needs.

    Raises
    ------
    ReadFailed
        An item lacks an asset, or one cannot be read; a window is given whole or not at all, so that no gap passes
        for a scene.
    UnsafeHref
        An asset's href must not be opened.
    """
    for item in scene.items:
        for name in profile.assets():
            if name not in item.assets:
                raise ReadFailed(name, item.href, f"item {item.id} has no such asset")
            hrefs.check(item.assets[name], allowed_hosts)
    with network(profile, credentials) as shared, rasterio.Env(**_ENVIRONMENT), ExitStack() as files:
        yield SceneReader(scene, profile, _Source(shared, allowed_hosts, files, grid))


class SceneReader:
    """Windows of an open scene, for one thread."""

    def __init__(self, scene: Scene, profile: Profile, source: _Source) -> None:
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

    def _read_item(self, item: Item, grid: PixelGrid) -> _Part | None:
        """None when the item does not reach the window."""
        profile = self._profile
        wanted = profile.bands()
        bands = np.full((len(wanted), grid.height, grid.width), np.nan, np.float32)
        for asset in dict.fromkeys(band.asset for band in wanted):
            places = [place for place, band in enumerate(wanted) if band.asset == asset]
            with self._source.use(asset, item.assets[asset]) as file:
                cut = _cut(file, grid)
                if cut is None:
                    return None
                indices = [wanted[place].index for place in places]
                bands[places] = _warp_bands(file, indices, profile.nodata, grid, cut)
        # a pixel that one file lacks is not imaged; within one file see _shown
        valid: Mask = np.asarray(np.isfinite(bands).all(axis=0))
        bands *= profile.scale
        bands += offset(item, profile)
        bands = _shown_values(bands, profile)
        if profile.clouds is None or not valid.any():
            return _Part(bands, valid, valid.copy())
        return _Part(bands, valid, valid & self._read_clear(item, profile.clouds, grid))

    def _read_clear(self, item: Item, clouds: CloudMask, grid: PixelGrid) -> Mask:
        band: BandRef = clouds.band
        with self._source.use(band.asset, item.assets[band.asset]) as file:
            values, covered = _warp_classes(file, band.index, grid, _cut(file, grid))
        return clear_mask(values, clouds) & covered


def _least_cloud_then_newest(item: Item) -> tuple[float, float, str]:
    cover = cloud_cover(item)
    return 101.0 if cover is None else cover, -item.acquired_at.timestamp(), item.id


def _shown_values(bands: NDArray[np.float32], profile: Profile) -> NDArray[np.float32]:
    """(B, H, W) scaled values of ``profile.bands()`` -> (3, H, W) as they are rendered."""
    if profile.decibels:
        bands = 10 * np.log10(np.maximum(bands, _LEAST_POWER))
    others = iter(bands[3:])
    for place, band in enumerate((profile.red, profile.green, profile.blue)):
        if band.minus is not None:
            bands[place] -= next(others)
    return bands[:3]


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


@dataclass(frozen=True, slots=True)
class _Open:
    """One asset's file."""

    remote: RemoteFile
    dataset: DatasetReader
    crs: CRS
    to_file: Transformer
    """From the grid's CRS."""
    step: int
    """See :func:`_step`; 0 where the file does not reach the grid."""


class _Source:
    """Opens assets once and counts their bytes."""

    def __init__(
        self, shared: Network, allowed_hosts: Sequence[str], files: ExitStack, whole: PixelGrid
    ) -> None:
        self._shared = shared
        self._whole = whole
        self._allowed = allowed_hosts
        self._files = files
        self._remote: dict[str, RemoteFile] = {}
        self._open: dict[str, _Open] = {}

    @property
    def bytes_read(self) -> int:
        """Bytes that came over the network so far."""
        return sum(file.bytes_read for file in self._remote.values())

    @contextmanager
    def use(self, asset: str, href: str) -> Iterator[_Open]:
        """The decoded asset; whatever goes wrong inside the block becomes ReadFailed or UnsafeHref."""
        if href not in self._remote:
            self._remote[href] = RemoteFile(self._shared, asset, href, self._allowed)
        remote = self._remote[href]
        try:
            if href not in self._open:
                self._open[href] = self._opened(remote, len(self._open))
            yield self._open[href]
        except (RasterioError, OSError) as error:
            raise remote.error or remote.failure(f"it is damaged or cut off: {error}") from error
        if remote.error is not None:
            raise remote.error

    def _opened(self, remote: RemoteFile, number: int) -> _Open:
        driver = _driver(remote)
        # a name of its own: rasterio tells openers apart by it
        dataset = rasterio.open(f"asset{number}", driver=driver, opener=_Opener(remote))
        self._files.enter_context(dataset)
        _check(dataset, remote)
        crs = CRS.from_wkt(dataset.crs.to_wkt())
        to_file = Transformer.from_crs(self._whole.crs, crs, always_xy=True)
        return _Open(remote, dataset, crs, to_file, _step(dataset, to_file, self._whole))


def _driver(file: RemoteFile) -> str:
    head = file.read(0, 64)
    for magic, driver in _DRIVERS.items():
        if head.startswith(magic):
            return driver
    raise file.failure(f"it is neither GeoTIFF nor JPEG 2000; it begins with {head[:16]!r}")


class _Opener:
    """Gives GDAL this one file, and no neighbour of it."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file

    def open(self, path: str, mode: str = "rb", **_: object) -> Cursor:
        """A new view of the file."""
        return Cursor(self._file)

    def isfile(self, path: str) -> bool:
        """True."""
        return True

    def isdir(self, path: str) -> bool:
        """False."""
        return False

    def ls(self, path: str) -> list[str]:
        """Nothing lies beside it."""
        return []

    def mtime(self, path: str) -> int:
        """Not known."""
        return 0

    def size(self, path: str) -> int:
        """Bytes."""
        return self._file.size


MultiByteRangeResourceContainer.register(_Opener)


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


def _cut(file: _Open, grid: PixelGrid) -> _Cut | None:
    """The part of the file that a window of the whole grid needs; None when the file does not reach it."""
    dataset = file.dataset
    reached = _reached(dataset, file.to_file, grid)
    if reached is None or not file.step:
        return None
    at_col, at_row = reached
    step = file.step
    rim = 2 * step
    # whole cells of ``step`` pixels from the file's corner on: every window then averages the same pixels
    left, top = (max(0, math.floor(at.min()) - rim) // step * step for at in (at_col, at_row))
    right = min(dataset.width // step * step, -(-(math.ceil(at_col.max()) + rim) // step) * step)
    bottom = min(dataset.height // step * step, -(-(math.ceil(at_row.max()) + rim) // step) * step)
    if left >= right or top >= bottom:
        return None
    shape = ((bottom - top) // step, (right - left) // step)
    transform = dataset.transform @ Affine.translation(left, top) @ Affine.scale(step)
    return _Cut(Window(left, top, right - left, bottom - top), shape, transform)


def _step(dataset: DatasetReader, to_file: Transformer, whole: PixelGrid) -> int:
    """How many of the file's pixels make one of the grid: the same for every window; 0 = it does not reach the grid."""
    reached = _reached(dataset, to_file, whole)
    if reached is None:
        return 0
    sizes = (np.ptp(at) / length for at, length in zip(reached, (whole.width, whole.height), strict=True))
    return max(1, math.floor(min(sizes) + 1e-6))


def _reached(dataset: DatasetReader, to_file: Transformer, grid: PixelGrid) -> tuple[_Points, _Points] | None:
    """Columns and rows of the file that points all over the grid lie at; None when all lie nowhere."""
    # points all over the grid, not only its corners: edges bend between projections
    cols, rows = np.meshgrid(np.linspace(0, grid.width, 33), np.linspace(0, grid.height, 33))
    x, y = to_file.transform(*_apply(grid.transform, cols.ravel(), rows.ravel()))
    at_col, at_row = _apply(~dataset.transform, x, y)
    inside = np.isfinite(at_col) & np.isfinite(at_row)
    return (at_col[inside], at_row[inside]) if inside.any() else None


def _apply(transform: Affine, cols: _Points, rows: _Points) -> tuple[_Points, _Points]:
    """Many points through an affine transform at once."""
    x = transform.a * cols + transform.b * rows + transform.c
    y = transform.d * cols + transform.e * rows + transform.f
    return x, y


def _warp_bands(
    file: _Open, indices: list[int], nodata: float | None, grid: PixelGrid, cut: _Cut
) -> NDArray[np.float32]:
    """(bands, H, W) on the grid, NaN where the file shows nothing."""
    dataset = file.dataset
    _check_indices(file, indices)
    values = dataset.read(
        indices, window=cut.window, out_shape=(len(indices), *cut.shape), resampling=Resampling.average
    ).astype(np.float32)
    shown = _shown(dataset, values, indices, nodata, cut)
    np.copyto(values, np.nan, where=~shown)
    at = _aligned(file, cut, grid)
    if at is not None:
        return np.ascontiguousarray(values[(slice(None), *at)])
    result = np.full((len(indices), grid.height, grid.width), np.nan, np.float32)
    _reproject(values, result, cut, dataset, grid, Resampling.bilinear)
    imaged = np.zeros((grid.height, grid.width), np.uint8)
    _reproject(shown.astype(np.uint8), imaged, cut, dataset, grid, Resampling.nearest)
    # bilinear weights reach half a pixel beyond what was imaged
    result[:, imaged == 0] = np.nan
    return result


def _aligned(file: _Open, cut: _Cut, grid: PixelGrid) -> tuple[slice, slice] | None:
    """Rows and columns of the cut that are the grid's pixels; None when it must be resampled."""
    offset = ~cut.transform @ grid.transform
    col, row = round(offset.c), round(offset.f)
    same = offset.almost_equals(Affine.translation(col, row), precision=1e-6)
    whole = 0 <= row <= cut.shape[0] - grid.height and 0 <= col <= cut.shape[1] - grid.width
    if not (same and whole and file.crs == grid.crs):
        return None
    return slice(row, row + grid.height), slice(col, col + grid.width)


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
    file: _Open, index: int, grid: PixelGrid, cut: _Cut | None
) -> tuple[NDArray[np.int32], Mask]:
    """(H, W) class values on the grid, and where the file reaches."""
    values = np.zeros((grid.height, grid.width), np.int32)
    covered = np.zeros((grid.height, grid.width), np.uint8)
    if cut is None:
        return values, covered.astype(bool)
    dataset = file.dataset
    _check_indices(file, [index])
    found = dataset.read(index, window=cut.window, out_shape=cut.shape, resampling=Resampling.nearest)
    _reproject(found.astype(np.int32), values, cut, dataset, grid, Resampling.nearest)
    _reproject(np.ones(cut.shape, np.uint8), covered, cut, dataset, grid, Resampling.nearest)
    return values, covered.astype(bool)


def _check_indices(file: _Open, indices: list[int]) -> None:
    for index in indices:
        if index > file.dataset.count:
            raise file.remote.failure(f"band {index} is asked for, it has {file.dataset.count}")


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
