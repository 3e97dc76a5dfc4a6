"""Read a scene's pixels on a grid: only the windows that the grid needs, by HTTP ranges.

Depends on rasterio for warping; :mod:`segwatch.geo.sources.rasters.files` says how files are opened.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import rasterio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.warp import reproject

from segwatch.geo.clouds import find_clear
from segwatch.geo.errors import ReadFailed, SourceFailed, UnfitPixels, UnsafeHref
from segwatch.geo.grid import get_crs
from segwatch.geo.items import get_cloud_cover, is_offset_unknown
from segwatch.geo.raster import BAND_YX, RGB, YX, make_coordinates
from segwatch.geo.sentinel2 import is_offset_removed
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.http.connections import open_connections
from segwatch.geo.sources.http.credentials import NO_CREDENTIALS, Credentials
from segwatch.geo.sources.rasters.files import ENVIRONMENT, AssetFiles, Cut, OpenFile, find_cut
from segwatch.geo.sources.rasters.header_check import MIN_POWER, Header
from segwatch.geo.sources.rasters.nodata import find_mask_nodata, read_bands, read_classes
from segwatch.geo.types.scene import Item, Scene, to_baseline_key
from segwatch.geo.types.source import CloudMask, Profile

Mask = NDArray[np.bool_]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SceneWindow:
    """A scene's pixels on a window of its grid; the rasters share coordinates, CRS and transform."""

    bands: xr.DataArray
    """(band: red, green, blue; y, x) float32, scale and offset applied; 0 where not valid."""
    valid: xr.DataArray
    """(y, x) bool: the pixel holds data."""
    clear: xr.DataArray
    """(y, x) bool: valid and free of cloud and shadow. Equal to ``valid`` when the profile has no mask."""
    bytes_read: int
    """Bytes received over the network since the scene was opened."""
    spectral: xr.DataArray | None = None
    """(band: names of ``profile.spectral``; y, x) float32, scale and offset applied, or decibels; NaN where not
    valid or missing. None unless asked for."""


@dataclass(frozen=True, slots=True)
class _ItemWindow:
    """One item on the grid; invalid pixels are NaN."""

    bands: NDArray[np.float32]
    valid: Mask
    clear: Mask
    spectral: NDArray[np.float32] | None


def read_scene(
    scene: Scene,
    profile: Profile,
    grid: GeoBox,
    *,
    allowed_hosts: Sequence[str],
    credentials: Credentials = NO_CREDENTIALS,
    seconds: float = math.inf,
) -> SceneWindow:
    """Read the whole grid at once; parameters and errors as for :func:`open_scene`."""
    with open_scene(
        scene, profile, grid, allowed_hosts=allowed_hosts, credentials=credentials, seconds=seconds
    ) as reader:
        return reader.read(grid)


