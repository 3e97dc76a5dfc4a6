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
#: Least share of a detection that the other segmenter covers for both to have found it.
FOUND_SHARE = 0.5
#: Detections that both found with a smaller IoU have another outline.
SAME_OUTLINE = 0.7


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
        agreement, found, parts = _compare_target(primary.detections, shadow.detections, target, ground)
        agreements.append(agreement)
        shares |= found
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


def _compare_target(
    primary: Sequence[Detection], shadow: Sequence[Detection], target: str, ground: BaseGeometry
) -> tuple[TargetAgreement, dict[int, tuple[float, float]], dict[str, BaseGeometry]]:
    """Agreement on one target, as of :func:`_compare_objects` for ``primary``, and the areas that only one found."""
    mine, its = ([at for at, one in enumerate(found) if one.target == target] for found in (primary, shadow))
    found = _compare_objects(primary, mine, [shadow[at] for at in its], ground)
    back = _compare_objects(shadow, its, [primary[at] for at in mine], ground)
    one = _intersect(_unite([primary[at] for at in mine]), ground)
    other = _intersect(_unite([shadow[at] for at in its]), ground)
    parts = {"primary": _subtract(one, other), "shadow": _subtract(other, one)}
    agreement = TargetAgreement(
        target,
        compute_area_m2(_intersect(one, other)),
        compute_area_m2(parts["primary"]),
        compute_area_m2(parts["shadow"]),
        len(mine),
        len(its),
        lost=sum(share < FOUND_SHARE for share, _ in found.values()),
        gained=sum(share < FOUND_SHARE for share, _ in back.values()),
        changed=sum(share >= FOUND_SHARE and iou < SAME_OUTLINE for share, iou in found.values()),
    )
    return agreement, found, parts


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
