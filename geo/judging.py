"""Whether a rendered scene shows enough to be answered: not clipped, not one flat colour, in the profile's range.

A picture that is all white or all black is answered with "nothing there" by any model. Such a picture says nothing
about the ground, so it must not become an observation. The limits leave room for what real ground looks like: snow,
desert, open sea, radar over water.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from segwatch.geo.rendering import limits
from segwatch.geo.types.source import Profile

#: About so many pixels of an area are judged, spread evenly over it.
SAMPLE_PX = 65_536
#: Fewer pixels of one colour may be chance: a pond of 8 x 8 pixels.
_MIN_CONSTANT_PX = 64
_MIN_PX = 16
#: Black is common on real ground (water in the infrared, night), so that more of it is let pass than of white.
_MAX_BLACK = 0.95
#: Values further below ``low`` than this share of the range are no dark ground, but another scale or offset.
_BELOW = 0.1
_LARGEST_BYTE = 255.0
#: An 8-bit source has no larger value at all; a stray one is let pass.
_MAX_ABOVE_BYTE = 0.01

_Counts = tuple[int, int, int]
_Values = tuple[float, float, float]
_NONE, _NO_VALUES = (0, 0, 0), (np.nan, np.nan, np.nan)


@dataclass(frozen=True, slots=True)
class Shades:
    """What a sample of clear pixels looks like; samples of one scene add up."""

    pixels: int = 0
    white: _Counts = _NONE
    """By channel: pixels rendered as 255."""
    black: _Counts = _NONE
    """By channel: pixels rendered as 0."""
    below: _Counts = _NONE
    """By channel: pixels far below the profile's range."""
    above: _Counts = _NONE
    """By channel: pixels above anything an 8-bit source can hold, where the profile renders one."""
    least: _Values = _NO_VALUES
    """By channel: smallest value, as it is before rendering."""
    most: _Values = _NO_VALUES
    """By channel: largest value, as it is before rendering."""
    colour: tuple[int, ...] | None = None
    """The rendered colour that all pixels have; None = several, or no pixel."""

    @classmethod
    def of(cls, bands: NDArray[np.float32], rgb: NDArray[np.uint8], profile: Profile) -> Self:
        """Describe n pixels.

        Parameters
        ----------
        bands
            (3, n): values as they are before rendering.
        rgb
            (n, 3): the same pixels rendered.
        """
        count = len(rgb)
        if not count:
            return cls()
        low, high = limits(profile)
        far = (low - _BELOW * (high - low))[:, None]
        above = bands > _LARGEST_BYTE if _is_8_bit(profile) else np.zeros_like(bands, bool)
        channels, first = np.ascontiguousarray(rgb.T), rgb[0]
        return cls(
            count,
            _counted(channels == 255),
            _counted(channels == 0),
            _counted(bands < far),
            _counted(above),
            _three(bands.min(axis=1)),
            _three(bands.max(axis=1)),
            tuple(int(one) for one in first) if bool((channels == first[:, None]).all()) else None,
        )

    def __add__(self, other: Self) -> Shades:
        if not self.pixels or not other.pixels:
            return self if self.pixels else other
        return Shades(
            self.pixels + other.pixels,
            _sum(self.white, other.white),
            _sum(self.black, other.black),
            _sum(self.below, other.below),
            _sum(self.above, other.above),
            _three(np.minimum(self.least, other.least)),
            _three(np.maximum(self.most, other.most)),
            self.colour if self.colour == other.colour else None,
        )

    def share(self, counts: _Counts) -> float:
        """Share of all values, 0..1."""
        return sum(counts) / (3 * self.pixels) if self.pixels else 0.0


def misrendered(shades: Shades, profile: Profile) -> str | None:
    """Why a scene with these shades says nothing about the ground, with what to do; None = it may be answered."""
    if shades.pixels < _MIN_PX or profile.max_saturated >= 1:
        return None
    what = next(_faults(shades, profile.max_saturated), None)
    return None if what is None else _said(what, shades, profile)


def described(shades: Shades) -> str:
    """A picture in words."""
    white, black = (shades.share(one) for one in (shades.white, shades.black))
    values = f"{min(shades.least):.6g} to {max(shades.most):.6g}"
    return f"values from {values}; {white:.0%} of them rendered white, {black:.0%} black"


def _faults(shades: Shades, most: float) -> Iterator[str]:
    """What is wrong with the picture, the likeliest cause first."""
    white, black, below = (shades.share(one) for one in (shades.white, shades.black, shades.below))
    if shades.share(shades.above) > _MAX_ABOVE_BYTE:
        yield "the files hold more than 8 bits"
    if white > most:
        yield f"{white:.0%} of it is white"
    if below > most:
        yield f"{below:.0%} of it is far below what the profile renders"
    if black > max(most, _MAX_BLACK):
        yield f"{black:.0%} of it is black"
    if shades.colour is not None and shades.pixels >= _MIN_CONSTANT_PX:
        yield f"all of it has one colour, {shades.colour}"


def _said(what: str, shades: Shades, profile: Profile) -> str:
    low, high = limits(profile)
    return (
        f"the picture cannot be judged: {what}. Its clear pixels hold {min(shades.least):.6g} to "
        f"{max(shades.most):.6g}, profile {profile.name} renders {low.min():.6g} to {high.max():.6g}. Set low, high, "
        "scale, offset and nodata of the profile to what the files hold (or max_saturated, if such pictures are "
        "wanted), apply the watch again and run `segwatch retry`"
    )


def _is_8_bit(profile: Profile) -> bool:
    """Whether the profile is for sources of 8 bits: values as stored, none above 255."""
    low, high = limits(profile)
    plain = profile.scale == 1 and profile.offset == 0 and not profile.decibels
    return bool(plain and low.min() >= 0 and high.max() <= _LARGEST_BYTE and high.max() > 1)


def _counted(mask: NDArray[np.bool_]) -> _Counts:
    """True values in each of three rows."""
    red, green, blue = (int(np.count_nonzero(row)) for row in mask)
    return red, green, blue


def _sum(one: _Counts, other: _Counts) -> _Counts:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _three(values: NDArray[np.floating]) -> _Values:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
