"""What the header of a file says, against what the profile expects: a mistake that needs no pixel to be seen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from segwatch.geo.rendering import limits
from segwatch.geo.types.source import BandRef, Profile

#: A file's pixel may be so many times larger than the profile's: a coarser one shows less than the model looks for.
_MAX_COARSER = 2.0
#: And so many times smaller: where it is smaller still, objects of the file's kind vanish in the profile's pixels.
_MAX_FINER = 8.0
#: Pixels in degrees and at the edges of a projection are not exactly as long as their name says.
_TOLERANCE = 1.05
#: An integer type must reach this share of the range that the profile renders.
_MIN_REACH = 0.25
#: -60 dB, below every sensor's noise.
LEAST_POWER = 1e-6
#: Bands whose numbers are no measure of brightness.
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
    """Facts of a file that decide whether a profile can render it; tuples have one entry a band."""

    asset: str
    dtypes: tuple[str, ...]
    colours: tuple[ColorInterp, ...]
    nodata: tuple[float | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    white_is_zero: bool
    """Photometric interpretation MinIsWhite: 0 is the brightest value."""
    pixel_m: float | None
    """Length of a pixel's longer side on the ground, metres, at the place of interest; None = not known."""

    @property
    def has_alpha(self) -> bool:
        """Whether one of the bands is transparency."""
        return ColorInterp.alpha in self.colours


def header_of(dataset: DatasetReader, asset: str, pixel_m: float | None) -> Header:
    """The facts of an open file."""
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


def misfits(header: Header, profile: Profile) -> Iterator[str]:
    """What is wrong with the file, by the profile, each with what to do; nothing = it can be rendered."""
    refs = [(band, place) for place, band in enumerate(profile.bands()) if band.asset == header.asset]
    for index in dict.fromkeys(band.index for band, _ in refs):
        yield from _band_misfits(header, index)
    if any(band.index > len(header.dtypes) for band, _ in refs):
        return
    for band, place in refs:
        if place < len(limits(profile)[0]) and band.minus is None:
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
    return f"band {index} is asked for, it has {len(header.dtypes)}; name bands it has in the profile"


def _range_misfits(header: Header, band: BandRef, place: int, profile: Profile) -> Iterator[str]:
    """Integers whose type cannot reach what the profile renders, whatever the pixels are."""
    dtype = np.dtype(header.dtypes[band.index - 1])
    if dtype.kind not in "iu":
        return
    info = np.iinfo(dtype)
    low, high = (float(one[place]) for one in limits(profile))
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
    return 10 * math.log10(max(value, LEAST_POWER)) if profile.decibels else value


def _size_misfits(header: Header, profile: Profile) -> Iterator[str]:
    if header.pixel_m is None:
        return
    finest, coarsest = size_limits(profile)
    if header.pixel_m > coarsest * _TOLERANCE:
        limit, name = f"at most {coarsest:g} m", "coarsest_m"
    elif header.pixel_m < finest / _TOLERANCE:
        limit, name = f"at least {finest:g} m", "finest_m"
    else:
        return
    yield (
        f"its pixels are {header.pixel_m:.3g} m long, profile {profile.name} with gsd_m {profile.gsd_m:g} takes "
        f"{limit}. Use a profile of this ground sample distance, or set {name} in the profile if it is meant to be "
        "resampled"
    )


def size_limits(profile: Profile) -> tuple[float, float]:
    """Smallest and largest pixel of a file, metres, that the profile takes."""
    finest = profile.gsd_m / _MAX_FINER if profile.finest_m is None else profile.finest_m
    coarsest = profile.gsd_m * _MAX_COARSER if profile.coarsest_m is None else profile.coarsest_m
    return finest, coarsest
