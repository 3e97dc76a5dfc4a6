"""Infer how values of files become 8-bit pictures, and whether one file fits what was inferred from others. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segwatch.geo.errors import UnusableFile
from segwatch.geo.sources.local.inspection import FileFacts, Sample

#: Percentiles of the values that are rendered black and white.
_LOW_PERCENT, _HIGH_PERCENT = 0.5, 99.5
#: 8-bit files whose bright pixels are darker than this were not stretched for people.
_DARK = 96
#: A black border is no data: so many black pixels among them the file's corners.
_MIN_BORDER_SHARE = 0.005
#: A picture has more values; masks and maps of classes have fewer.
_MAX_CLASSES = 16
_MIN_PX = 16
#: Files of one unit differ this much in brightness at most: a cloud is as many times as bright as a forest.
_MAX_RATIO = 6.0
#: Nothing is brighter than white: values far above those of 8-bit pictures are of another unit.
_MAX_RATIO_TO_PLAIN = 2.0


Channels = tuple[float, float, float]
"""Values of red, green and blue."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The ranges of stored values that are rendered, by channel: haze brightens blue most."""

    low: Channels
    """Rendered as 0."""
    high: Channels
    """Rendered as 255."""

    @property
    def is_plain(self) -> bool:
        """Whether values are shown as they are stored."""
        return self == PLAIN

    @property
    def text(self) -> str:
        """The whole range, as people read it."""
        return f"{min(self.low):g} to {max(self.high):g}"

    def to_unit(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale (3, ...) stored values to 0..1; those beyond the range stay beyond."""
        low, high = (
            np.asarray(one, np.float32).reshape(3, *(1,) * (rgb.ndim - 1)) for one in (self.low, self.high)
        )
        return np.asarray((rgb - low) / (high - low), np.float32)

    def from_unit(self, unit: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale (3, ...) values of 0..1 to stored ones."""
        low, high = (
            np.asarray(one, np.float32).reshape(3, *(1,) * (unit.ndim - 1)) for one in (self.low, self.high)
        )
        return np.asarray(low + unit * (high - low), np.float32)


#: 8-bit values, as they are.
PLAIN = Stretch((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))


def infer_stretch(facts: FileFacts, nodata: float | None) -> Stretch:
    """Infer the range of one file's values.

    Parameters
    ----------
    nodata
        Value of pixels that are no data besides those the file marks, see :func:`find_border_value`.

    Raises
    ------
    UnusableFile
        The file is no picture: it has no valid pixel, one value, or a few classes.
    """
    values = _valid_values(facts.sample, nodata)
    if values.shape[1] < _MIN_PX:
        raise UnusableFile("its sampled pixels hold no data: all are nodata, transparent or not a number")
    distinct = np.unique(values)
    if len(distinct) == 1:
        raise UnusableFile(f"all its pixels hold one value, {distinct[0]:g}; it shows nothing")
    is_grey = facts.bands.red == facts.bands.green == facts.bands.blue and not facts.palette
    if is_grey and len(distinct) <= _MAX_CLASSES:
        raise UnusableFile(
            f"it holds {len(distinct)} distinct values: a mask or a map of classes, no picture"
        )
    lows, highs = np.percentile(values, [_LOW_PERCENT, _HIGH_PERCENT], axis=1)
    if not (highs > lows).any():
        # all but a few pixels are alike, as around a small picture in a large file
        lows, highs = values.min(axis=1), values.max(axis=1)
    if facts.palette or (facts.dtype == "uint8" and highs.max() >= _DARK):
        return PLAIN
    return _round_outward(lows, highs)


def join_stretches(given: Sequence[Stretch]) -> Stretch:
    """Join the ranges of several files into one: the medians of their ends, so that clouds in a few do not count.

    Where files are of several units, those count that fit the one of middle brightness.
    """
    middle = sorted(given, key=lambda one: max(one.high))[(len(given) - 1) // 2]
    alike = [one for one in given if fits(one, middle)]
    lows, highs = (np.median([getattr(one, end) for one in alike], axis=0) for end in ("low", "high"))
    return Stretch(_to_channels(lows), _to_channels(highs)) if (highs > lows).all() else middle


def find_border_value(facts: FileFacts) -> float | None:
    """Return 0 if a file has a black border that nothing marks as no data; else None.

    A corner of the whole file is black, and so are enough pixels that it is no chance.
    """
    sample = facts.sample
    is_whole = sample.window[:2] == (0, 0)
    if facts.nodata is not None or facts.masked or facts.palette or not is_whole:
        return None
    black = (sample.rgb == 0).all(axis=0)
    corners = black[[0, 0, -1, -1], [0, -1, 0, -1]]
    return 0.0 if corners.any() and black.mean() >= _MIN_BORDER_SHARE else None


def fits(stretch: Stretch, other: Stretch) -> bool:
    """Whether the values of two ranges are of one unit: their sizes are alike, or at least they overlap.

    A cloudy scene is brighter than a clear one, and must stay so. Values that are shown as they are stored end at 255.
    """
    if stretch.is_plain != other.is_plain:
        stored = other if stretch.is_plain else stretch
        if max(stored.high) > _MAX_RATIO_TO_PLAIN * max(PLAIN.high):
            return False
    if max(stretch.high) > 0 and max(other.high) > 0:
        return 1 / _MAX_RATIO <= max(stretch.high) / max(other.high) <= _MAX_RATIO
    return min(stretch.low) < max(other.high) and min(other.low) < max(stretch.high)


def _valid_values(sample: Sample, nodata: float | None) -> NDArray[np.float32]:
    """(3, n) values of valid pixels."""
    valid = sample.valid
    if nodata is not None:
        valid &= ~(sample.rgb == nodata).all(axis=0)
    return sample.rgb[:, valid]


def _round_outward(lows: NDArray[np.floating], highs: NDArray[np.floating]) -> Stretch:
    """Round to two digits of the range's size, so that profiles are readable; no channel's range is empty."""
    width = float(highs.max() - lows.min())
    step = 10.0 ** (math.floor(math.log10(width)) - 1) if width > 0 else 1.0
    digits = max(0, -math.floor(math.log10(step)))
    first = np.floor(lows / step) * step
    last = np.maximum(np.ceil(highs / step) * step, first + step)
    return Stretch(_to_channels(first.round(digits)), _to_channels(last.round(digits)))


def _to_channels(values: NDArray[np.floating]) -> Channels:
    red, green, blue = (float(one) for one in values)
    return red, green, blue
