"""Open assets as GDAL datasets, and find the part of each file that a grid needs.

GDAL never sees a URL: it reads through :class:`segwatch.geo.sources.http.ranges.RemoteFile`, decodes GeoTIFF and JPEG
2000 only, and finds no sidecar files.
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
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer
from rasterio.abc import MultiByteRangeResourceContainer
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from segwatch.geo.crs import LONLAT, get_transformer
from segwatch.geo.errors import is_machine_failure
from segwatch.geo.grid import get_crs
from segwatch.geo.sources.http.connections import SceneConnections
from segwatch.geo.sources.http.ranges import RemoteFile, RemoteFileObject
from segwatch.geo.sources.rasters.decode_budget import GATE, DecodingBudget
from segwatch.geo.sources.rasters.header_check import Header, find_misfits, read_header
from segwatch.geo.sources.rasters.jpeg2000 import parse_jpeg2000
from segwatch.geo.sources.rasters.structure import Read, Structure, UnfitStructure, parse_tiff
from segwatch.geo.types.source import Profile

_log = logging.getLogger(__name__)
_Points = NDArray[np.float64]

#: Magic bytes -> GDAL's driver, and the parser of the file's structure.
_FORMATS: Mapping[bytes, tuple[str, Callable[[Read], Structure]]] = {
    b"II*\x00": ("GTiff", parse_tiff),
    b"MM\x00*": ("GTiff", parse_tiff),
    b"II+\x00": ("GTiff", parse_tiff),
    b"MM\x00+": ("GTiff", parse_tiff),
    b"\x00\x00\x00\x0c": ("JP2OpenJPEG", parse_jpeg2000),
}
#: GDAL's block cache: holds a row of blocks of some files.
_CACHE_BYTES = 128 * 1024**2
#: Limits on the open files of one scene and on the memory GDAL holds for them; the least recently used are closed.
_MAX_OPEN_FILES = 64
_MAX_OPEN_BYTES = 256 * 1024**2
ENVIRONMENT = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
    "GDAL_HTTP_MAX_RETRY": "0",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_CACHEMAX": _CACHE_BYTES,
}
#: Files across the antimeridian may use longitudes beyond 180 degrees.
_MAX_LONGITUDE = 540.0
_TURN = 360.0
_ELLIPSOID = Geod(ellps="WGS84")


@dataclass(frozen=True, slots=True)
class Layout:
    """Size and georeference of a file."""

    width: int
    height: int
    transform: Affine
    crs: rasterio.crs.CRS


@dataclass(frozen=True, slots=True)
class OpenFile:
    """One asset's file: its facts, which stay known while the dataset is closed."""

    remote: RemoteFile
    layout: Layout
    structure: Structure
    crs: CRS
    to_file: Transformer
    """From the grid's CRS to the file's."""
    step: int
    """See :func:`_compute_step`; 0 where the file does not reach the grid."""
    header: Header
    budget: DecodingBudget
    open: Callable[[], DatasetReader]

    @contextmanager
    def decoding(self, cut: Cut, bands: int) -> Iterator[DatasetReader]:
        """Open the dataset to decode ``bands`` bands of a cut, within the scene's and the process's memory budget.

        Raises
        ------
        UnfitPixels
            Decoding the cut would exceed the scene's budget.
        """
        window = cut.window
        left, top = window.col_off, window.row_off
        sides = (left, top, left + window.width, top + window.height)
        count = self.structure.decoded_bytes(sides, self.step, bands, masked=True)
        if not self.budget.spend(count):
            raise self.remote.unfit(
                f"this scene would need more than {self.budget.total / 1e9:.0f} GB to be decoded; make its files "
                "cloud-optimized, with overviews, small tiles and bands that are not interleaved"
            )
        with GATE.hold(2 * self.structure.largest_block):
            yield self.open()


