"""Describe the sizes below which a watch reports nothing."""

from __future__ import annotations

from collections.abc import Iterator

from segwatch.geo.area import compute_area_m2
from segwatch.geo.types.watch import Watch


def describe_limits(watch: Watch) -> str:
    """Say which objects and changes are too small to be reported."""
    tracking = watch.tracking
    smallest = max(watch.min_polygon_m2, _pixel_m2(watch))
    return (
        f"Not reported: objects under {smallest:,.10g} m²; growth or shrinkage under {tracking.min_change_m2:,.10g} m² "
        f"or {tracking.min_change_ratio:.0%} of the object"
    )


def find_doubtful_limits(watch: Watch) -> Iterator[str]:
    """Yield a message for each limit that cannot work as written, with the fix."""
    pixel, whole = _pixel_m2(watch), compute_area_m2(watch.area)
    if watch.min_polygon_m2 < pixel:
        yield (
            f"min_polygon_m2 {watch.min_polygon_m2:g} is less than one pixel of the source ({pixel:g} m²), the "
            f"smallest possible object; write at least {pixel:g}"
        )
    if watch.min_polygon_m2 > whole:
        yield (
            f"min_polygon_m2 {watch.min_polygon_m2:g} is more than the whole area ({whole:.0f} m²): nothing will ever "
            "be reported; write less"
        )
    if watch.tracking.min_change_m2 > whole:
        yield (
            f"tracking.min_change_m2 {watch.tracking.min_change_m2:g} is more than the whole area ({whole:.0f} m²): no "
            "growth or shrinkage will ever be reported; write less"
        )


def _pixel_m2(watch: Watch) -> float:
    return watch.profile.gsd_m**2
