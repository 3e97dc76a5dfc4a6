"""Compare a file's header with its profile, to find mistakes without reading a pixel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from segwatch.geo.rendering import get_limits
from segwatch.geo.types.source import BandRef, Profile

#: Largest file pixel, in pixels of the profile: coarser files lack the detail that the model looks for.
_MAX_COARSER = 2.0
#: Smallest file pixel, as a fraction of the profile's: objects of finer files vanish in the profile's pixels.
_MAX_FINER = 8.0
#: Pixels in degrees and at the edges of a projection deviate this much from their nominal length.
_TOLERANCE = 1.05
#: An integer type must reach this share of the range that the profile renders.
_MIN_REACH = 0.25
#: -60 dB, below every sensor's noise.
MIN_POWER = 1e-6
#: Bands whose values do not measure brightness.
_NOT_VALUES = {
    ColorInterp.palette: "indices into a colour table",
    ColorInterp.alpha: "the file's transparency",
    ColorInterp.hue: "a hue",
    ColorInterp.saturation: "a saturation",
    ColorInterp.lightness: "a lightness",
    ColorInterp.cyan: "ink (CMYK)",
    ColorInterp.magenta: "ink (CMYK)",
    ColorInterp.yellow: "ink (CMYK)",
    ColorInterp.black: "ink (CMYK)",
    ColorInterp.Y: "luma (YCbCr)",
    ColorInterp.Cb: "chroma (YCbCr)",
    ColorInterp.Cr: "chroma (YCbCr)",
}


@dataclass(frozen=True, slots=True)
class Header:
    """Facts of a file that decide whether a profile can render it; tuples have one entry per band."""

    asset: str
    dtypes: tuple[str, ...]
    colours: tuple[ColorInterp, ...]
    nodata: tuple[float | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    white_is_zero: bool
    """Photometric interpretation MinIsWhite: 0 is the brightest value."""
    pixel_m: float | None
    """Length in metres of a pixel's longer side on the ground, at the grid; None = unknown."""

    @property
    def has_alpha(self) -> bool:
        """Whether one of the bands is an alpha band."""
        return ColorInterp.alpha in self.colours


def read_header(dataset: DatasetReader, asset: str, pixel_m: float | None) -> Header:
    """Collect the header facts of an open file."""
    return Header(
        asset,
        tuple(dataset.dtypes),
        tuple(dataset.colorinterp),
        tuple(dataset.nodatavals),
        tuple(dataset.scales),
        tuple(dataset.offsets),
        dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES",
        pixel_m,
    )


def find_misfits(header: Header, profile: Profile) -> Iterator[str]:
    """Say why the profile cannot render the file, and what to do; yields nothing when it can."""
    refs = [(band, place) for place, band in enumerate(profile.bands()) if band.asset == header.asset]
    for index in dict.fromkeys(band.index for band, _ in refs):
        yield from _band_misfits(header, index)
    if any(band.index > len(header.dtypes) for band, _ in refs):
        return
    for band, place in refs:
        if place < len(get_limits(profile)[0]) and band.minus is None:
            yield from _range_misfits(header, band, place, profile)
    if refs:
        yield from _size_misfits(header, profile)
    clouds = profile.clouds
    if clouds is not None and clouds.band.asset == header.asset and clouds.band.index > len(header.dtypes):
        yield _missing(clouds.band.index, header)


def _band_misfits(header: Header, index: int) -> Iterator[str]:
    if index > len(header.dtypes):
        yield _missing(index, header)
        return
    if np.dtype(header.dtypes[index - 1]).kind == "c":
        yield f"values of type {header.dtypes[index - 1]} cannot be rendered; publish their amplitude"
    kind = _NOT_VALUES.get(header.colours[index - 1])
    if kind is not None:
        yield (
            f"band {index} holds {kind}, not brightness; name another band in the profile, or convert the file to RGB "
            "(rio convert, gdal_translate -expand rgb)"
        )
    if header.white_is_zero:
        yield "its 0 is white (MinIsWhite); convert the file so that larger values are brighter"


def _missing(index: int, header: Header) -> str:
    return f"the profile names band {index}, the file has {len(header.dtypes)}; name existing bands in the profile"


def _range_misfits(header: Header, band: BandRef, place: int, profile: Profile) -> Iterator[str]:
    """Integer types that cannot reach the profile's range, whatever the pixels hold."""
    dtype = np.dtype(header.dtypes[band.index - 1])
    if dtype.kind not in "iu":
        return
    info = np.iinfo(dtype)
    low, high = (float(one[place]) for one in get_limits(profile))
    largest = max(_physical(int(info.max), profile, offset) for offset in (profile.offset, 0.0))
    smallest = min(_physical(int(info.min), profile, offset) for offset in (profile.offset, 0.0))
    where = f"profile {profile.name} (scale {profile.scale:g}, offset {profile.offset:g}) renders {low:g} to {high:g}"
    if largest < low + _MIN_REACH * (high - low):
        yield (
            f"its type {dtype} reaches {info.max}, which is {largest:g}; {where}: all would be nearly black. Set "
            "low, high, scale and offset of the profile to what the file holds"
        )
    if smallest >= high:
        yield (
            f"its type {dtype} begins at {info.min}, which is {smallest:g}; {where}: all would be white. Set low, "
            "high, scale and offset of the profile to what the file holds"
        )


def _physical(stored: int, profile: Profile, offset: float) -> float:
    value = stored * profile.scale + offset
    return 10 * math.log10(max(value, MIN_POWER)) if profile.decibels else value


def _size_misfits(header: Header, profile: Profile) -> Iterator[str]:
    if header.pixel_m is None:
        return
    finest, coarsest = get_size_limits(profile)
    if header.pixel_m > coarsest * _TOLERANCE:
        limit, name = f"at most {coarsest:g} m", "coarsest_m"
    elif header.pixel_m < finest / _TOLERANCE:
        limit, name = f"at least {finest:g} m", "finest_m"
    else:
        return
    yield (
        f"its pixels are {header.pixel_m:.3g} m long, profile {profile.name} with gsd_m {profile.gsd_m:g} accepts "
        f"{limit}. Use a profile of this ground sample distance, or set {name} in the profile if it is meant to be "
        "resampled"
    )


def get_size_limits(profile: Profile) -> tuple[float, float]:
    """Return the smallest and the largest file pixel, in metres, that the profile accepts."""
    finest = profile.gsd_m / _MAX_FINER if profile.finest_m is None else profile.finest_m
    coarsest = profile.gsd_m * _MAX_COARSER if profile.coarsest_m is None else profile.coarsest_m
    return finest, coarsest
