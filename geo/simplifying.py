"""Simplify or smooth outlines that follow pixel edges, all of one observation together.

Borders that outlines share stay shared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

#: A border through the midpoints of pixel edges cuts corners by a quarter of a pixel's diagonal.
_CUT_PX = 2**0.5 / 4
#: The rest of half a pixel, minus a margin for rounding.
_TOLERANCE_PX = 0.4999 - _CUT_PX
#: Largest distance of a smooth border from the midpoints, and its tolerance for dropping vertices.
_SMOOTH_PX, _SMOOTH_TOLERANCE_PX = 0.14, 0.005
_SMOOTH_ROUNDS = 4


def simplify_outlines(outlines: Sequence[BaseGeometry], *, smooth: bool = False) -> list[BaseGeometry]:
    """Simplify outlines without moving any edge by more than half a pixel.

    Borders are split where more than two of them meet. Each piece is redrawn through the midpoints of its pixel edges,
    so that stairs become slopes, and then loses vertices (Douglas and Peucker 1973), once for all outlines that share
    it. With ``smooth`` the points of a piece move towards their neighbours instead, and nearly all are kept.
    Where pieces would cross, or an outline would vanish, all outlines are returned unchanged.

    Parameters
    ----------
    outlines
        Polygons or MultiPolygons in pixels, as :class:`segwatch.geo.polygons.Tracer` returns them; they may overlap.
    """
    if not outlines:
        return []
    pieces = shapely.get_parts(shapely.line_merge(shapely.unary_union(shapely.boundary(list(outlines)))))
    lines = [_connect_midpoints(one) for one in pieces]
    if smooth:
        lines = [_smooth(one) for one in lines]
    tolerance = _SMOOTH_TOLERANCE_PX if smooth else _TOLERANCE_PX
    fewer = shapely.simplify(lines, tolerance, preserve_topology=False)
    before, after = (shapely.get_parts(shapely.polygonize(lines)) for lines in (pieces, fewer))
    if len(before) != len(after) or not shapely.is_valid(after).all():
        return list(outlines)
    found = []
    tree = shapely.STRtree(after)
    for outline in outlines:
        near = after[tree.query(outline)]
        shares = shapely.area(shapely.intersection(near, outline))
        made = shapely.union_all(near[shares > shapely.area(near) / 2])
        if made.is_empty or not _is_within_half_a_pixel(outline, made):
            return list(outlines)
        found.append(made)
    return found


def _connect_midpoints(piece: BaseGeometry) -> shapely.LineString:
    """Redraw a piece through the midpoints of its pixel edges; its ends stay, unless it is a ring."""
    corners = shapely.get_coordinates(piece.segmentize(1.0))
    midpoints = (corners[1:] + corners[:-1]) / 2
    if piece.is_closed:
        return shapely.LineString(np.concatenate([midpoints, midpoints[:1]]))
    return shapely.LineString(np.concatenate([corners[:1], midpoints, corners[-1:]]))


def _smooth(line: shapely.LineString) -> shapely.LineString:
    """Move each point a little towards its neighbours; the ends stay, unless it is a ring."""
    given = shapely.get_coordinates(line)
    points = given[:-1] if line.is_closed else given
    for _ in range(_SMOOTH_ROUNDS):
        before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
        moved = (before + 2 * points + after) / 4
        if not line.is_closed:
            moved[[0, -1]] = points[[0, -1]]
        points = moved
    if line.is_closed:
        points = np.concatenate([points, points[:1]])
    way = points - given
    length = np.maximum(np.hypot(*way.T), 1e-12)[:, None]
    return shapely.LineString(given + way * np.minimum(1.0, _SMOOTH_PX / length))


def _is_within_half_a_pixel(one: BaseGeometry, other: BaseGeometry) -> bool:
    return bool(shapely.hausdorff_distance(one.boundary, other.boundary, densify=0.25) <= 0.5)
