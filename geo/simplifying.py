"""Fewer vertices or rounder corners for outlines along pixel edges, all of one observation together.

Borders that outlines share stay shared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

#: A border through the middles of pixel edges cuts corners by the quarter of a pixel's diagonal.
_CUT_PX = 2**0.5 / 4
#: The rest of half a pixel, less what rounding may add.
_TOLERANCE_PX = 0.4999 - _CUT_PX
#: What of it a smooth border may leave the middles of pixel edges by, and lose in vertices.
_SMOOTH_PX, _SMOOTH_TOLERANCE_PX = 0.14, 0.005
_SMOOTH_ROUNDS = 4


def simplified(outlines: Sequence[BaseGeometry], *, smooth: bool = False) -> list[BaseGeometry]:
    """The outlines, none of whose edges has moved by more than half a pixel.

    Borders are cut where more than two of them meet. Each piece between is led through the middles of its pixel edges,
    so that stairs become slopes, and loses vertices (Douglas and Peucker 1973), once for all outlines that have it.
    With ``smooth`` the points of a piece are drawn towards those beside them instead, and nearly all are kept.
    Where pieces would cross, or an outline would be lost, all stay as they are.

    Parameters
    ----------
    outlines
        Polygons or MultiPolygons in pixels, as :class:`segwatch.geo.polygons.Tracer` gives them; they may overlap.
    """
    if not outlines:
        return []
    pieces = shapely.get_parts(shapely.line_merge(shapely.unary_union(shapely.boundary(list(outlines)))))
    lines = [_through_middles(one) for one in pieces]
    if smooth:
        lines = [_smoothed(one) for one in lines]
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
        if made.is_empty or not _within_half_a_pixel(outline, made):
            return list(outlines)
        found.append(made)
    return found


def _through_middles(piece: BaseGeometry) -> shapely.LineString:
    """The piece by the middles of its pixel edges; its ends stay, unless it is a ring."""
    corners = shapely.get_coordinates(piece.segmentize(1.0))
    middles = (corners[1:] + corners[:-1]) / 2
    if piece.is_closed:
        return shapely.LineString(np.concatenate([middles, middles[:1]]))
    return shapely.LineString(np.concatenate([corners[:1], middles, corners[-1:]]))


def _smoothed(line: shapely.LineString) -> shapely.LineString:
    """The line with each point moved towards its neighbours, a little; its ends stay, unless it is a ring."""
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


def _within_half_a_pixel(one: BaseGeometry, other: BaseGeometry) -> bool:
    return bool(shapely.hausdorff_distance(one.boundary, other.boundary, densify=0.25) <= 0.5)
