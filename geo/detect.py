"""Stitched logits and what was seen -> observed footprint and detections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import geodesic_m2
from segwatch.geo.footprint import Inside, footprint
from segwatch.geo.grid import PixelGrid
from segwatch.geo.polygons import Region, Tracer, clean, detection
from segwatch.geo.seams import joined, touches
from segwatch.geo.simplifying import simplified
from segwatch.geo.stitch import Stitched
from segwatch.geo.types.tracking import Detection
from segwatch.geo.types.watch import Outlines


class Observer:
    """Footprint and detections of one instruction on one scene, whose rows come in strips from the top.

    A wide grid may come in several bands of columns, from the left, each from its top to its bottom. A pixel counts
    where it was seen, a tile answered it and its centre lies in the area. Detections are covered by the footprint;
    regions that stick out of the area by part of a pixel are clipped to it.

    Parameters
    ----------
    area
        EPSG:4326.
    label
        Label of the target with an index, 0-based.
    connectivity
        As in :class:`segwatch.geo.polygons.Tracer`.
    outlines
        Other than along pixel edges they are drawn by :func:`segwatch.geo.simplifying.simplified`.
    """

    def __init__(
        self,
        area: BaseGeometry,
        grid: PixelGrid,
        *,
        label: Callable[[int], str],
        min_polygon_m2: float,
        connectivity: int = 4,
        outlines: Outlines = Outlines.EDGES,
    ) -> None:
        self._area = area
        self._grid = grid
        self._label = label
        self._least_m2 = min_polygon_m2
        self._connectivity = connectivity
        self._outlines = outlines
        self._inside = Inside(area, grid)
        self._seams: list[int] = []
        self._footprint: list[Region] = []
        self._found: list[tuple[int, Region]] = []
        self._begin(0, grid.width)
        shapely.prepare(area)

    def band(self, start: int, stop: int) -> None:
        """The rows that follow are those of these columns, from the top."""
        self._end()
        if start:
            self._seams.append(start)
        self._begin(start, stop)

    def _begin(self, start: int, stop: int) -> None:
        self._columns = start, stop
        self._row = 0
        self._seen = Tracer(stop - start, col=start)
        self._targets: list[Tracer] = []

    def _end(self) -> None:
        self._footprint += self._seen.end()
        for index, tracer in enumerate(self._targets):
            self._keep(index, tracer.end())

    def add(self, stitched: Stitched, seen: NDArray[np.bool_]) -> None:
        """The next rows; ``seen`` is (h, w) of the band's columns."""
        start, end = self._columns
        stop = self._row + len(seen)
        usable = seen & stitched.known & self._inside.rows(self._row, stop, start, end)
        self._footprint += self._seen.add(usable)
        while len(self._targets) < len(stitched.logits):
            # no row before has this target
            tracer = Tracer(end - start, self._connectivity, row=self._row, col=start)
            self._targets.append(tracer)
        nothing = np.zeros_like(usable)
        for index, tracer in enumerate(self._targets):
            if index < len(stitched.logits):
                logits = stitched.logits[index]
                ended = tracer.add((logits > 0) & usable, logits)
            else:
                ended = tracer.add(nothing)
            self._keep(index, ended)
        self._row = stop

    def result(self) -> tuple[BaseGeometry, list[Detection]]:
        """Footprint, and the detections by target, in row-major order of their first pixels."""
        self._end()
        self._join()
        self._found.sort(key=lambda one: (one[0], one[1].first))
        if self._outlines is not Outlines.EDGES:
            self._draw_anew()
        found = []
        for index, region in self._found:
            one = detection(region, self._grid, self._label(index))
            if one.area_m2 >= self._least_m2:
                found.append(one)
        return footprint(self._area, self._footprint, self._grid), _clip(found, self._area)

    def _join(self) -> None:
        """Regions of several bands are one where they meet."""
        if not self._seams:
            return
        self._footprint = joined(self._footprint, self._seams)
        by_target: dict[int, list[Region]] = {}
        for index, region in self._found:
            by_target.setdefault(index, []).append(region)
        self._found = [
            (index, region)
            for index, regions in by_target.items()
            for region in joined(regions, self._seams, self._connectivity)
        ]

    def _draw_anew(self) -> None:
        """All outlines together, the footprint's too: they share borders."""
        regions = [*self._footprint, *(region for _, region in self._found)]
        drawn = simplified([one.outline for one in regions], smooth=self._outlines is Outlines.SMOOTH)
        made = [replace(region, outline=outline) for region, outline in zip(regions, drawn, strict=True)]
        count = len(self._footprint)
        self._footprint = made[:count]
        self._found = [(index, one) for (index, _), one in zip(self._found, made[count:], strict=True)]

    def _keep(self, index: int, regions: list[Region]) -> None:
        # far too small ones are not carried to the end; a projected pixel is never half off
        least = self._least_m2 / 2 / self._grid.pixel_area
        edges = self._columns
        self._found += [(index, one) for one in regions if one.outline.area >= least or touches(one, edges)]


def observe(
    stitched: Stitched,
    seen: NDArray[np.bool_],
    area: BaseGeometry,
    grid: PixelGrid,
    *,
    label: Callable[[int], str],
    min_polygon_m2: float,
    connectivity: int = 4,
) -> tuple[BaseGeometry, list[Detection]]:
    """Footprint and detections of one instruction on one scene, all rows at once; see :class:`Observer`."""
    observer = Observer(area, grid, label=label, min_polygon_m2=min_polygon_m2, connectivity=connectivity)
    observer.add(stitched, seen)
    return observer.result()


def _clip(detections: list[Detection], area: BaseGeometry) -> list[Detection]:
    clipped = []
    for one in detections:
        if area.covers(one.geometry):
            clipped.append(one)
            continue
        geometry = clean(one.geometry.intersection(area))
        if not geometry.is_empty:
            clipped.append(Detection(one.target, geometry, one.score, geodesic_m2(geometry)))
    return clipped
