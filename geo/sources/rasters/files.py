"""Assets as files that GDAL decodes, and the part of each that a grid needs. GDAL sees no URL.

It reads through :class:`segwatch.geo.sources.http.ranges.RemoteFile`, decodes GeoTIFF and JPEG 2000 only, and is given
no file that lies beside.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count

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
from segwatch.geo.sources.http.connections import SceneConnections
from segwatch.geo.sources.http.ranges import Cursor, RemoteFile
from segwatch.geo.sources.rasters.decode_budget import GATE, DecodingBudget
from segwatch.geo.sources.rasters.header_check import Header, header_of, misfits
from segwatch.geo.sources.rasters.jpeg2000 import jpeg2000
from segwatch.geo.sources.rasters.structure import Read, Structure, UnfitStructure, tiff
from segwatch.geo.types.source import Profile

_log = logging.getLogger(__name__)
_Points = NDArray[np.float64]

#: By how a file begins: GDAL's driver, and what tells the structure.
_FORMATS: Mapping[bytes, tuple[str, Callable[[Read], Structure]]] = {
    b"II*\x00": ("GTiff", tiff),
    b"MM\x00*": ("GTiff", tiff),
    b"II+\x00": ("GTiff", tiff),
    b"MM\x00+": ("GTiff", tiff),
    b"\x00\x00\x00\x0c": ("JP2OpenJPEG", jpeg2000),
}
#: Decoded blocks that GDAL keeps: a row of blocks of some files.
_CACHE_BYTES = 128 * 1024**2
#: Files of one scene that are open, and what GDAL may hold for them: those used longest ago are closed.
_MAX_OPEN_FILES = 64
_MAX_OPEN_BYTES = 256 * 1024**2
ENVIRONMENT = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
    "GDAL_HTTP_MAX_RETRY": "0",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_CACHEMAX": _CACHE_BYTES,
}
#: Files over the antimeridian may go on beyond 180 degrees.
_MAX_LONGITUDE = 540.0
_ELLIPSOID = Geod(ellps="WGS84")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the pixels of a file lie."""

    width: int
    height: int
    transform: Affine
    crs: rasterio.crs.CRS


@dataclass(frozen=True, slots=True)
class OpenFile:
    """One asset's file: what is known of it, also while it is closed."""

    remote: RemoteFile
    layout: Layout
    structure: Structure
    crs: CRS
    to_file: Transformer
    """From the grid's CRS."""
    step: int
    """See :func:`_step`; 0 where the file does not reach the grid."""
    header: Header
    budget: DecodingBudget
    open: Callable[[], DatasetReader]

    @contextmanager
    def decoding(self, cut: Cut, bands: int) -> Iterator[DatasetReader]:
        """The file as GDAL reads it, to decode a cut of some bands.

        Raises
        ------
        UnfitPixels
            More would be decoded than the scene may have decoded in all.
        """
        window = cut.window
        left, top = window.col_off, window.row_off
        sides = (left, top, left + window.width, top + window.height)
        count = self.structure.decoded_bytes(sides, self.step, bands, masked=True)
        if not self.budget.spend(count):
            raise self.remote.unfit(
                f"more than {self.budget.total / 1e9:.0f} GB would be decoded for this scene; make its files "
                "cloud-optimized, with overviews, small tiles and bands that are not interleaved"
            )
        with GATE.hold(2 * self.structure.largest_block):
            yield self.open()


class Source:
    """Opens assets when they are needed, closes those that are not, and counts their bytes."""

    def __init__(
        self,
        shared: SceneConnections,
        allowed_hosts: Sequence[str],
        files: ExitStack,
        whole: PixelGrid,
        profile: Profile,
    ) -> None:
        self._shared = shared
        self._whole = whole
        self._profile = profile
        self._allowed = allowed_hosts
        self._remote: dict[str, RemoteFile] = {}
        self._known: dict[str, OpenFile] = {}
        self._budget = DecodingBudget(whole)
        #: With the bytes that GDAL holds for each; those used last at the end.
        self._open: OrderedDict[str, tuple[DatasetReader, int]] = OrderedDict()
        self._names = count()
        files.callback(self._close_all)

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
            if href not in self._known:
                self._known[href] = self._look(remote, asset, href)
            yield self._known[href]
        except UnfitStructure as error:
            raise remote.error or remote.unfit(str(error)) from error
        except (RasterioError, OSError) as error:
            if remote.error is None and is_of_machine(error):
                raise
            # GDAL's words hold values of the file, which need not be the file that was meant
            _log.debug("%s: %r", asset, str(error))
            raise remote.error or remote.failure(
                f"it is damaged or cut off ({type(error).__name__})"
            ) from error
        if remote.error is not None:
            raise remote.error

    def _look(self, remote: RemoteFile, asset: str, href: str) -> OpenFile:
        driver, structure = _recognized(remote)
        dataset = self._dataset(remote, href, driver, structure)
        _check(dataset, remote)
        layout = Layout(dataset.width, dataset.height, dataset.transform, dataset.crs)
        crs = CRS.from_wkt(layout.crs.to_wkt())
        to_file = Transformer.from_crs(self._whole.crs, crs, always_xy=True)
        header = header_of(dataset, asset, _pixel_m(layout, crs, to_file, self._whole))
        for reason in misfits(header, self._profile):
            raise remote.unfit(reason)
        return OpenFile(
            remote,
            layout,
            structure,
            crs,
            to_file,
            _step(layout, to_file, self._whole),
            header,
            self._budget,
            partial(self._dataset, remote, href, driver, structure),
        )

    def _dataset(self, remote: RemoteFile, href: str, driver: str, structure: Structure) -> DatasetReader:
        """The open file; others are closed for it where too many are open."""
        if href not in self._open:
            held = structure.held_bytes
            while self._open and not self._has_room(held):
                _, (oldest, _) = self._open.popitem(last=False)
                oldest.close()
            # a name of its own: rasterio tells openers apart by it
            name = f"asset{next(self._names)}"
            self._open[href] = rasterio.open(name, driver=driver, opener=_Opener(remote, name)), held
        self._open.move_to_end(href)
        return self._open[href][0]

    def _has_room(self, held: int) -> bool:
        others = sum(one for _, one in self._open.values())
        return len(self._open) < _MAX_OPEN_FILES and others + held <= _MAX_OPEN_BYTES

    def _close_all(self) -> None:
        while self._open:
            _, (dataset, _) = self._open.popitem()
            dataset.close()


