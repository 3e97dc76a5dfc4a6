"""Look at one local file: its header, and a small sample of its pixels.

Files are opened as those of any source are (:mod:`segwatch.geo.sources.rasters.files`): with limits on their structure
before GDAL sees them, without sidecar files, and decoding no more than a stated number of bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Geod
from pyproj.exceptions import CRSError
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.transform import from_gcps
from rasterio.windows import Window
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from segwatch.geo.antimeridian import split_at_antimeridian
from segwatch.geo.crs import LONLAT, get_transformer
from segwatch.geo.errors import GeoError, ReadFailed, UnusableFile, is_machine_failure
from segwatch.geo.local_addresses import Root, make_address, make_grant
from segwatch.geo.sources.http.connections import SceneConnections
from segwatch.geo.sources.http.ranges import RemoteFile
from segwatch.geo.sources.local.bands import BandMeaning, infer_bands
from segwatch.geo.sources.rasters.decode_budget import GATE
from segwatch.geo.sources.rasters.files import ENVIRONMENT, open_dataset, parse_structure
from segwatch.geo.sources.rasters.nodata import read_bands
from segwatch.geo.sources.rasters.structure import Structure, UnfitStructure

#: Longest side of a sample, and the bytes that may be decoded for it; of larger files the middle alone is sampled.
_SAMPLE_PX = 768
_MAX_SAMPLE_BYTES = 1024**3
#: Points along each edge of a file whose positions make its footprint: straight edges bend between projections.
_EDGE_POINTS = 17
#: A centimetre: vertices that shift an edge by less are left out.
_SAME_DEGREES = 1e-7
_MAX_LATITUDE, _MAX_LONGITUDE = 90.0, 540.0
#: More control points are none that a person set.
_MAX_CONTROL_POINTS = 20_000
#: Farther control points mean that the picture is distorted.
_MAX_RESIDUAL_PX = 2.0
#: Levels of transparency between nothing and all; a band with more is a picture.
_MAX_LEVELS = 16
_INK = frozenset({ColorInterp.cyan, ColorInterp.magenta, ColorInterp.yellow, ColorInterp.black})
_LUMA = frozenset({ColorInterp.Y, ColorInterp.Cb, ColorInterp.Cr})
_ELLIPSOID = Geod(ellps="WGS84")
_NAMES = count()

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """Some pixels of a file, decimated."""

    rgb: NDArray[np.float32]
    """(3, h, w) stored values of red, green and blue (8-bit colours of a palette); NaN where not valid."""
    window: tuple[int, int, int, int]
    """Sampled part of the file: left, top, width, height in its pixels."""
    step: int
    """File pixels along one pixel of the sample."""

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(h, w)."""
        return np.asarray(np.isfinite(self.rgb).all(axis=0))


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What one file is."""

    width: int
    height: int
    dtype: str
    bands: BandMeaning
    band_count: int
    crs: CRS
    transform: Affine
    """From pixel (column, row) to the CRS; of control points, the affine transform that fits them best."""
    control_points: bool
    """Whether it is georeferenced by ground control points."""
    palette: bool
    white_is_zero: bool
    nodata: float | None
    """Declared nodata value of the red band."""
    masked: bool
    """Whether it has a mask or an alpha band."""
    false_alpha: bool
    """Whether its last band is marked as alpha and holds a picture, such as near infrared."""
    gsd_m: float
    """Length of a pixel's longer side on the ground at its middle, metres."""
    footprint: BaseGeometry
    """EPSG:4326, split at the antimeridian."""
    tags: dict[str, str]
    has_overviews: bool
    sample: Sample

    @property
    def bands_text(self) -> str:
        """The meaning of the bands, as people read it."""
        return "of the palette" if self.palette else self.bands.text

    @property
    def is_south_up(self) -> bool:
        """Whether rows run from south to north."""
        return self.transform.e > 0 and not self.is_rotated

    @property
    def is_rotated(self) -> bool:
        """Whether rows do not run along an axis of the CRS."""
        return max(abs(self.transform.b), abs(self.transform.d)) > 1e-9 * max(
            abs(self.transform.a), abs(self.transform.e)
        )

    @property
    def traits(self) -> tuple[str, ...]:
        """What is special about it, in words."""
        found = {
            "palette": self.palette,
            "control points": self.control_points,
            "rotated": self.is_rotated and not self.control_points,
            "south-up": self.is_south_up and not self.control_points,
            "mask": self.masked,
            f"nodata {self.nodata:g}" if self.nodata is not None else "": self.nodata is not None,
            "white is 0": self.white_is_zero,
        }
        return tuple(name for name, is_so in found.items() if is_so)


