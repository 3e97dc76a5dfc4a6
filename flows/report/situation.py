"""Gather the annexes of a briefing: pictures, changes, coverage and gaps of a watch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import Engine, RowMapping

from segwatch.db import analyst, watches
from segwatch.flows.config.settings.imagery import QuicklookSettings
from segwatch.flows.config.sizes import describe_limits
from segwatch.flows.report.pictures import Picture, choose_pictures, explain_missing_pictures
from segwatch.flows.report.tables import to_places, to_table
from segwatch.geo.area import compute_area_m2
from segwatch.geo.types.assessment import Accuracy

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

_LARGEST = 20
_CHANGE_COLUMNS = ("target", "kind", "objects", "confirmed", "before_m2", "after_m2")
_LARGEST_COLUMNS = (
    "valid_at", "target", "kind", "before_m2", "after_m2", "track_id",
    "confidence", "confidence_calibrated", "status", "observations_for", "observations_against", "evidence",
    "shadow_share", "shadow_iou",
)  # fmt: skip
_SCENE_COLUMNS = ("acquired_at", "state", "clear_share", "reason", "item_hrefs", "model", "preview")


@dataclass(frozen=True, slots=True)
class Total:
    """Total area of a target, in geodesic m²."""

    target: str
    before_m2: float
    """At the first observation."""
    after_m2: float
    """At the last observation."""
    accuracy: str
    """How accurate the map of the target is, in words."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known about the AOI of a watch."""

    watch: str
    instruction: str
    targets: tuple[str, ...]
    model: str | None
    attribution: str
    area_km2: float
    since: datetime
    until: datetime | None
    written_at: datetime
    pictures: tuple[Picture, ...]
    without_pictures: str
    """Why there are none."""
    first: datetime | None
    """Acquisition time of the first observation."""
    last: datetime | None
    """Acquisition time of the last observation."""
    totals: tuple[Total, ...]
    changes: pd.DataFrame
    """By target and kind: number of objects, how many of them are confirmed, total area before and after in m²."""
    refuted: Mapping[str, int]
    """Number of refuted changes by target; nothing else counts or lists them."""
    largest: gpd.GeoDataFrame
    """The largest changes with their belief, and a point on each in EPSG:4326."""
    scenes: pd.DataFrame
    """Scenes in order of acquisition with their outcome."""
    observed_share: float
    gap_km2: float
    accuracy: Accuracy
    calibrations: tuple[analyst.StoredCalibration, ...]
    limits: str
    """Sizes below which nothing is reported, in words."""
    observed: Sequence[RowMapping]
    """Observations in order of acquisition, with the paths of their quicklooks."""

    @property
    def largest_share(self) -> str:
        """How many of the changes :attr:`largest` lists, in words."""
        return f"{len(self.largest)} of {self.changes['objects'].sum()} changes"


def gather(
    engine: Engine,
    settings: QuicklookSettings,
    name: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Situation:
    """Gather the current situation of a watch: scenes acquired up to a time, and changes after one and up to the other.

    Raises
    ------
    segwatch.db.errors.UnknownWatch
        No watch has this name.
    """
    with engine.connect() as conn:
        stored = watches.load_current(conn, name)
        watch = stored.watch
        scenes = [
            row
            for row in analyst.list_reported_scenes(conn, name)
            if until is None or row["acquired_at"] is None or row["acquired_at"] <= until
        ]
        changes = analyst.sum_changes(conn, name, since, until)
        refuted = analyst.count_refuted_changes(conn, name, since, until)
        largest = analyst.list_largest_changes(conn, name, _LARGEST, since, until)
        gap = analyst.find_gap(conn, name, watch.area, watch.start)
        answered = [row for row in scenes if row["state"] == "observed"]
        times = [row["acquired_at"] for row in answered]
        if times and since is not None and since > times[0]:
            times[0] = min(since, times[-1])  # what changed since then is asked for
        before, after = (
            {row["target"]: float(row["area_m2"]) for row in analyst.sum_objects(conn, name, at, watch.area)}
            if at is not None
            else {}
            for at in ((times[0], times[-1]) if times else (None, None))
        )
        accuracy = analyst.read_accuracy(conn, name)
        calibrations = analyst.list_calibrations(conn, name)
    whole = compute_area_m2(watch.area)
    gap_m2 = compute_area_m2(gap)
    pictures = tuple(choose_pictures(settings, answered))
    return Situation(
        watch=name,
        instruction=watch.instruction.text,
        targets=watch.instruction.targets,
        model=answered[-1]["model"] if answered else None,
        attribution=" ".join(filter(None, (watch.profile.attribution, watch.profile.license))),
        area_km2=whole / 1e6,
        since=watch.start,
        until=watch.end,
        written_at=datetime.now(UTC),
        pictures=pictures,
        without_pictures=explain_missing_pictures(settings, answered),
        first=times[0] if times else None,
        last=times[-1] if times else None,
        totals=tuple(
            Total(
                target,
                before.get(target, 0.0),
                after.get(target, 0.0),
                analyst.describe_target(accuracy, accuracy.find(target)),
            )
            for target in sorted(before.keys() | after.keys())
        ),
        changes=to_table(changes, _CHANGE_COLUMNS),
        refuted=refuted,
        largest=to_places(largest, _LARGEST_COLUMNS),
        scenes=to_table(scenes, _SCENE_COLUMNS),
        observed_share=max(0.0, 1 - gap_m2 / whole),
        gap_km2=gap_m2 / 1e6,
        accuracy=accuracy,
        calibrations=tuple(calibrations),
        limits=describe_limits(watch),
        observed=answered,
    )
