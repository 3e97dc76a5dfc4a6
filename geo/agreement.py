"""Compare the detections of two segmenters on one scene: areas found by both and by one, per target and per object."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import compute_area_m2, extract_polygons
from segwatch.geo.types.evidence import Disagreement, ShadowResult, TargetAgreement
from segwatch.geo.types.tracking import Detection, ObservationResult

#: Places of disagreement that are kept for each observation.
MAX_DIFFERENCES = 20


def compute_agreement(
    primary: ObservationResult, shadow: ObservationResult, version: str, targets: Collection[str]
) -> ShadowResult:
    """Compare two results of one scene on the ground that both observed.

    Parameters
    ----------
    version
        Name and version of the shadow segmenter.
    targets
        Targets to compare.

    Returns
    -------
    ShadowResult
        Areas are geodesic. ``objects`` has one entry for each detection of ``primary``; those of other targets, and
        those outside the common ground, have none.
    """
    ground = _intersect(primary.footprint, shadow.footprint)
    agreements, differences = [], []
    shares: dict[int, tuple[float, float]] = {}
    for target in targets:
        chosen = [at for at, one in enumerate(primary.detections) if one.target == target]
        others = [one for one in shadow.detections if one.target == target]
        shares |= _compare_objects(primary.detections, chosen, others, ground)
        mine, its = (
            _intersect(_unite(found), ground) for found in ([primary.detections[at] for at in chosen], others)
        )
        parts = {"primary": _subtract(mine, its), "shadow": _subtract(its, mine)}
        areas = {name: compute_area_m2(part) for name, part in parts.items()}
        both = compute_area_m2(_intersect(mine, its))
        agreements.append(
            TargetAgreement(target, both, areas["primary"], areas["shadow"], len(chosen), len(others))
        )
        differences += [
            Disagreement(target, name, shapely.to_wkb(piece), compute_area_m2(piece))
            for name, part in parts.items()
            for piece in extract_polygons(part)
        ]
    differences.sort(key=lambda one: (-one.area_m2, one.target, one.found_by, one.wkb))
    return ShadowResult(
        version,
        targets=tuple(agreements),
        objects=tuple(shares.get(at, (None, None)) for at in range(len(primary.detections))),
        differences=tuple(differences[:MAX_DIFFERENCES]),
    )


def _compare_objects(
    detections: Sequence[Detection], chosen: Sequence[int], others: Sequence[Detection], ground: BaseGeometry
) -> dict[int, tuple[float, float]]:
    """Position -> (share covered, IoU) of the detections on the common ground."""
    tree = shapely.STRtree([one.geometry for one in others])
    found = {}
    for at in chosen:
        mine = _intersect(detections[at].geometry, ground)
        size = compute_area_m2(mine)
        if size <= 0:
            continue
        near = [others[place] for place in sorted(tree.query(mine, predicate="intersects"))]
        its = _intersect(_unite(near), ground)
        both = min(size, compute_area_m2(_intersect(mine, its)))
        # areas on the ellipsoid do not quite add up
        union = max(size, size + compute_area_m2(its) - both)
        found[at] = (both / size, both / union)
    return found


def _unite(detections: Sequence[Detection]) -> BaseGeometry:
    return shapely.union_all([one.geometry for one in detections]) if detections else Polygon()


def _intersect(one: BaseGeometry, other: BaseGeometry) -> BaseGeometry:
    return _keep_areas(shapely.intersection(one, other))


def _subtract(one: BaseGeometry, other: BaseGeometry) -> BaseGeometry:
    return _keep_areas(shapely.difference(one, other))


def _keep_areas(geometry: BaseGeometry) -> BaseGeometry:
    """Only the polygons: shared edges leave lines."""
    return shapely.union_all(list(extract_polygons(geometry)))