class AssetFiles:
    """The files of one scene: opened on first use, closed when too many are open, their bytes counted."""

    def __init__(
        self,
        shared: SceneConnections,
        allowed_hosts: Sequence[str],
        files: ExitStack,
        whole: GeoBox,
        profile: Profile,
    ) -> None:
        self._shared = shared
        self._whole = whole
        self._profile = profile
        self._allowed = allowed_hosts
        self._remote: dict[str, RemoteFile] = {}
        self._known: dict[str, OpenFile] = {}
        self._budget = DecodingBudget(whole)
        #: Open datasets with the bytes that GDAL holds for each; the most recently used last.
        self._open: OrderedDict[str, tuple[DatasetReader, int]] = OrderedDict()
        self._names = count()
        files.callback(self._close_all)

    @property
    def bytes_read(self) -> int:
        """Bytes received over the network so far."""
        return sum(file.bytes_read for file in self._remote.values())

    @contextmanager
    def use(self, asset: str, href: str) -> Iterator[OpenFile]:
        """Open an asset; errors of GDAL and of the network inside the block become ReadFailed or UnsafeHref."""
        if href not in self._remote:
            self._remote[href] = RemoteFile(self._shared, asset, href, self._allowed)
        remote = self._remote[href]
        try:
            if href not in self._known:
                self._known[href] = self._inspect(remote, asset, href)
            yield self._known[href]
        except UnfitStructure as error:
            raise remote.error or remote.unfit(str(error)) from error
        except (RasterioError, OSError) as error:
            if remote.error is None and is_machine_failure(error):
                raise
            # GDAL's message may quote contents of a file that a redirect led to: keep it out of the ledger
            _log.debug("%s: %r", asset, str(error))
            raise remote.error or remote.failure(
                f"it is damaged or cut off ({type(error).__name__})"
            ) from error
        if remote.error is not None:
            raise remote.error

    def _inspect(self, remote: RemoteFile, asset: str, href: str) -> OpenFile:
        driver, structure = parse_structure(remote)
        dataset = self._dataset(remote, href, driver, structure)
        _check_georeference(dataset, remote)
        layout = Layout(dataset.width, dataset.height, dataset.transform, dataset.crs)
        crs = CRS.from_wkt(layout.crs.to_wkt())
        to_file = get_transformer(get_crs(self._whole), crs)
        header = read_header(dataset, asset, _measure_pixel_m(layout, crs, to_file, self._whole))
        for reason in find_misfits(header, self._profile):
            raise remote.unfit(reason)
        return OpenFile(
            remote,
            layout,
            structure,
            crs,
            to_file,
            _compute_step(layout, to_file, self._whole),
            header,
            self._budget,
            partial(self._dataset, remote, href, driver, structure),
        )

    def _dataset(self, remote: RemoteFile, href: str, driver: str, structure: Structure) -> DatasetReader:
        """Open the file, closing others when too many are open."""
        if href not in self._open:
            held = structure.held_bytes
            while self._open and not self._has_room(held):
                _, (oldest, _) = self._open.popitem(last=False)
                oldest.close()
            # unique, because rasterio tells openers apart by name
            name = f"asset{next(self._names)}"
            self._open[href] = open_dataset(remote, driver, name), held
        self._open.move_to_end(href)
        return self._open[href][0]

    def _has_room(self, held: int) -> bool:
        others = sum(one for _, one in self._open.values())
        return len(self._open) < _MAX_OPEN_FILES and others + held <= _MAX_OPEN_BYTES

    def _close_all(self) -> None:
        while self._open:
            _, (dataset, _) = self._open.popitem()
            dataset.close()


def open_dataset(file: RemoteFile, driver: str, name: str) -> DatasetReader:
    """Open a file with one driver of GDAL, which sees no other file; ``name`` must be unique in the process."""
    return rasterio.open(name, driver=driver, opener=_Opener(file, name))


def parse_structure(file: RemoteFile) -> tuple[str, Structure]:
    """Return GDAL's driver of a file and the file's structure.

    Raises
    ------
    UnfitStructure
        The file exceeds a limit, or is damaged.
    ReadFailed
        It is of no format that is read.
    """
    head = file.read(0, 64)
    for magic, (driver, structure) in _FORMATS.items():
        if head.startswith(magic):
            return driver, structure(file.read)
    raise file.failure("it is neither GeoTIFF nor JPEG 2000")


class _Opener:
    """File system for GDAL that holds exactly one file."""

    def __init__(self, file: RemoteFile, name: str) -> None:
        self._file = file
        self._name = name

    def open(self, path: str, mode: str = "rb", **_: object) -> RemoteFileObject:
        """Open a new cursor on the file."""
        if not self.isfile(path):
            raise FileNotFoundError(path)
        return RemoteFileObject(self._file)

    def isfile(self, path: str) -> bool:
        """Whether the path is this file."""
        return path.rpartition("/")[2] == self._name

    def isdir(self, path: str) -> bool:
        """Whether the path is a folder: never."""
        return False

    def ls(self, path: str) -> list[str]:
        """List sidecar files: there are none."""
        return []

    def mtime(self, path: str) -> int:
        """Modification time: unknown."""
        return 0

    def size(self, path: str) -> int:
        """Size of the file in bytes."""
        return self._file.size


