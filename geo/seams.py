"""Join regions that were traced apart: in separate column spans, or as parts of what turned out to be one object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely.geometry.base import BaseGeometry

from segwatch.geo.polygons import Region

_Pairs = NDArray[np.int64]


def join_regions(regions: Sequence[Region], seams: Sequence[int], connectivity: int = 4) -> list[Region]:
    """Join the regions that meet at a seam; the others stay as they are.

    Parameters
    ----------
    regions
        Regions of all column spans, as :class:`segwatch.geo.polygons.Tracer` returns them for each.
    seams
        Columns where one span ends and the next begins.
    connectivity
        4 or 8; regions that touch only at a corner are one with 8.
    """
    if not seams or len(regions) < 2:
        return list(regions)
    pairs = np.concatenate([_find_neighbours(regions, seam, connectivity) for seam in seams], axis=1)
    total = len(regions)
    graph = coo_array((np.ones(pairs.shape[1], bool), (pairs[0], pairs[1])), shape=(total, total))
    count, of = connected_components(graph, directed=False)
    members: list[list[Region]] = [[] for _ in range(count)]
    for region, group in zip(regions, of, strict=True):
        members[group].append(region)
    return [_merge(group) if len(group) > 1 else group[0] for group in members]


def touches_seam(region: Region, seams: Sequence[int]) -> bool:
    """Whether the region reaches a seam, so that it may be part of a larger one."""
    west, _, east, _ = region.outline.bounds
    return west in seams or east in seams


def _find_neighbours(regions: Sequence[Region], seam: int, connectivity: int) -> _Pairs:
    """(2, n) indices of regions that touch across the seam."""
    bounds = shapely.bounds([one.outline for one in regions])
    left, right = (np.flatnonzero(bounds[:, side] == seam) for side in (2, 0))
    if not (len(left) and len(right)):
        return np.zeros((2, 0), np.int64)
    top, bottom = bounds[:, 1].min(), bounds[:, 3].max()
    line = shapely.LineString([(seam, top), (seam, bottom)])
    one, other = (
        shapely.intersection([regions[int(index)].outline for index in side], line) for side in (left, right)
    )
    first, second = shapely.STRtree(other).query(one, predicate="intersects")
    if connectivity == 4:
        # a shared corner is not enough
        shared = shapely.length(shapely.intersection(one[first], other[second])) > 0
        first, second = first[shared], second[shared]
    pairs: _Pairs = np.stack([left[first], right[second]])
    return pairs[:, _are_same_object(regions, pairs)]


def _are_same_object(regions: Sequence[Region], pairs: _Pairs) -> NDArray[np.bool_]:
    """Whether neighbours across a seam are one object: instances have a neighbour each, the one with most of the seam.

    The numbers of instances differ between column spans, so two objects that meet exactly at a seam count as one.
    """
    has_instance = np.array([one.instance > 0 for one in regions], bool)
    owned = has_instance[pairs.T]
    same = np.array(~owned.any(axis=1), bool)
    apart = np.flatnonzero(owned.all(axis=1))
    common = {int(at): _measure_common(regions, *pairs[:, at]) for at in apart}
    taken: set[int] = set()
    for at in sorted(common, key=lambda one: (-common[one], one)):
        if not taken & set(pairs[:, at].tolist()):
            taken |= set(pairs[:, at].tolist())
            same[at] = True
    return same


def _measure_common(regions: Sequence[Region], one: int, other: int) -> float:
    """Length of the border that two regions share, pixels."""
    return float(shapely.length(shapely.intersection(regions[one].outline, regions[other].outline)))


def join_instances(regions: Sequence[Region], joined: Mapping[int, int]) -> list[Region]:
    """Join touching regions whose instances turned out to be one object.

    Parameters
    ----------
    regions
        Regions of one target and column span.
    joined
        Number of an instance -> the one that it is a part of.
    """
    renamed = [replace(one, instance=joined.get(one.instance, one.instance)) for one in regions]
    parts = set(joined.values())
    inside = [at for at, one in enumerate(renamed) if one.instance in parts]
    if not inside:
        return renamed
    outlines = [renamed[at].outline for at in inside]
    first, second = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    numbers = np.array([renamed[at].instance for at in inside])
    borders = shapely.intersection(np.array(outlines)[first], np.array(outlines)[second])
    same = (numbers[first] == numbers[second]) & (shapely.length(borders) > 0)
    graph = coo_array((same[same], (first[same], second[same])), shape=(len(inside), len(inside)))
    count, of = connected_components(graph, directed=False)
    groups: list[list[Region]] = [[] for _ in range(count)]
    for at, group in zip(inside, of, strict=True):
        groups[group].append(renamed[at])
    rest = [one for one in renamed if one.instance not in parts]
    return rest + [_merge(group) if len(group) > 1 else group[0] for group in groups]


def absorb_unclaimed(regions: Sequence[Region]) -> list[Region]:
    """Join each region of no instance with the instance that it shares most of its border with.

    A mask may reach beyond the instances that a segmenter told apart; the rest belongs to an object beside it. A region
    that touches no instance stays.
    """
    owned = [at for at, one in enumerate(regions) if one.instance]
    loose = [at for at, one in enumerate(regions) if not one.instance]
    if not (owned and loose):
        return list(regions)
    tree = shapely.STRtree([regions[at].outline for at in owned])
    groups: dict[int, list[Region]] = {at: [regions[at]] for at in owned}
    for at in loose:
        near = [
            owned[int(place)] for place in sorted(tree.query(regions[at].outline, predicate="intersects"))
        ]
        borders = {one: _measure_common(regions, at, one) for one in near}
        best = max(borders, key=lambda one: (borders[one], -one), default=None)
        if best is None or borders[best] == 0:
            groups[at] = [regions[at]]
        else:
            groups[best].append(regions[at])
    return [_merge(group) if len(group) > 1 else group[0] for _, group in sorted(groups.items())]


def _merge(regions: Sequence[Region]) -> Region:
    # the seam leaves extra vertices in the middle of straight edges
    outline: BaseGeometry = shapely.union_all([one.outline for one in regions]).simplify(0)
    pixels = np.array([one.outline.area for one in regions])
    mean = float(np.average([one.mean for one in regions], weights=pixels))
    return Region(outline, min(one.first for one in regions), mean, regions[0].instance)
