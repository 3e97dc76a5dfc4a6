"""Make the profile of a source from what its files are, and write it as TOML that people can edit."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from segwatch.geo.rendering import get_limits
from segwatch.geo.sources.local.bands import BandMeaning
from segwatch.geo.sources.local.inspection import FileFacts
from segwatch.geo.sources.local.products import RGB
from segwatch.geo.sources.local.stretch import PLAIN, Stretch, join_stretches
from segwatch.geo.types.source import BandRef, CloudMask, Profile, SpectralBand

ASSET = "image"
"""Key of the asset that is read."""
_CONVERTED = BandMeaning(1, 2, 3, (), "converted files")
#: Stretched to their bright pixels, most of the ground is dark.
_GAMMA = 1.3
#: A nominal size within this share of the measured one is meant.
_NOMINAL = 0.01


@dataclass(frozen=True, slots=True)
class JudgedFile:
    """What counts of a file for its source's profile."""

    facts: FileFacts
    stretch: Stretch
    nodata: float | None
    """Value of pixels that are no data although nothing marks them."""
    mask: CloudMask | None = None
    """What its mask, a file of its own, means; None = it has none."""

    @property
    def needs_conversion(self) -> bool:
        """Whether no profile can read it as it is."""
        facts = self.facts
        return facts.palette or facts.control_points or facts.white_is_zero


def make_profile(name: str, files: Sequence[JudgedFile], gsd_m: float | None = None) -> Profile:
    """Make the profile that reads most of some files as they are.

    Parameters
    ----------
    name
        Of the source; it is the name of the profile and of the collection, too.
    files
        At least one.
    gsd_m
        Ground sample distance, if the user said so.
    """
    plain = [one for one in files if not one.needs_conversion]
    kinds = Counter(map(_get_kind, plain))
    alike = plain
    if kinds:
        best = max(kinds, key=lambda kind: kinds[kind])
        alike = [one for one in plain if _get_kind(one) == best]
    bands = alike[0].facts.bands if alike else _CONVERTED
    stretch = join_stretches([one.stretch for one in alike]) if alike else PLAIN
    low, high = min(stretch.low), max(stretch.high)
    measured = statistics.median(one.facts.gsd_m for one in alike or files)
    ends = zip(bands.rgb, stretch.low, stretch.high, strict=True)
    red, green, blue = (
        BandRef(asset, number, None, None if first == low else first, None if last == high else last)
        for asset, (number, first, last) in zip(RGB if bands.product else [ASSET] * 3, ends, strict=True)
    )
    return Profile(
        name=name,
        title=f"Local files: {name}",
        collection=name,
        red=red,
        green=green,
        blue=blue,
        low=low,
        high=high,
        gsd_m=gsd_m or round_gsd(measured),
        gamma=1.0 if stretch.is_plain else _GAMMA,
        nodata=next((one.nodata for one in alike if one.nodata is not None), None),
        spectral=_list_spectral(bands),
        clouds=alike[0].mask if alike else None,
    )


def _get_kind(one: JudgedFile) -> tuple[object, ...]:
    """Get what files of one profile have in common."""
    bands = one.facts.bands
    return bands.rgb, bool(bands.product), one.facts.dtype, one.stretch.is_plain, one.mask


def explain_layout(judged: JudgedFile, profile: Profile) -> str:
    """Say why an image cannot belong to the source of a profile; empty where it can."""
    if bool(judged.facts.bands.product) != (profile.red.asset == RGB[0]):
        kind = "bands in files of their own" if judged.facts.bands.product else "its bands in one file"
        return (
            f"it has {kind}, unlike the source's profile; add it as a source of its own with another --name"
        )
    if profile.clouds is not None and judged.mask is None:
        return "it has no mask beside it, as the source's other images have; add it as a source of its own"
    return ""


def round_gsd(measured: float) -> float:
    """Round a measured ground sample distance to the nominal one, in metres."""
    digits = 1 - math.floor(math.log10(measured))
    nominal = round(measured, digits)
    return nominal if abs(nominal - measured) <= _NOMINAL * measured else round(measured, digits + 1)


def get_range(profile: Profile) -> Stretch:
    """Return the range of stored values that a profile renders."""
    low, high = (
        tuple(float(one) for one in (end - profile.offset) / profile.scale) for end in get_limits(profile)
    )
    return Stretch((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def get_bands(profile: Profile) -> tuple[int, int, int]:
    """Return the numbers of the bands that a profile renders."""
    return profile.red.index, profile.green.index, profile.blue.index


def _list_spectral(bands: BandMeaning) -> tuple[SpectralBand, ...]:
    # converted files have the bands up to the last rendered one: one before it would be empty in them
    further = [(name, number) for name, number in bands.further if number > max(bands.rgb)]
    if not further:
        return ()
    named = [("green", bands.green), ("red", bands.red), *further]
    return tuple(SpectralBand(name, BandRef(ASSET, number)) for name, number in named)


def write_profile(profile: Profile) -> str:
    """Write a profile of :func:`make_profile` as TOML."""
    lines = [
        "# Made by segwatch source add. Edit it if the pictures are too dark or bright (low, high, gamma), or if the",
        "# bands or the ground sample distance were guessed wrong; then apply the watch again.",
        f"title = {json.dumps(profile.title)}",
        f"collection = {json.dumps(profile.collection)}",
        f"gsd_m = {profile.gsd_m!r}",
        f"low = {profile.low!r}",
        f"high = {profile.high!r}",
        f"gamma = {profile.gamma!r}",
        *([f"nodata = {profile.nodata!r}"] if profile.nodata is not None else []),
        "",
        "[bands]",
        *(
            f'{name} = {{ asset = "{band.asset}", index = {band.index}{_write_limits(band)} }}'
            for name, band in (("red", profile.red), ("green", profile.green), ("blue", profile.blue))
        ),
    ]
    if profile.clouds is not None:
        asset = f'asset = "{profile.clouds.band.asset}"'
        lines += ["", "# values and bits of the mask that hide pixels", "[clouds]", asset]
        lines += [
            f"{name} = {list(values)}"
            for name in ("unclear_values", "unclear_bits", "invalid_values")
            if (values := getattr(profile.clouds, name))
        ]
    if profile.spectral:
        lines += ["", "[spectral]"]
        lines += [
            f'{one.name} = {{ asset = "{one.band.asset}", index = {one.band.index} }}'
            for one in profile.spectral
        ]
    return "\n".join([*lines, ""])


def _write_limits(band: BandRef) -> str:
    ends = (("low", band.low), ("high", band.high))
    return "".join(f", {name} = {value!r}" for name, value in ends if value is not None)
