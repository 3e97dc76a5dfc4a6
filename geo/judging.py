"""Judge whether a scene was rendered usefully: not clipped, not one flat colour, within the profile's range.

Any model predicts "nothing there" on an all-white or all-black picture. Such a picture says nothing about the ground,
so it must not become an observation. The limits leave room for real scenes: snow, desert, open sea, radar over water.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from segwatch.geo.rendering import get_limits
from segwatch.geo.types.source import Profile

#: Approximate number of pixels of an area to sample, spread evenly over it.
SAMPLE_PX = 65_536
#: Fewer pixels of one colour may be chance: a pond of 8 x 8 pixels.
_MIN_CONSTANT_PX = 64
_MIN_PX = 16
#: Black is common in real scenes (water in the infrared, night), so its limit is higher than that of white.
_MAX_BLACK = 0.95
#: Values below ``low`` by more than this share of the range come from a wrong scale or offset, not from dark ground.
_BELOW = 0.1
_LARGEST_BYTE = 255.0
#: Share of values above 255 tolerated in an 8-bit source: a few stray ones.
_MAX_ABOVE_BYTE = 0.01

_Counts = tuple[int, int, int]
_Values = tuple[float, float, float]
_NONE, _NO_VALUES = (0, 0, 0), (np.nan, np.nan, np.nan)


@dataclass(frozen=True, slots=True)
class PixelSample:
    """Statistics of a sample of clear pixels; those of one scene's samples add up."""

    pixels: int = 0
    white: _Counts = _NONE
    """By channel: pixels rendered as 255."""
    black: _Counts = _NONE
    """By channel: pixels rendered as 0."""
    below: _Counts = _NONE
    """By channel: pixels far below the profile's range."""
    above: _Counts = _NONE
    """By channel: pixels above 255 where the profile is for an 8-bit source."""
    smallest: _Values = _NO_VALUES
    """By channel: smallest value before rendering."""
    largest: _Values = _NO_VALUES
    """By channel: largest value before rendering."""
    colour: tuple[int, ...] | None = None
    """The one rendered colour of all pixels; None = several colours, or no pixel."""

    @classmethod
    def of(cls, bands: NDArray[np.float32], rgb: NDArray[np.uint8], profile: Profile) -> Self:
        """Compute the statistics of n pixels.

        Parameters
        ----------
        bands
            (3, n) values before rendering.
        rgb
            (n, 3) uint8: the same pixels rendered.
        """
        count = len(rgb)
        if not count:
            return cls()
        low, high = get_limits(profile)
        far = (low - _BELOW * (high - low))[:, None]
        above = bands > _LARGEST_BYTE if _is_8_bit(profile) else np.zeros_like(bands, bool)
        channels, first = np.ascontiguousarray(rgb.T), rgb[0]
        return cls(
            count,
            _count(channels == 255),
            _count(channels == 0),
            _count(bands < far),
            _count(above),
            _to_values(bands.min(axis=1)),
            _to_values(bands.max(axis=1)),
            tuple(int(one) for one in first) if bool((channels == first[:, None]).all()) else None,
        )

    def __add__(self, other: Self) -> PixelSample:
        if not self.pixels or not other.pixels:
            return self if self.pixels else other
        return PixelSample(
            self.pixels + other.pixels,
            _sum(self.white, other.white),
            _sum(self.black, other.black),
            _sum(self.below, other.below),
            _sum(self.above, other.above),
            _to_values(np.minimum(self.smallest, other.smallest)),
            _to_values(np.maximum(self.largest, other.largest)),
            self.colour if self.colour == other.colour else None,
        )

    def share(self, counts: _Counts) -> float:
        """Compute the share of these counts in all values, 0..1."""
        return sum(counts) / (3 * self.pixels) if self.pixels else 0.0


def find_misrendering(sample: PixelSample, profile: Profile) -> str | None:
    """Say why the rendering of a scene is unusable, and what to do; None when it is usable.

    Parameters
    ----------
    sample
        Statistics of clear pixels from the whole area.
    """
    if sample.pixels < _MIN_PX or profile.max_saturated >= 1:
        return None
    fault = next(_find_faults(sample, profile.max_saturated), None)
    return None if fault is None else _explain(fault, sample, profile)


def describe_sample(sample: PixelSample) -> str:
    """Describe a rendering in one sentence."""
    white, black = (sample.share(one) for one in (sample.white, sample.black))
    values = f"{min(sample.smallest):.6g} to {max(sample.largest):.6g}"
    return f"values from {values}; {white:.0%} of them rendered white, {black:.0%} black"


def _find_faults(sample: PixelSample, max_share: float) -> Iterator[str]:
    """Faults of the rendering, the most likely cause first."""
    white, black, below = (sample.share(one) for one in (sample.white, sample.black, sample.below))
    if sample.share(sample.above) > _MAX_ABOVE_BYTE:
        yield "the files hold more than 8 bits"
    if white > max_share:
        yield f"{white:.0%} of it is white"
    if below > max_share:
        yield f"{below:.0%} of it is far below the profile's range"
    if black > max(max_share, _MAX_BLACK):
        yield f"{black:.0%} of it is black"
    if sample.colour is not None and sample.pixels >= _MIN_CONSTANT_PX:
        yield f"all of it has one colour, {sample.colour}"


def _explain(fault: str, sample: PixelSample, profile: Profile) -> str:
    low, high = get_limits(profile)
    return (
        f"the rendering cannot be judged: {fault}. Its clear pixels hold {min(sample.smallest):.6g} to "
        f"{max(sample.largest):.6g}, profile {profile.name} renders {low.min():.6g} to {high.max():.6g}. Set low, "
        "high, scale, offset and nodata of the profile to the values in the files (or max_saturated, if such "
        "renderings are wanted), apply the watch again and run `segwatch retry`"
    )


def _is_8_bit(profile: Profile) -> bool:
    """Whether the profile is for 8-bit sources: values as stored, none above 255."""
    low, high = get_limits(profile)
    plain = profile.scale == 1 and profile.offset == 0 and not profile.decibels
    return bool(plain and low.min() >= 0 and high.max() <= _LARGEST_BYTE and high.max() > 1)


def _count(mask: NDArray[np.bool_]) -> _Counts:
    """True values in each of three rows."""
    red, green, blue = (int(np.count_nonzero(row)) for row in mask)
    return red, green, blue


def _sum(one: _Counts, other: _Counts) -> _Counts:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _to_values(values: NDArray[np.floating]) -> _Values:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
