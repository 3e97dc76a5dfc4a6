"""A field of water to observe: shapes in metres around the origin of the simulated worlds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid5

import numpy as np
import shapely
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from segwatch.benchmarks.tracking_worlds import ORIGIN, SERIES
from segwatch.geo.area import compute_area_m2
from segwatch.geo.tracking.series import FoldInput, fold_series
from segwatch.geo.types.belief import Belief
from segwatch.geo.types.tracking import ChangeKind, Detection, TrackedObservation, TrackingStep
from segwatch.geo.types.watch import TrackingSettings

METRE = 1 / 111_320
"""Degrees of latitude."""
START = datetime(2024, 5, 1, tzinfo=UTC)
FIELD = box(-1000, -1000, 1000, 1000)
SETTINGS = TrackingSettings()


def to_degrees(shape: BaseGeometry) -> BaseGeometry:
    """Metres around the origin -> EPSG:4326."""
    scale = np.array([METRE / np.cos(np.radians(ORIGIN[1])), METRE])
    return shapely.transform(shape, lambda coordinates: coordinates * scale + np.array(ORIGIN))


def observe(
    number: int, *shapes: BaseGeometry, clear: BaseGeometry = FIELD, score: float = 0.9
) -> TrackedObservation:
    found = []
    for shape in shapes:
        geometry = to_degrees(shape)
        found.append(Detection("water", geometry, score, compute_area_m2(geometry)))
    return TrackedObservation(
        uuid5(SERIES, str(number)),
        uuid5(SERIES, f"scene {number}"),
        START + number * timedelta(days=5),
        to_degrees(clear),
        tuple(found),
    )


def fold(*observations: TrackedObservation) -> list[TrackingStep]:
    inputs = [FoldInput(one, SETTINGS, first=not number) for number, one in enumerate(observations)]
    return fold_series([], inputs, series_id=SERIES, origin=ORIGIN)


def beliefs(steps: Sequence[TrackingStep], kind: ChangeKind) -> list[Belief]:
    return [one.belief for step in steps for one in step.judgements if one.kind is kind]


LAKE, POND = box(-300, -300, -100, -100), box(200, 200, 300, 300)