@contextmanager
def open_scene(
    scene: Scene,
    profile: Profile,
    grid: GeoBox,
    *,
    allowed_hosts: Sequence[str],
    credentials: Credentials = NO_CREDENTIALS,
    seconds: float = math.inf,
    spectral: bool = False,
) -> Iterator[SceneReader]:
    """Open a scene for reading; files are opened when a window first needs them and closed after the block.

    Parameters
    ----------
    grid
        The whole grid that windows will be taken from.
    allowed_hosts
        As in :func:`segwatch.geo.sources.http.hrefs.check`.
    credentials
        What ``profile.access`` needs.
    seconds
        Time limit for all network access, for readers on whom somebody waits.
    spectral
        Whether to read the bands for spectral evidence, too. They are optional: where one of their files is missing or
        unfit, its values are NaN.

    Raises
    ------
    ReadFailed
        An asset cannot be read. A window is returned whole or not at all, so that no gap passes for a scene.
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
        opened = AssetFiles(shared, allowed_hosts, files, grid, profile)
        yield SceneReader(scene, profile, opened, SpectralReader(profile, opened) if spectral else None)


class SceneReader:
    """Reads windows of an open scene; for one thread."""

    def __init__(
        self, scene: Scene, profile: Profile, files: AssetFiles, spectral: SpectralReader | None = None
    ) -> None:
        self._items = sorted(scene.items, key=_least_cloud_then_newest)
        self._profile = profile
        self._files = files
        self._spectral = spectral

    def read(self, grid: GeoBox) -> SceneWindow:
        """Mosaic the scene's items on a window of the whole grid.

        Items with less cloud come first, then newer ones; the first clear pixel wins, then the first valid one.
        Bands are resampled bilinearly, masks by nearest neighbour.
        """
        # items are merged in place in plain arrays: xarray's where() allocates a second mosaic (ADR 0011)
        bands = np.zeros((3, *grid.shape), np.float32)
        valid = np.zeros(grid.shape, bool)
        clear = valid.copy()
        coordinates = make_coordinates(grid)
        names = [one.name for one in self._profile.spectral] if self._spectral is not None else []
        spectral = np.full((len(names), *grid.shape), np.nan, np.float32)
        for item in self._items:
            part = self._read_item(item, grid, coordinates)
            if part is None:
                continue
            better = part.valid & (~valid | (part.clear & ~clear))
            np.copyto(bands, part.bands, where=better)
            if part.spectral is not None:
                np.copyto(spectral, part.spectral, where=better)
            valid |= better
            clear |= better & part.clear
            if clear.all():
                break
        return SceneWindow(
            xr.DataArray(bands, dims=BAND_YX, coords=coordinates.assign(band=list(RGB))),
            xr.DataArray(valid, dims=YX, coords=coordinates),
            xr.DataArray(clear, dims=YX, coords=coordinates),
            self._files.bytes_read,
            xr.DataArray(spectral, dims=BAND_YX, coords=coordinates.assign(band=names)) if names else None,
        )

    def headers(self) -> list[Header]:
        """List the header facts of the best item's files, one for each asset of the profile."""
        item, found = self._items[0], []
        for asset in self._profile.assets():
            with self._files.use(asset, item.assets[asset]) as file:
                found.append(file.header)
        return found

    def mask_values(self, grid: GeoBox) -> list[int]:
        """List the distinct values of the best item's cloud mask on a window; empty without a mask."""
        clouds, item = self._profile.clouds, self._items[0]
        if clouds is None:
            return []
        with self._files.use(clouds.band.asset, item.assets[clouds.band.asset]) as file:
            values, covered = _warp_classes(file, clouds, grid, find_cut(file, grid))
        return [int(value) for value in np.unique(values[covered])]

    def _read_item(self, item: Item, grid: GeoBox, coordinates: xr.Coordinates) -> _ItemWindow | None:
        """None when the item does not reach the window."""
        profile = self._profile
        wanted = profile.bands()
        bands = np.full((len(wanted), *grid.shape), np.nan, np.float32)
        for asset in dict.fromkeys(band.asset for band in wanted):
            places = [place for place, band in enumerate(wanted) if band.asset == asset]
            with self._files.use(asset, item.assets[asset]) as file:
                cut = find_cut(file, grid)
                if cut is None:
                    return None
                indices = [wanted[place].index for place in places]
                bands[places] = _warp_bands(file, indices, profile.nodata, grid, cut)
        # a pixel missing in one file is invalid; for bands of one file see the module nodata
        valid: Mask = np.asarray(np.isfinite(bands).all(axis=0))
        bands *= profile.scale
        bands += compute_offset(item, profile)
        if profile.decibels:
            bands = to_decibels(bands)
        spectral = None
        if self._spectral is not None and valid.any():
            known = {(band.asset, band.index): values for band, values in zip(wanted, bands, strict=True)}
            spectral = self._spectral.read(item, grid, known)
        bands = _to_rendered_bands(bands, profile)
        if profile.clouds is None or not valid.any():
            return _ItemWindow(bands, valid, valid.copy(), spectral)
        clear = valid & self._read_clear(item, profile.clouds, grid, coordinates)
        return _ItemWindow(bands, valid, clear, spectral)

    def _read_clear(self, item: Item, clouds: CloudMask, grid: GeoBox, coordinates: xr.Coordinates) -> Mask:
        asset = clouds.band.asset
        with self._files.use(asset, item.assets[asset]) as file:
            values, covered = _warp_classes(file, clouds, grid, find_cut(file, grid))
        clear = find_clear(xr.DataArray(values, dims=YX, coords=coordinates), clouds)
        return np.asarray(clear.values & covered)