@contextmanager
def open_file(
    shared: SceneConnections, source: str, root: Root, below: str, stamp: str
) -> Iterator[tuple[DatasetReader, Structure]]:
    """Open a file of a root for a block; whatever goes wrong with it becomes an UnusableFile.

    Parameters
    ----------
    source
        Name of the source that it belongs to, or will.
    below
        Path below the root; empty where the root is the file.

    Raises
    ------
    UnusableFile
        With the reason.
    """
    href = make_address(source, root.label, below, stamp)
    dataset: DatasetReader | None = None
    remote: RemoteFile | None = None
    try:
        remote = RemoteFile(shared, "image", href, [make_grant(source, root)])
        driver, structure = parse_structure(remote)
        with rasterio.Env(**ENVIRONMENT):
            dataset = open_dataset(remote, driver, f"local{next(_NAMES)}")
            yield dataset, structure
        if remote.error is not None:
            raise remote.error
    except UnfitStructure as error:
        raise UnusableFile(str(error)) from error
    except UnusableFile:
        raise
    except GeoError as error:
        raise UnusableFile(error.reason if isinstance(error, ReadFailed) else str(error)) from error
    except (RasterioError, OSError, MemoryError) as error:
        failed = remote.error if remote is not None else None
        if failed is None and is_machine_failure(error):
            raise
        reason = getattr(failed, "reason", None) or f"it is damaged or cut off ({type(error).__name__})"
        raise UnusableFile(reason) from error
    finally:
        if dataset is not None:
            dataset.close()


def inspect_file(
    shared: SceneConnections,
    source: str,
    root: Root,
    below: str,
    stamp: str,
    *,
    name: str,
    bands: BandMeaning | None = None,
) -> FileFacts:
    """Find out what a file is; parameters and errors as of :func:`open_file`.

    Parameters
    ----------
    name
        Name of the file, which may tell its bands.
    bands
        Meaning of the bands, if the user said so.
    """
    with open_file(shared, source, root, below, stamp) as (dataset, structure):
        colours = tuple(dataset.colorinterp)
        palette = ColorInterp.palette in colours
        false_alpha = _has_false_alpha(dataset, structure)
        meaning = bands or infer_bands(name, colours, dataset.descriptions)
        if palette:
            meaning = BandMeaning(1, 1, 1, (), "palette")
        _check_values(dataset, colours, meaning)
        control_points, crs, transform = _find_georeference(dataset)
        footprint = _compute_footprint(crs, transform, dataset.width, dataset.height)
        sample = _read_sample(dataset, structure, meaning, palette=palette, masked=not false_alpha)
        return FileFacts(
            dataset.width,
            dataset.height,
            dataset.dtypes[meaning.red - 1],
            meaning,
            dataset.count,
            crs,
            transform,
            control_points,
            palette,
            dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES",
            dataset.nodatavals[meaning.red - 1],
            _is_masked(dataset) and not false_alpha,
            false_alpha,
            _measure_gsd_m(crs, transform, dataset.width, dataset.height),
            footprint,
            {**dataset.tags(), **dataset.tags(ns="IMAGERY")},
            bool(dataset.overviews(1)),
            sample,
        )


def join_bands(facts: Sequence[FileFacts], product: str) -> FileFacts:
    """Join what the files of red, green and blue are to what their image is.

    Raises
    ------
    UnusableFile
        They lie on different grids, or hold different types of values.
    """
    red, green, blue = facts
    for one in facts:
        if one.band_count != 1:
            raise UnusableFile("a file of one of its bands has several bands")
        if (one.width, one.height, one.transform, one.dtype) != (
            red.width,
            red.height,
            red.transform,
            red.dtype,
        ):
            raise UnusableFile(
                "the files of its bands differ in grid or type of values; resample them to one grid"
            )
    rgb = np.stack([one.sample.rgb[0] for one in facts])
    return replace(
        red,
        bands=BandMeaning(1, 1, 1, (), "names of the files", product),
        tags={**blue.tags, **green.tags, **red.tags},
        sample=replace(red.sample, rgb=rgb),
    )


