"""Compare the files of a source with its profile, and report findings for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from segwatch.geo.sources.rasters.header_check import Header, get_size_limits
from segwatch.geo.types.source import CloudMask, Profile

#: Relative tolerance for scales and offsets.
_TOLERANCE = 0.01
_MAX_VALUES = 20


@dataclass(frozen=True, slots=True)
class SourceFinding:
    """Result of one check of a source."""

    about: str
    good: bool
    """False = a watch on this source would not work properly."""
    says: str


def compare(
    headers: Sequence[Header], mask_values: Sequence[int], profile: Profile
) -> Iterator[SourceFinding]:
    """Compare data types, pixel sizes, nodata, scales and cloud masks of files with the profile.

    Parameters
    ----------
    headers
        One per file.
    mask_values
        Values of the cloud mask in the sample.
    """
    shown = {band.asset for band in profile.bands()}
    for header in headers:
        if header.asset in shown:
            yield _report_types(header)
            yield _compare_pixel_size(header, profile)
            yield _compare_nodata(header, profile)
            yield _compare_scaling(header, profile)
    if profile.clouds is not None:
        mask = next(one for one in headers if one.asset == profile.clouds.band.asset)
        yield _compare_mask(mask, mask_values, profile.clouds)


def _report_types(header: Header) -> SourceFinding:
    types, colours = (
        ", ".join(dict.fromkeys(one)) for one in (header.dtypes, (c.name for c in header.colours))
    )
    return SourceFinding(
        "values", True, f"{header.asset}: {len(header.dtypes)} band(s) of {types} ({colours})"
    )


def _compare_pixel_size(header: Header, profile: Profile) -> SourceFinding:
    finest, coarsest = get_size_limits(profile)
    size = "of unknown size" if header.pixel_m is None else f"of {header.pixel_m:.3g} m"
    accepted = f"reads at {profile.gsd_m:g} m and accepts {finest:g} to {coarsest:g} m"
    message = f"{header.asset}: pixels {size}, the profile {accepted}"
    return SourceFinding("pixel size", header.pixel_m is not None, message)


def _compare_nodata(header: Header, profile: Profile) -> SourceFinding:
    own = {value for value in header.nodata if value is not None}
    files = ", ".join(f"{value:g}" for value in sorted(own)) or "none"
    message = f"{header.asset}: the file declares {files}"
    if profile.nodata is None:
        missing = not own and not header.has_alpha
        return SourceFinding(
            "nodata", True, message + (", the profile none; black edges count as valid" if missing else "")
        )
    impossible = [dtype for dtype in dict.fromkeys(header.dtypes) if not _can_hold(dtype, profile.nodata)]
    if impossible:
        return SourceFinding(
            "nodata",
            False,
            f"{message}, the profile {profile.nodata:g}, which type {impossible[0]} cannot hold",
        )
    return SourceFinding("nodata", True, f"{message}, the profile {profile.nodata:g}; both apply")


def _compare_scaling(header: Header, profile: Profile) -> SourceFinding:
    bands = [(header.scales[band.index - 1], header.offsets[band.index - 1])
             for band in profile.bands() if band.asset == header.asset]  # fmt: skip
    declared = [one for one in dict.fromkeys(bands) if one != (1.0, 0.0)]
    if not declared:
        return SourceFinding(
            "scale", True, f"{header.asset}: the file declares none, the profile {profile.scale:g}"
        )
    scale, offset = declared[0]
    message = (
        f"{header.asset}: the file declares scale {scale:g} and offset {offset:g}, "
        f"the profile {profile.scale:g} and {profile.offset:g}"
    )
    if profile.scale == 1.0 and profile.offset == 0.0:
        return SourceFinding("scale", True, f"{message}; stored values are rendered unscaled")
    same = math.isclose(scale, profile.scale, rel_tol=_TOLERANCE)
    near = any(math.isclose(offset, one, rel_tol=_TOLERANCE, abs_tol=1e-9) for one in (profile.offset, 0.0))
    return SourceFinding(
        "scale", same and near, message if same and near else f"{message}; one of them is wrong"
    )


def _compare_mask(header: Header, values: Sequence[int], clouds: CloudMask) -> SourceFinding:
    dtype = header.dtypes[clouds.band.index - 1]
    listed = (*clouds.unclear_values, *clouds.invalid_values)
    shown = ", ".join(str(value) for value in values[:_MAX_VALUES]) + (
        ", ..." if len(values) > _MAX_VALUES else ""
    )
    message = f"{header.asset}: {dtype}, in the sample {shown or 'nothing'}"
    beyond = [str(value) for value in listed if not _can_hold(dtype, value)]
    beyond += [f"bit {bit}" for bit in clouds.unclear_bits if bit >= 8 * np.dtype(dtype).itemsize]
    if beyond:
        return SourceFinding(
            "cloud mask",
            False,
            f"{message}; the profile lists {', '.join(beyond)}, which {dtype} cannot hold",
        )
    own = header.nodata[clouds.band.index - 1]
    if own == 0 and 0 not in listed:
        message += "; the file declares 0 as nodata, the profile treats it as clear (list it in invalid_values if not)"
    hidden = [str(value) for value in values if value in listed]
    return SourceFinding(
        "cloud mask", True, f"{message}; of these the profile masks {', '.join(hidden) or 'none by value'}"
    )


def _can_hold(dtype: str, value: float) -> bool:
    kind = np.dtype(dtype)
    if kind.kind not in "iu":
        return True
    info = np.iinfo(kind)
    return math.isnan(value) or (info.min <= value <= info.max and value == int(value))
