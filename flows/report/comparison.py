"""Compare the main segmenter of a watch with its shadow segmenter, before a switch: as data, and as one HTML page.

What a switch would change is counted in polygons: lost are those that the shadow does not find, gained those that only
it finds, changed those that both find with another outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from segwatch.db import analyst, watches
from segwatch.flows.report.templates import render_template
from segwatch.geo.agreement import FOUND_SHARE


@dataclass(frozen=True, slots=True)
class TargetComparison:
    """Both segmenters on one target, summed over all compared scenes; geodesic m²."""

    target: str
    scenes: int
    both_m2: float
    only_primary_m2: float
    only_shadow_m2: float
    primary_count: int
    """Polygons of the main segmenter."""
    shadow_count: int
    """Polygons of the shadow segmenter."""
    objects: int
    """Objects of now (``watch.objects_now``) that were compared."""
    found_objects: int
    """Those of them whose newest detection the shadow covers by at least :data:`segwatch.geo.agreement.FOUND_SHARE`."""
    lost_count: int = 0
    """Polygons that a switch would lose. Comparisons of earlier releases count as none, here and below."""
    gained_count: int = 0
    """Polygons that a switch would gain."""
    changed_count: int = 0
    """Polygons whose outline a switch would change."""

    @property
    def iou(self) -> float | None:
        """Intersection over union of the summed areas, 0..1; None where neither found anything."""
        union = self.both_m2 + self.only_primary_m2 + self.only_shadow_m2
        return self.both_m2 / union if union else None

    @property
    def area_change_m2(self) -> float:
        """Area that a switch would add, or take away where it is negative; geodesic m²."""
        return self.only_shadow_m2 - self.only_primary_m2


@dataclass(frozen=True, slots=True)
class Comparison:
    """A watch's main segmenter and its shadow segmenter."""

    watch: str
    model: str | None
    """None = nothing was compared yet."""
    shadow: str | None
    first: datetime | None
    last: datetime | None
    targets: tuple[TargetComparison, ...]
    scenes: tuple[dict[str, Any], ...]
    """One row per scene and target."""
    silent: tuple[tuple[str, int], ...]
    """Reason why something could not be compared -> number of scenes."""
    places: tuple[dict[str, Any], ...]
    """The largest places where only one of them found something."""
    objects: tuple[dict[str, Any], ...]
    """Objects that the shadow covers least."""
    share: float | None = None
    """Share of the watch's scenes that the shadow was last run on, 0..1; None = nothing was compared yet."""
    compared: int = 0
    """Scenes on which the two could be compared; on others the shadow had no opinion, or failed, see ``silent``."""
    observed: int = 0
    """Scenes that the main segmenter observed since the first of these."""

    def to_json(self) -> dict[str, Any]:
        """Convert to a mapping for JSON."""
        targets = [
            {
                name: getattr(one, name)
                for name in (*TargetComparison.__dataclass_fields__, "iou", "area_change_m2")
            }
            for one in self.targets
        ]
        names = ("watch", "model", "shadow", "first", "last", "share", "compared", "observed")
        plain = {name: getattr(self, name) for name in names}
        silent = [{"reason": reason, "scenes": count} for reason, count in self.silent]
        rest = {name: list(getattr(self, name)) for name in ("scenes", "places", "objects")}
        return plain | {"targets": targets, "not_compared": silent} | rest


def compare_segmenters(conn: Connection, watch: str, limit: int) -> Comparison:
    """Compare the segmenters of a watch over all scenes that both were run on; at most ``limit`` places and objects.

    Raises
    ------
    segwatch.db.errors.UnknownWatch
        No watch has this name.
    """
    watches.load_current(conn, watch)
    scenes = analyst.list_compared_scenes(conn, watch)
    objects = analyst.list_compared_objects(conn, watch)
    compared = [row for row in scenes if row["target"] is not None]
    reasons: dict[str, set[object]] = {}
    for row in scenes:
        if row["reason"]:
            reasons.setdefault(row["reason"], set()).add(row["observation_id"])
    names = dict.fromkeys(row["target"] for row in compared)
    least = sorted(objects, key=lambda row: (row["shadow_share"], -row["area_m2"], str(row["track_id"])))
    return Comparison(
        watch=watch,
        model=scenes[-1]["model"] if scenes else None,
        shadow=scenes[-1]["shadow"] if scenes else None,
        first=scenes[0]["acquired_at"] if scenes else None,
        last=scenes[-1]["acquired_at"] if scenes else None,
        targets=tuple(_sum_up(target, compared, objects) for target in sorted(names)),
        scenes=tuple(scenes),
        silent=tuple((reason, len(ids)) for reason, ids in sorted(reasons.items())),
        places=tuple(analyst.list_differences(conn, watch, limit)),
        objects=tuple(least[:limit]),
        share=scenes[-1]["share"] if scenes else None,
        compared=len({row["observation_id"] for row in compared}),
        observed=analyst.count_observed(conn, watch),
    )


def _sum_up(
    target: str, scenes: Sequence[dict[str, Any]], objects: Sequence[dict[str, Any]]
) -> TargetComparison:
    rows = [row for row in scenes if row["target"] == target]
    found = [row for row in objects if row["target"] == target]
    sums = {
        name: sum(row[name] or 0 for row in rows)
        for name in (
            *("both_m2", "only_primary_m2", "only_shadow_m2", "primary_count", "shadow_count"),
            *("lost_count", "gained_count", "changed_count"),
        )
    }
    both = sum(row["shadow_share"] >= FOUND_SHARE for row in found)
    return TargetComparison(target, len(rows), **sums, objects=len(found), found_objects=both)


def render_comparison(comparison: Comparison) -> str:
    """Render a self-contained HTML page."""
    return render_template("comparison.html.j2", c=comparison)
