"""What the files of a source say of themselves beside what its profile says, as findings that people read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from segwatch.geo.sources.rasters.header_check import Header, size_limits
from segwatch.geo.types.source import CloudMask, Profile

#: Two scales or offsets are the same within this share.
_SAME = 0.01
_MAX_VALUES = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    about: str
    good: bool
    """False = a watch on this source would miss it."""
    says: str


def compare(headers: Sequence[Header], mask_values: Sequence[int], profile: Profile) -> Iterator[Finding]:
    """Types, pixel sizes, nodata, scales and cloud mask of files that can be rendered.

    Parameters
    ----------
    headers
        One a file.
    mask_values
        Of the cloud mask, in the sample.
    """
    shown = {band.asset for band in profile.bands()}
    for header in headers:
        if header.asset in shown:
            yield _types(header)
            yield _pixel_size(header, profile)
            yield _nodata(header, profile)
            yield _scaling(header, profile)
    if profile.clouds is not None:
        mask = next(one for one in headers if one.asset == profile.clouds.band.asset)
        yield _mask(mask, mask_values, profile.clouds)


def _types(header: Header) -> Finding:
    types, colours = (
        ", ".join(dict.fromkeys(one)) for one in (header.dtypes, (c.name for c in header.colours))
    )
    return Finding("values", True, f"{header.asset}: {len(header.dtypes)} band(s) of {types} ({colours})")


def _pixel_size(header: Header, profile: Profile) -> Finding:
    finest, coarsest = size_limits(profile)
    size = "of unknown size" if header.pixel_m is None else f"{header.pixel_m:.3g} m long"
    takes = f"looks at {profile.gsd_m:g} m and takes {finest:g} to {coarsest:g} m"
    says = f"{header.asset}: pixels {size}, the profile {takes}"
    return Finding("pixel size", header.pixel_m is not None, says)


def _nodata(header: Header, profile: Profile) -> Finding:
    own = {value for value in header.nodata if value is not None}
    files = ", ".join(f"{value:g}" for value in sorted(own)) or "none"
    says = f"{header.asset}: the file declares {files}"
    if profile.nodata is None:
        missing = not own and not header.has_alpha
        return Finding(
            "nodata", True, says + (", the profile none; black edges count as ground" if missing else "")
        )
    impossible = [dtype for dtype in dict.fromkeys(header.dtypes) if not _can_hold(dtype, profile.nodata)]
    if impossible:
        return Finding(
            "nodata",
            False,
            f"{says}, the profile {profile.nodata:g}, which no value of type {impossible[0]} can be",
        )
    return Finding("nodata", True, f"{says}, the profile {profile.nodata:g}; both count")


def _scaling(header: Header, profile: Profile) -> Finding:
    bands = [(header.scales[band.index - 1], header.offsets[band.index - 1])
             for band in profile.bands() if band.asset == header.asset]  # fmt: skip
    declared = [one for one in dict.fromkeys(bands) if one != (1.0, 0.0)]
    if not declared:
        return Finding(
            "scale", True, f"{header.asset}: the file declares none, the profile {profile.scale:g}"
        )
    scale, offset = declared[0]
    says = (
        f"{header.asset}: the file declares scale {scale:g} and offset {offset:g}, "
        f"the profile {profile.scale:g} and {profile.offset:g}"
    )
    if profile.scale == 1.0 and profile.offset == 0.0:
        return Finding("scale", True, f"{says}: it renders the numbers as they are stored")
    same = math.isclose(scale, profile.scale, rel_tol=_SAME)
    near = any(math.isclose(offset, one, rel_tol=_SAME, abs_tol=1e-9) for one in (profile.offset, 0.0))
    return Finding("scale", same and near, says if same and near else f"{says}; one of them is wrong")


def _mask(header: Header, values: Sequence[int], clouds: CloudMask) -> Finding:
    dtype = header.dtypes[clouds.band.index - 1]
    listed = (*clouds.unclear_values, *clouds.invalid_values)
    shown = ", ".join(str(value) for value in values[:_MAX_VALUES]) + (
        ", ..." if len(values) > _MAX_VALUES else ""
    )
    says = f"{header.asset}: {dtype}, in the sample {shown or 'nothing'}"
    beyond = [str(value) for value in listed if not _can_hold(dtype, value)]
    beyond += [f"bit {bit}" for bit in clouds.unclear_bits if bit >= 8 * np.dtype(dtype).itemsize]
    if beyond:
        return Finding(
            "cloud mask", False, f"{says}; the profile lists {', '.join(beyond)}, which {dtype} cannot hold"
        )
    own = header.nodata[clouds.band.index - 1]
    if own == 0 and 0 not in listed:
        says += "; it declares 0 as no data, the profile takes 0 for clear (add it to invalid_values if it is not)"
    hidden = [str(value) for value in values if value in listed]
    return Finding(
        "cloud mask", True, f"{says}; of these the profile hides {', '.join(hidden) or 'none by value'}"
    )


def _can_hold(dtype: str, value: float) -> bool:
    kind = np.dtype(dtype)
    if kind.kind not in "iu":
        return True
    info = np.iinfo(kind)
    return math.isnan(value) or (info.min <= value <= info.max and value == int(value))