def _least_cloud_then_newest(item: Item) -> tuple[float, float, str]:
    cover = get_cloud_cover(item)
    return 101.0 if cover is None else cover, -item.acquired_at.timestamp(), item.id


def _to_rendered_bands(bands: NDArray[np.float32], profile: Profile) -> NDArray[np.float32]:
    """(B, H, W) scaled values of ``profile.bands()`` -> (3, H, W) values that rendering stretches."""
    others = iter(bands[3:])
    for place, band in enumerate((profile.red, profile.green, profile.blue)):
        if band.minus is not None:
            bands[place] -= next(others)
    return bands[:3]


def to_decibels(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert linear power to decibels, at least -60 dB."""
    return np.asarray(10 * np.log10(np.maximum(power, np.float32(MIN_POWER))), np.float32)


class SpectralReader:
    """Reads the bands of ``profile.spectral``; those that are rendered, too, are not read again."""

    def __init__(self, profile: Profile, files: AssetFiles) -> None:
        self._profile = profile
        self._files = files
        self._unusable: set[str] = set()
        """Hrefs of files that are missing or unfit."""

    def read(
        self, item: Item, grid: GeoBox, known: Mapping[tuple[str, int], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """Read a window of one item.

        Parameters
        ----------
        known
            Scaled values (H, W), or decibels, of bands that were read already, by asset and index.

        Returns
        -------
        NDArray[np.float32]
            (bands, H, W), NaN where there is no data.
        """
        profile = self._profile
        found = np.full((len(profile.spectral), *grid.shape), np.nan, np.float32)
        missing: dict[str, list[int]] = {}
        for place, one in enumerate(profile.spectral):
            values = known.get((one.band.asset, one.band.index))
            if values is not None:
                found[place] = values
            elif item.assets.get(one.band.asset, "") not in {"", *self._unusable}:
                missing.setdefault(one.band.asset, []).append(place)
        for asset, places in missing.items():
            self._read_asset(item, asset, places, grid, found)
        return found

    def _read_asset(
        self, item: Item, asset: str, places: list[int], grid: GeoBox, found: NDArray[np.float32]
    ) -> None:
        profile, href = self._profile, item.assets[asset]
        try:
            with self._files.use(asset, href) as file:
                cut = find_cut(file, grid)
                indices = [profile.spectral[place].band.index for place in places]
                if cut is None or max(indices) > len(file.header.dtypes):
                    return
                values = _warp_bands(file, indices, profile.nodata, grid, cut)
        except SourceFailed:
            raise  # an outage: the scene is read again
        except (ReadFailed, UnsafeHref) as error:
            _log.warning("no spectral evidence from %s of item %s: %s", asset, item.id, error)
            self._unusable.add(href)
            return
        values = values * np.float32(profile.scale) + np.float32(compute_offset(item, profile))
        found[places] = to_decibels(values) if profile.decibels else values


def compute_offset(item: Item, profile: Profile) -> float:
    """Return the constant to add to the item's scaled values.

    Sentinel-2 producers add a constant since one processing baseline; some catalogs subtract it again and
    say so in a property of the item.

    Raises
    ------
    UnfitPixels
        The item does not say whether its values contain the constant. A wrong guess is an error of 0.1 reflectance.
    """
    if not profile.offset_from_baseline:
        return 0.0 if is_offset_removed(item.properties) else profile.offset
    if is_offset_unknown(item.properties, item.processing_baseline, item.acquired_at):
        reason = f"the processing baseline of item {item.id} is unknown, and with it the offset of its values"
        raise UnfitPixels(profile.red.asset, item.href, reason)
    first = to_baseline_key(profile.offset_from_baseline)
    if is_offset_removed(item.properties) or to_baseline_key(item.processing_baseline) < first:
        return 0.0
    return profile.offset


def _warp_bands(
    file: OpenFile, indices: list[int], nodata: float | None, grid: GeoBox, cut: Cut
) -> NDArray[np.float32]:
    """(bands, H, W) on the grid, NaN where the file has no data."""
    with file.decoding(cut, len(indices)) as dataset:
        values, valid = read_bands(dataset, indices, nodata, cut.window, cut.shape)
    crs = file.layout.crs
    aligned = _find_aligned(file, cut, grid)
    if aligned is not None:
        return np.ascontiguousarray(values[(slice(None), *aligned)])
    result = np.full((len(indices), *grid.shape), np.nan, np.float32)
    _reproject(values, result, cut, crs, grid, Resampling.bilinear)
    imaged = np.zeros(grid.shape, np.uint8)
    _reproject(valid.astype(np.uint8), imaged, cut, crs, grid, Resampling.nearest)
    # bilinear weights reach half a pixel beyond the valid pixels
    result[:, imaged == 0] = np.nan
    return result


def _find_aligned(file: OpenFile, cut: Cut, grid: GeoBox) -> tuple[slice, slice] | None:
    """Rows and columns of the cut that coincide with the grid's pixels; None when the cut must be resampled."""
    offset = ~cut.transform @ grid.transform
    col, row = round(offset.c), round(offset.f)
    same = offset.almost_equals(Affine.translation(col, row), precision=1e-6)
    whole = 0 <= row <= cut.shape[0] - grid.height and 0 <= col <= cut.shape[1] - grid.width
    if not (same and whole and file.crs == get_crs(grid)):
        return None
    return slice(row, row + grid.height), slice(col, col + grid.width)


def _warp_classes(
    file: OpenFile, clouds: CloudMask, grid: GeoBox, cut: Cut | None
) -> tuple[NDArray[np.int32], Mask]:
    """(H, W) class values on the grid, and (H, W) where the mask has data."""
    values = np.zeros(grid.shape, np.int32)
    covered = np.zeros(grid.shape, np.uint8)
    if cut is None:
        return values, covered.astype(bool)
    index, crs = clouds.band.index, file.layout.crs
    with file.decoding(cut, 1) as dataset:
        nodata = find_mask_nodata(dataset, index, (*clouds.unclear_values, *clouds.invalid_values))
        found, valid = read_classes(dataset, index, nodata, cut.window, cut.shape)
    _reproject(found, values, cut, crs, grid, Resampling.nearest)
    _reproject(valid.astype(np.uint8), covered, cut, crs, grid, Resampling.nearest)
    return values, covered.astype(bool)


def _reproject(
    values: NDArray[np.generic],
    result: NDArray[np.generic],
    cut: Cut,
    crs: rasterio.crs.CRS,
    grid: GeoBox,
    resampling: Resampling,
) -> None:
    """Warp into ``result``; its pixels stay as they are where ``values`` end or are NaN."""
    floating = np.issubdtype(values.dtype, np.floating)
    reproject(
        values,
        result,
        src_transform=cut.transform,
        src_crs=crs,
        dst_transform=grid.transform,
        dst_crs=get_crs(grid).to_wkt(),
        resampling=resampling,
        src_nodata=np.nan if floating else None,
        dst_nodata=np.nan if floating else None,
        init_dest_nodata=floating,
    )
