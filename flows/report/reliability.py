"""Reliability diagram of a calibration: how often things of each confidence were true, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from segwatch.db.analyst import StoredCalibration
from segwatch.geo.types.assessment import Calibration, ReliabilityBin

_SIDE, _MARGIN = 200, 34
_RAW, _CALIBRATED = "#e8590c", "#1971c2"


def describe(stored: StoredCalibration) -> str:
    """Describe a calibration in words."""
    found = stored.calibration
    return (
        f"Confidence of {stored.subject}s, {stored.target}: version {stored.version} of {stored.fitted_at:%Y-%m-%d}, "
        f"{found.labels} labels; expected calibration error {found.error_before:.3f}, "
        f"calibrated {found.error_after:.3f}"
    )


def draw_svg(calibration: Calibration) -> str:
    """Draw the share that was true over the confidence, before and after calibration."""
    size = _SIDE + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" width="{size}" height="{size}">',
        f'<rect x="{_MARGIN}" y="{_MARGIN}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#5b6675"/>',
        _line(((0, 0), (1, 1)), "#adb5bd"),
        *_draw_bins(calibration.bins_before, _RAW, round_=True),
        *_draw_bins(calibration.bins_after, _CALIBRATED, round_=False),
        *(_tick(share) for share in (0.0, 0.5, 1.0)),
        "</svg>",
    ]
    return "\n".join(parts)


def _draw_bins(bins: Sequence[ReliabilityBin], colour: str, *, round_: bool) -> Iterator[str]:
    yield _line([(one.confidence, one.share) for one in bins], colour)
    for one in bins:
        x, y = _place(one.confidence, one.share)
        radius = 2 + 6 * one.weight**0.5
        if round_:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}"/>'
        else:
            side = 1.8 * radius
            yield (
                f'<rect x="{x - side / 2:.1f}" y="{y - side / 2:.1f}" width="{side:.1f}" height="{side:.1f}" '
                f'fill="{colour}"/>'
            )


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_place(*one) for one in points))
    return f'<polyline points="{joined}" fill="none" stroke="{colour}"/>'


def _tick(share: float) -> str:
    x, y = _place(share, share)
    bottom, left = _MARGIN + _SIDE + 16, _MARGIN - 28
    return (
        f'<text x="{x - 8:.1f}" y="{bottom}" font-size="11">{share:.1f}</text>'
        f'<text x="{left}" y="{y + 4:.1f}" font-size="11">{share:.1f}</text>'
    )


def _place(confidence: float, share: float) -> tuple[float, float]:
    return _MARGIN + _SIDE * confidence, _MARGIN + _SIDE * (1 - share)
