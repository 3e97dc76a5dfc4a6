"""Assets as files that GDAL decodes, and the part of each that a grid needs. GDAL sees no URL.

It reads through :class:`segwatch.geo.sources.ranges.RemoteFile`, decodes GeoTIFF and JPEG 2000 only, and is given no
file that lies beside.
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
from pyproj import CRS, Geod, Transformer
from rasterio.abc import MultiByteRangeResourceContainer
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from segwatch.geo.crs import LONLAT
from segwatch.geo.errors import is_of_machine
from segwatch.geo.grid import PixelGrid
from segwatch.geo.sources.fitness import Header, header_of, misfits
from segwatch.geo.sources.ranges import Cursor, Network, RemoteFile
from segwatch.geo.types import Profile

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
ENVIRONMENT = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
    "GDAL_HTTP_MAX_RETRY": "0",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_CACHEMAX": _CACHE_BYTES,
}
#: A block (tile or strip) is decoded whole; larger ones are an attack or a file that is not cloud-optimized.
_LARGEST_BLOCK_BYTES = 256 * 1024**2
#: Files over the antimeridian may go on beyond 180 degrees.
_MAX_LONGITUDE = 540.0
_ELLIPSOID = Geod(ellps="WGS84")


@dataclass(frozen=True, slots=True)
class OpenFile:
    """One asset's file."""

    remote: RemoteFile
    dataset: DatasetReader
    crs: CRS
    to_file: Transformer
    """From the grid's CRS."""
    step: int
    """See :func:`_step`; 0 where the file does not reach the grid."""
    header: Header


class Source:
    """Opens assets once and counts their bytes."""

    def __init__(
        self,
        shared: Network,
        allowed_hosts: Sequence[str],
        files: ExitStack,
        whole: PixelGrid,
        profile: Profile,
    ) -> None:
        self._shared = shared
        self._whole = whole
        self._profile = profile
        self._allowed = allowed_hosts
        self._files = files
        self._remote: dict[str, RemoteFile] = {}
        self._open: dict[str, OpenFile] = {}

    @property
    def bytes_read(self) -> int:
        """Bytes that came over the network so far."""
        return sum(file.bytes_read for file in self._remote.values())

    @contextmanager
    def use(self, asset: str, href: str) -> Iterator[OpenFile]:
        """The decoded asset; whatever goes wrong inside the block becomes ReadFailed or UnsafeHref."""
        if href not in self._remote:
            self._remote[href] = RemoteFile(self._shared, asset, href, self._allowed)
        remote = self._remote[href]
        try:
            if href not in self._open:
                self._open[href] = self._opened(remote, asset, len(self._open))
            yield self._open[href]
        except (RasterioError, OSError) as error:
            if remote.error is None and is_of_machine(error):
                raise
            raise remote.error or remote.failure(f"it is damaged or cut off: {error}") from error
        if remote.error is not None:
            raise remote.error

    def _opened(self, remote: RemoteFile, asset: str, number: int) -> OpenFile:
        driver = _driver(remote)
        # a name of its own: rasterio tells openers apart by it
        dataset = rasterio.open(f"asset{number}", driver=driver, opener=_Opener(remote))
        self._files.enter_context(dataset)
        _check(dataset, remote)
        crs = CRS.from_wkt(dataset.crs.to_wkt())
        to_file = Transformer.from_crs(self._whole.crs, crs, always_xy=True)
        header = header_of(dataset, asset, _pixel_m(dataset, crs, to_file, self._whole))
        for reason in misfits(header, self._profile):
            raise remote.unfit(reason)
        return OpenFile(remote, dataset, crs, to_file, _step(dataset, to_file, self._whole), header)


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
        raise file.unfit("it has no georeference")
    west, south, east, north = dataset.bounds
    if dataset.crs.is_geographic and max(abs(west), abs(east)) > _MAX_LONGITUDE:
        raise file.unfit(
            f"its CRS is in degrees, its bounds {west:g}, {south:g}, {east:g}, {north:g} are not (metres?); give the "
            "file the CRS of its coordinates"
        )
    for (height, width), dtype in zip(dataset.block_shapes, dataset.dtypes, strict=True):
        if height * width * np.dtype(dtype).itemsize > _LARGEST_BLOCK_BYTES:
            raise file.unfit(f"it is stored in blocks of {height} x {width} pixels; make it cloud-optimized")


def _pixel_m(dataset: DatasetReader, crs: CRS, to_file: Transformer, grid: PixelGrid) -> float | None:
    """Length in metres of the longer side of a pixel of the file, at the grid where it reaches that."""
    reached = _reached(dataset, to_file, grid)
    col, row = dataset.width / 2, dataset.height / 2
    if reached is not None:
        col, row = (
            float(np.clip((at.min() + at.max()) / 2, 0, size))
            for at, size in zip(reached, (dataset.width, dataset.height), strict=True)
        )
    corners = np.array([col, col + 1, col]), np.array([row, row, row + 1])
    to_lonlat = Transformer.from_crs(crs, LONLAT, always_xy=True)
    lons, lats = to_lonlat.transform(*_apply(dataset.transform, *corners))
    if not (np.isfinite(lons).all() and np.isfinite(lats).all()):
        return None
    _, _, lengths = _ELLIPSOID.inv([lons[0]] * 2, [lats[0]] * 2, lons[1:], lats[1:])
    return float(max(lengths))


@dataclass(frozen=True, slots=True)
class Cut:
    """The part of a file that a grid needs."""

    window: Window
    shape: tuple[int, int]
    """(height, width) to read it at: smaller than the window when the grid is coarser."""
    transform: Affine


def cut_of(file: OpenFile, grid: PixelGrid) -> Cut | None:
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
    return Cut(Window(left, top, right - left, bottom - top), shape, transform)


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