def _check_values(dataset: DatasetReader, colours: tuple[ColorInterp, ...], meaning: BandMeaning) -> None:
    if max(meaning.rgb) > dataset.count or any(number > dataset.count for _, number in meaning.further):
        raise UnusableFile(f"it has {dataset.count} bands, fewer than --bands names")
    if any(np.dtype(dataset.dtypes[number - 1]).kind == "c" for number in meaning.rgb):
        raise UnusableFile("its values are complex numbers; publish their amplitude")
    if _INK & set(colours):
        raise UnusableFile("its colours are inks (CMYK); convert it to RGB")
    if _LUMA & set(colours):
        raise UnusableFile("its colours are YCbCr; convert it to RGB")


def _is_masked(dataset: DatasetReader) -> bool:
    flags = {flag.name for flag in dataset.mask_flag_enums[0]}
    return ColorInterp.alpha in dataset.colorinterp or ("per_dataset" in flags and "nodata" not in flags)


def _has_false_alpha(dataset: DatasetReader, structure: Structure) -> bool:
    """Whether the last band is marked as alpha, as GDAL marks the fourth one by default, and holds a picture.

    Transparency is all or nothing but for a few pixels along an edge.
    """
    dtype = np.dtype(dataset.dtypes[-1])
    if dataset.count < 4 or dataset.colorinterp[-1] is not ColorInterp.alpha or dtype.kind != "u":
        return False
    (left, top, width, height), step = _choose_window(dataset, structure, 1)
    window, shape = Window(left, top, width, height), (height // step, width // step)
    with GATE.hold(2 * structure.largest_block):
        values = dataset.read(dataset.count, window=window, out_shape=shape)
    between = values[(values > 0) & (values < np.iinfo(dtype).max)]
    return between.size > values.size / 2 and len(np.unique(between)) > _MAX_LEVELS


def _find_georeference(dataset: DatasetReader) -> tuple[bool, CRS, Affine]:
    """Whether it is by control points, the CRS, and the transform."""
    points, points_crs = dataset.gcps
    by_points = bool(points) and dataset.transform.is_identity
    given = points_crs if by_points else dataset.crs
    if by_points and not 3 <= len(points) <= _MAX_CONTROL_POINTS:
        raise UnusableFile(f"it has {len(points)} ground control points; at least 3 are needed")
    if not by_points and dataset.transform.is_identity:
        raise UnusableFile(
            "it has no georeference; assign one (gdal_edit.py -a_srs EPSG:... -a_ullr ..., or QGIS's Georeferencer)"
        )
    if given is None:
        raise UnusableFile("it has no CRS; assign that of its coordinates (gdal_edit.py -a_srs EPSG:...)")
    try:
        crs = CRS.from_wkt(given.to_wkt())
    except (CRSError, RasterioError) as error:
        raise UnusableFile(
            "its CRS is unknown; assign that of its coordinates (gdal_edit.py -a_srs EPSG:...)"
        ) from error
    transform = from_gcps(points) if by_points else dataset.transform
    if not np.isfinite(transform).all() or transform.is_degenerate:
        raise UnusableFile("its georeference is degenerate: a pixel has no area")
    if by_points:
        _check_control_points(points, transform)
    return by_points, crs, transform


def _check_control_points(points: Sequence[GroundControlPoint], transform: Affine) -> None:
    """Refuse control points that no affine transform fits: their picture must be warped."""
    inverse = ~transform
    x, y = (np.array([getattr(one, axis) for one in points]) for axis in "xy")
    cols = inverse.a * x + inverse.b * y + inverse.c
    rows = inverse.d * x + inverse.e * y + inverse.f
    off = np.hypot(cols - [one.col for one in points], rows - [one.row for one in points]).max()
    if not off <= _MAX_RESIDUAL_PX:
        raise UnusableFile(
            f"its ground control points lie up to {off:.0f} pixels from any affine transform; warp it with "
            "gdalwarp -tps first"
        )


def _project(crs: CRS, transform: Affine, cols: Points, rows: Points) -> tuple[Points, Points]:
    """(n,) longitudes and latitudes of points in pixels."""
    x = transform.a * cols + transform.b * rows + transform.c
    y = transform.d * cols + transform.e * rows + transform.f
    lons, lats = get_transformer(crs, LONLAT).transform(x, y)
    if not (np.isfinite(lons).all() and np.isfinite(lats).all()):
        raise UnusableFile("its corners lie outside the area of its CRS; check the CRS that it declares")
    if np.abs(lats).max() > _MAX_LATITUDE or np.abs(lons).max() > _MAX_LONGITUDE:
        raise UnusableFile("its corners are no longitudes and latitudes; check the CRS that it declares")
    return lons, lats


def _compute_footprint(crs: CRS, transform: Affine, width: int, height: int) -> BaseGeometry:
    along = np.linspace(0, 1, _EDGE_POINTS)[:-1]
    zero, one = np.zeros_like(along), np.ones_like(along)
    cols = np.concatenate([along, one, 1 - along, zero]) * width
    rows = np.concatenate([zero, along, one, 1 - along]) * height
    lons, lats = _project(crs, transform, cols, rows)
    lons = (lons + 180) % 360 - 180 if np.abs(lons).max() > 180 else lons
    ring = orient(Polygon(np.round(np.column_stack([lons, lats]), 8)))
    footprint = split_at_antimeridian(ring.simplify(_SAME_DEGREES))
    if footprint.is_empty or not footprint.area:
        raise UnusableFile("it covers no ground")
    return footprint


def _measure_gsd_m(crs: CRS, transform: Affine, width: int, height: int) -> float:
    col, row = width / 2, height / 2
    lons, lats = _project(crs, transform, np.array([col, col + 1, col]), np.array([row, row, row + 1]))
    _, _, lengths = _ELLIPSOID.inv([lons[0]] * 2, [lats[0]] * 2, lons[1:], lats[1:])
    if not max(lengths) > 0:
        raise UnusableFile("a pixel of it has no length on the ground")
    return float(max(lengths))


def _read_sample(
    dataset: DatasetReader, structure: Structure, meaning: BandMeaning, *, palette: bool, masked: bool
) -> Sample:
    window, step = _choose_window(dataset, structure, 1 if palette else 3)
    left, top, width, height = window
    shape = height // step, width // step
    part = Window(left, top, shape[1] * step, shape[0] * step)
    with GATE.hold(2 * structure.largest_block):
        if palette:
            rgb = _read_palette(dataset, part, shape)
        elif not masked:
            rgb = dataset.read(list(meaning.rgb), window=part, out_shape=(3, *shape)).astype(np.float32)
            rgb[:, (rgb == dataset.nodatavals[0]).all(axis=0)] = np.nan
        else:
            numbers = list(dict.fromkeys(meaning.rgb))
            values, _ = read_bands(dataset, numbers, None, part, shape)
            rgb = values[[numbers.index(number) for number in meaning.rgb]]
    return Sample(rgb, (left, top, shape[1] * step, shape[0] * step), step)


def _choose_window(
    dataset: DatasetReader, structure: Structure, bands: int
) -> tuple[tuple[int, int, int, int], int]:
    """Window to sample (left, top, width, height), and step: the whole file if its decoding costs little enough."""
    width, height = dataset.width, dataset.height
    left, top = 0, 0
    while True:
        step = max(1, math.ceil(max(width, height) / _SAMPLE_PX))
        step = min(step, width, height)
        sides = (left, top, left + width, top + height)
        if structure.decoded_bytes(sides, step, bands, masked=True) <= _MAX_SAMPLE_BYTES:
            return (left, top, width, height), step
        if min(width, height) <= _SAMPLE_PX:
            raise UnusableFile(
                "a small part of it cannot be read without decoding more than 1 GiB; make it cloud-optimized "
                "(gdal_translate -of COG)"
            )
        left, top, width, height = left + width // 4, top + height // 4, width // 2, height // 2


def read_colours(dataset: DatasetReader) -> NDArray[np.float32]:
    """(256 or more, 3) colour of each value of a palette; NaN where the colour is transparent.

    Raises
    ------
    UnusableFile
        The file has no colour table.
    """
    try:
        table = dataset.colormap(1)
    except ValueError as error:
        raise UnusableFile("its band is of a palette, but it has no colour table") from error
    size = 65_536 if dataset.dtypes[0] == "uint16" else 256
    colours = np.full((size, 3), np.nan, np.float32)
    for value, (red, green, blue, alpha) in table.items():
        if 0 <= value < size and alpha:
            colours[value] = red, green, blue
    nodata = dataset.nodatavals[0]
    if nodata is not None and 0 <= nodata < size:
        colours[int(nodata)] = np.nan
    return colours


def _read_palette(dataset: DatasetReader, window: Window, shape: tuple[int, int]) -> NDArray[np.float32]:
    if dataset.dtypes[0] not in {"uint8", "uint16"}:
        raise UnusableFile(f"the values of its palette are of type {dataset.dtypes[0]}")
    values = dataset.read(1, window=window, out_shape=shape)
    valid = dataset.read_masks(1, window=window, out_shape=shape) != 0
    rgb = read_colours(dataset)[values]
    rgb[~valid] = np.nan
    return np.ascontiguousarray(np.moveaxis(rgb, -1, 0))