MultiByteRangeResourceContainer.register(_Opener)


def _check_georeference(dataset: DatasetReader, file: RemoteFile) -> None:
    if dataset.crs is None or dataset.transform.is_identity:
        raise file.unfit("it has no georeference")
    west, south, east, north = dataset.bounds
    if dataset.crs.is_geographic and max(abs(west), abs(east)) > _MAX_LONGITUDE:
        raise file.unfit(
            f"its CRS is in degrees, but its bounds {west:g}, {south:g}, {east:g}, {north:g} are not (metres?); assign "
            "the CRS of its coordinates to the file"
        )


def _measure_pixel_m(layout: Layout, crs: CRS, to_file: Transformer, grid: GeoBox) -> float | None:
    """Length in metres of a file pixel's longer side, at the middle of the grid or of the file."""
    reached = _project_grid(layout, to_file, grid)
    col, row = layout.width / 2, layout.height / 2
    if reached is not None:
        col, row = (
            float(np.clip((at.min() + at.max()) / 2, 0, size))
            for at, size in zip(reached, (layout.width, layout.height), strict=True)
        )
    corners = np.array([col, col + 1, col]), np.array([row, row, row + 1])
    to_lonlat = get_transformer(crs, LONLAT)
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


def find_cut(file: OpenFile, grid: GeoBox) -> Cut | None:
    """Find the part of the file that a window of the whole grid needs; None when the file does not reach it."""
    layout = file.layout
    reached = _project_grid(layout, file.to_file, grid)
    if reached is None or not file.step:
        return None
    at_col, at_row = reached
    step = file.step
    rim = 2 * step
    # whole cells of ``step`` pixels, counted from the file's corner: every window averages the same pixels
    left, top = (max(0, math.floor(at.min()) - rim) // step * step for at in (at_col, at_row))
    right = min(layout.width // step * step, -(-(math.ceil(at_col.max()) + rim) // step) * step)
    bottom = min(layout.height // step * step, -(-(math.ceil(at_row.max()) + rim) // step) * step)
    if left >= right or top >= bottom:
        return None
    shape = ((bottom - top) // step, (right - left) // step)
    transform = layout.transform @ Affine.translation(left, top) @ Affine.scale(step)
    return Cut(Window(left, top, right - left, bottom - top), shape, transform)


def _compute_step(layout: Layout, to_file: Transformer, whole: GeoBox) -> int:
    """File pixels along one grid pixel, the same for every window; 0 where the file does not reach the grid."""
    reached = _project_grid(layout, to_file, whole)
    if reached is None:
        return 0
    sizes = (np.ptp(at) / length for at, length in zip(reached, (whole.width, whole.height), strict=True))
    return max(1, math.floor(min(sizes) + 1e-6))


def _project_grid(layout: Layout, to_file: Transformer, grid: GeoBox) -> tuple[_Points, _Points] | None:
    """(n,) columns and (n,) rows of the file at points all over the grid; None when none can be projected."""
    # not only the corners: straight edges bend between projections
    cols, rows = np.meshgrid(np.linspace(0, grid.width, 33), np.linspace(0, grid.height, 33))
    x, y = to_file.transform(*_apply(grid.transform, cols.ravel(), rows.ravel()))
    if layout.crs.is_geographic:
        # longitudes come within 180 degrees; a file's own may go on beyond them, or run from 0 to 360
        middle, _ = layout.transform @ (layout.width / 2, layout.height / 2)
        x = x - _TURN * np.round((x - middle) / _TURN)
    at_col, at_row = _apply(~layout.transform, x, y)
    inside = np.isfinite(at_col) & np.isfinite(at_row)
    return (at_col[inside], at_row[inside]) if inside.any() else None


def _apply(transform: Affine, cols: _Points, rows: _Points) -> tuple[_Points, _Points]:
    """Apply an affine transform to arrays of points."""
    x = transform.a * cols + transform.b * rows + transform.c
    y = transform.d * cols + transform.e * rows + transform.f
    return x, y
