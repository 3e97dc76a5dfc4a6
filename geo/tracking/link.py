"""Which detections show which objects: overlap edges and their connected components.

Geometries here are in one equal-area CRS, metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from segwatch.geo.tracking.transitions import Geometries

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Edges:
    """Pairs of one object and one detection that may show the same thing."""

    objects: Indices
    """(E,) index into the objects."""
    detections: Indices
    """(E,) index into the detections."""
    overlap_m2: NDArray[np.float64]
    """(E,) common area, m²."""

    def keep(self, chosen: NDArray[np.bool_]) -> Edges:
        """The edges for which ``chosen`` (E,) is true."""
        return Edges(self.objects[chosen], self.detections[chosen], self.overlap_m2[chosen])


@dataclass(frozen=True, slots=True)
class Component:
    """Objects and detections that hang together; either side may be empty."""

    objects: tuple[int, ...]
    detections: tuple[int, ...]
    edges: Indices
    """Which of the edges hold it together."""

    def overlaps(self, edges: Edges) -> NDArray[np.float64]:
        """(objects, detections) common areas, m²; ``edges`` are those that the component was made of."""
        rows = np.searchsorted(self.objects, edges.objects[self.edges])
        columns = np.searchsorted(self.detections, edges.detections[self.edges])
        overlap = np.zeros((len(self.objects), len(self.detections)))
        overlap[rows, columns] = edges.overlap_m2[self.edges]
        return overlap


def link(visible: Geometries, detections: Geometries, *, link_min: float, tolerance_m: float) -> Edges:
    """Edges where the common area is at least ``link_min`` of the smaller of the two.

    Objects and detections that are left alone get a second chance among themselves with the objects widened by
    the registration tolerance: a road one pixel wide that is imaged one pixel aside has no area in common with
    itself. What is linked already takes no part, so that a pond beside a lake does not become its part.
    """
    direct = _overlaps(visible, visible, detections, link_min)
    lone_objects = np.setdiff1d(np.arange(len(visible)), direct.objects)
    lone_detections = np.setdiff1d(np.arange(len(detections)), direct.detections)
    if not (len(lone_objects) and len(lone_detections)):
        return direct
    lone = visible[lone_objects]
    near = _overlaps(lone, shapely.buffer(lone, tolerance_m), detections[lone_detections], link_min)
    return Edges(
        np.concatenate([direct.objects, lone_objects[near.objects]]),
        np.concatenate([direct.detections, lone_detections[near.detections]]),
        np.concatenate([direct.overlap_m2, near.overlap_m2]),
    )


def _overlaps(plain: Geometries, wide: Geometries, detections: Geometries, link_min: float) -> Edges:
    """Edges by the area of ``wide`` within the detections, relative to the smaller plain area."""
    first, second = shapely.STRtree(detections).query(wide, predicate="intersects")
    common = shapely.area(shapely.intersection(wide[first], detections[second]))
    smaller = np.minimum(shapely.area(plain[first]), shapely.area(detections[second]))
    enough = (common > 0) & (common >= link_min * smaller)
    return Edges(first, second, common).keep(enough)


def components(object_count: int, detection_count: int, edges: Edges) -> list[Component]:
    """Connected components, lone objects and detections included; each sorted, in order of first member."""
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


def grouped(count: int, pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Positions up to ``count``, those that pairs hold together in one group."""
    if not pairs:
        return [[position] for position in range(count)]
    first, second = np.array(pairs, dtype=np.intp).T
    # both sides are the same things here: link each to itself so that lone ones are groups, too
    every = np.arange(count)
    joined = Edges(
        np.concatenate([every, first]), np.concatenate([every, second]), np.zeros(count + len(pairs))
    )
    return [list(one.detections) for one in components(count, count, joined)]


def assign(overlap_m2: NDArray[np.float64]) -> list[tuple[int, int]]:
    """(rows, columns) of the one-to-one assignment with the largest total overlap; pairs without any left out."""
    rows, columns = linear_sum_assignment(overlap_m2, maximize=True)
    return [
        (int(row), int(column))
        for row, column in zip(rows, columns, strict=True)
        if overlap_m2[row, column] > 0
    ]
