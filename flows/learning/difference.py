"""What another model would change on the newest clear scene of a watch: objects gained and lost, and areas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import shapely
from sqlalchemy import Engine

from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.inference.segmenters import Segmenter
from segwatch.flows.learning.rescan import (
    MAX_TILES,
    limit_area,
    load_newest_clear,
    predict_again,
    require_result,
)
from segwatch.geo.agreement import compute_agreement
from segwatch.geo.types.tracking import Detection


@dataclass(frozen=True, slots=True)
class TargetDifference:
    """Objects of one target by two models on one scene; areas geodesic m²."""

    target: str
    before: int
    after: int
    gained: int
    """Objects of the other model that touch none of the present one's."""
    lost: int
    """Objects of the present model that touch none of the other one's."""
    both_m2: float
    only_before_m2: float
    only_after_m2: float
    iou: float | None


@dataclass(frozen=True, slots=True)
class SceneDifference:
    """What another model would change on a scene."""

    scene: str
    acquired_at: datetime
    tiles: int
    whole_area: bool
    """Whether the whole AOI was predicted, or a square of bounded size."""
    targets: tuple[TargetDifference, ...]


def compare_models(
    engine: Engine,
    settings: FlowSettings,
    watch: str,
    before: Segmenter,
    after: Segmenter,
    max_tiles: int = MAX_TILES,
) -> SceneDifference:
    """Predict the newest clear scene of a watch with two models and compare their objects.

    Raises
    ------
    NotFound
        There is no such watch, or it has no observed scene.
    FlowError
        The scene cannot be predicted any more.
    """
    with engine.connect() as conn:
        stored, clear, shown = load_newest_clear(conn, settings, watch)
    area = limit_area(stored, clear.footprint, max(before.tile_px, after.tile_px), max_tiles)
    part = replace(stored, area=area)
    old, new = (
        require_result(predict_again(shown, [part], one, settings.tile_batch)[0], f"{watch}, {one.version}")
        for one in (before, after)
    )
    targets = sorted(
        {one.target for one in (*old.detections, *new.detections)} | {*stored.instruction.targets}
    )
    found = []
    for agreement in compute_agreement(old, new, after.version, targets).targets:
        name = agreement.target
        mine, others = ([one for one in result.detections if one.target == name] for result in (old, new))
        found.append(
            TargetDifference(
                target=name,
                before=len(mine),
                after=len(others),
                gained=_count_apart(others, mine),
                lost=_count_apart(mine, others),
                both_m2=agreement.both_m2,
                only_before_m2=agreement.only_primary_m2,
                only_after_m2=agreement.only_shadow_m2,
                iou=agreement.iou,
            )
        )
    return SceneDifference(
        shown.scene.key, clear.acquired_at, new.tiles, area.equals(stored.area), tuple(found)
    )


def _count_apart(objects: Sequence[Detection], others: Sequence[Detection]) -> int:
    """Count the objects that share no ground with any of the others."""
    tree = shapely.STRtree([one.geometry for one in others])
    return sum(len(tree.query(one.geometry, predicate="intersects")) == 0 for one in objects)
