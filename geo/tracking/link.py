"""Find out which detections show which objects: overlap edges and their connected components (steps 2 and 3).

All geometries are in the series' equal-area CRS, metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from segwatch.geo.tracking.overlay import Geometries

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Edges:
    """E pairs of an object and a detection that may be the same thing."""

    objects: Indices
    """(E,) index into the objects."""
    detections: Indices
    """(E,) index into the detections."""
    overlap_m2: NDArray[np.float64]
    """(E,) area of the intersection, m²."""

    def select(self, chosen: NDArray[np.bool_]) -> Edges:
        """Select the edges for which ``chosen`` (E,) is true."""
        return Edges(self.objects[chosen], self.detections[chosen], self.overlap_m2[chosen])


@dataclass(frozen=True, slots=True)
class Component:
    """A connected component of objects and detections; either side may be empty."""

    objects: tuple[int, ...]
    detections: tuple[int, ...]
    edges: Indices
    """Indices of its edges."""

    def tabulate_overlaps(self, edges: Edges) -> NDArray[np.float64]:
        """Return (objects, detections) intersection areas, m², from the edges that the component was built from."""
        rows = np.searchsorted(self.objects, edges.objects[self.edges])
        columns = np.searchsorted(self.detections, edges.detections[self.edges])
        overlap = np.zeros((len(self.objects), len(self.detections)))
        overlap[rows, columns] = edges.overlap_m2[self.edges]
        return overlap


def link_overlaps(
    visible: Geometries, detections: Geometries, *, link_min: float, tolerance_m: float
) -> Edges:
    """Link objects and detections whose intersection is at least ``link_min`` of the smaller area.

    Objects and detections left unlinked are compared again with the objects widened by the registration tolerance: a
    road one pixel wide that is imaged one pixel aside does not overlap itself. Linked ones take no part in this, so a
    pond beside a lake does not become part of the lake.

    Parameters
    ----------
    visible
        (N,) visible parts of objects.
    detections
        (D,) detections or pieces of them.
    link_min
        Minimum overlap, as a share of the smaller area.
    tolerance_m
        Registration tolerance, metres.
    """
    direct = _find_overlaps(visible, visible, detections, link_min)
    lone_objects = np.setdiff1d(np.arange(len(visible)), direct.objects)
    lone_detections = np.setdiff1d(np.arange(len(detections)), direct.detections)
    if not (len(lone_objects) and len(lone_detections)):
        return direct
    lone = visible[lone_objects]
    near = _find_overlaps(lone, shapely.buffer(lone, tolerance_m), detections[lone_detections], link_min)
    return Edges(
        np.concatenate([direct.objects, lone_objects[near.objects]]),
        np.concatenate([direct.detections, lone_detections[near.detections]]),
        np.concatenate([direct.overlap_m2, near.overlap_m2]),
    )


def _find_overlaps(plain: Geometries, wide: Geometries, detections: Geometries, link_min: float) -> Edges:
    """Find edges by the intersection of ``wide`` and detections, relative to the smaller of plain and detection."""
    first, second = shapely.STRtree(detections).query(wide, predicate="intersects")
    common = shapely.area(shapely.intersection(wide[first], detections[second]))
    smaller = np.minimum(shapely.area(plain[first]), shapely.area(detections[second]))
    enough = (common > 0) & (common >= link_min * smaller)
    return Edges(first, second, common).select(enough)


def find_components(object_count: int, detection_count: int, edges: Edges) -> list[Component]:
    """Find connected components, single objects and detections included; members sorted, in order of first member."""
    total = object_count + detection_count
    graph = coo_array(
        (np.ones(len(edges.objects), np.int8), (edges.objects, edges.detections + object_count)),
        shape=(total, total),
    )
    count, labels = connected_components(graph, directed=False)
    members: list[tuple[list[int], list[int]]] = [([], []) for _ in range(count)]
    for node, label in enumerate(labels.tolist()):
        side = 0 if node < object_count else 1
        members[label][side].append(node if side == 0 else node - object_count)
    of_edge = labels[edges.objects]
    order = np.argsort(of_edge, kind="stable")
    starts = np.searchsorted(of_edge[order], np.arange(count + 1)).tolist()
    return [
        Component(tuple(objects), tuple(found), order[starts[label] : starts[label + 1]])
        for label, (objects, found) in enumerate(members)
    ]


def group_pairs(count: int, pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Group the positions 0..count-1 so that both positions of every pair are in one group."""
    if not pairs:
        return [[position] for position in range(count)]
    first, second = np.array(pairs, dtype=np.intp).T
    # both sides are the same positions: link each to itself, so that unpaired ones form groups too
    every = np.arange(count)
    joined = Edges(
        np.concatenate([every, first]), np.concatenate([every, second]), np.zeros(count + len(pairs))
    )
    return [list(one.detections) for one in find_components(count, count, joined)]


def assign_one_to_one(overlap_m2: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Assign rows to columns one to one with the largest total overlap; return the (row, column) pairs that overlap."""
    # only crossings of several objects and detections need it, and it takes a quarter of a second to import
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(overlap_m2, maximize=True)
    return [
        (int(row), int(column))
        for row, column in zip(rows, columns, strict=True)
        if overlap_m2[row, column] > 0
    ]