def _recognized(file: RemoteFile) -> tuple[str, Structure]:
    head = file.read(0, 64)
    for magic, (driver, structure) in _FORMATS.items():
        if head.startswith(magic):
            return driver, structure(file.read)
    raise file.failure("it is neither GeoTIFF nor JPEG 2000")


class _Opener:
    """Gives GDAL this one file, and no neighbour of it."""

    def __init__(self, file: RemoteFile, name: str) -> None:
        self._file = file
        self._name = name

    def open(self, path: str, mode: str = "rb", **_: object) -> Cursor:
        """A new view of the file."""
        if not self.isfile(path):
            raise FileNotFoundError(path)
        return Cursor(self._file)

    def isfile(self, path: str) -> bool:
        """Whether it is this file."""
        return path.rpartition("/")[2] == self._name

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


def _pixel_m(layout: Layout, crs: CRS, to_file: Transformer, grid: PixelGrid) -> float | None:
    """Length in metres of the longer side of a pixel of the file, at the grid where it reaches that."""
    reached = _reached(layout, to_file, grid)
    col, row = layout.width / 2, layout.height / 2
    if reached is not None:
        col, row = (
            float(np.clip((at.min() + at.max()) / 2, 0, size))
            for at, size in zip(reached, (layout.width, layout.height), strict=True)
        )
    corners = np.array([col, col + 1, col]), np.array([row, row, row + 1])
    to_lonlat = Transformer.from_crs(crs, LONLAT, always_xy=True)
    lons, lats = to_lonlat.transform(*_apply(layout.transform, *corners))
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
    layout = file.layout
    reached = _reached(layout, file.to_file, grid)
    if reached is None or not file.step:
        return None
    at_col, at_row = reached
    step = file.step
    rim = 2 * step
    # whole cells of ``step`` pixels from the file's corner on: every window then averages the same pixels
    left, top = (max(0, math.floor(at.min()) - rim) // step * step for at in (at_col, at_row))
    right = min(layout.width // step * step, -(-(math.ceil(at_col.max()) + rim) // step) * step)
    bottom = min(layout.height // step * step, -(-(math.ceil(at_row.max()) + rim) // step) * step)
    if left >= right or top >= bottom:
        return None
    shape = ((bottom - top) // step, (right - left) // step)
    transform = layout.transform @ Affine.translation(left, top) @ Affine.scale(step)
    return Cut(Window(left, top, right - left, bottom - top), shape, transform)


def _step(layout: Layout, to_file: Transformer, whole: PixelGrid) -> int:
    """How many of the file's pixels make one of the grid: the same for every window; 0 = it does not reach the grid."""
    reached = _reached(layout, to_file, whole)
    if reached is None:
        return 0
    sizes = (np.ptp(at) / length for at, length in zip(reached, (whole.width, whole.height), strict=True))
    return max(1, math.floor(min(sizes) + 1e-6))


def _reached(layout: Layout, to_file: Transformer, grid: PixelGrid) -> tuple[_Points, _Points] | None:
    """Columns and rows of the file that points all over the grid lie at; None when all lie nowhere."""
    # points all over the grid, not only its corners: edges bend between projections
    cols, rows = np.meshgrid(np.linspace(0, grid.width, 33), np.linspace(0, grid.height, 33))
    x, y = to_file.transform(*_apply(grid.transform, cols.ravel(), rows.ravel()))
    at_col, at_row = _apply(~layout.transform, x, y)
    inside = np.isfinite(at_col) & np.isfinite(at_row)
    return (at_col[inside], at_row[inside]) if inside.any() else None


def _apply(transform: Affine, cols: _Points, rows: _Points) -> tuple[_Points, _Points]:
    """Many points through an affine transform at once."""
    x = transform.a * cols + transform.b * rows + transform.c
    y = transform.d * cols + transform.e * rows + transform.f
    return x, y
