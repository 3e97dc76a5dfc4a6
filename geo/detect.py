"""Turn stitched logits and clear pixels into the observed footprint and detections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from segwatch.geo.area import compute_area_m2
from segwatch.geo.footprint import AreaMask, join_footprint
from segwatch.geo.grid import compute_pixel_area
from segwatch.geo.polygons import Region, Tracer, clean, to_detection
from segwatch.geo.seams import absorb_unclaimed, join_instances, join_regions, touches_seam
from segwatch.geo.simplifying import simplify_outlines
from segwatch.geo.stitch import Stitched
from segwatch.geo.types.tracking import Detection
from segwatch.geo.types.watch import PolygonStyle


class Observer:
    """Footprint and detections of one instruction on one scene, from strips of rows, top to bottom.

    Instances that the segmenter told apart are detections of their own, even where they touch.

    A wide grid may come in several column spans, left to right, each from top to bottom. A pixel counts where it is
    clear, a tile has a prediction for it, and its centre lies in the area. Detections are covered by the footprint;
    regions that stick out of the area by part of a pixel are clipped to it.

    Parameters
    ----------
    area
        EPSG:4326.
    label
        Maps the 0-based index of a target to its label.
    min_polygon_m2
        Smaller detections are dropped.
    connectivity
        As in :class:`segwatch.geo.polygons.Tracer`.
    outlines
        Outlines other than along pixel edges come from :func:`segwatch.geo.simplifying.simplify_outlines`.
    """

    def __init__(
        self,
        area: BaseGeometry,
        grid: GeoBox,
        *,
        label: Callable[[int], str],
        min_polygon_m2: float,
        connectivity: int = 4,
        outlines: PolygonStyle = PolygonStyle.EDGES,
    ) -> None:
        self._area = area
        self._grid = grid
        self._label = label
        self._min_m2 = min_polygon_m2
        self._connectivity = connectivity
        self._outlines = outlines
        self._area_mask = AreaMask(area, grid)
        self._seams: list[int] = []
        self._footprint: list[Region] = []
        self._found: list[tuple[int, Region]] = []
        self._with_instances: set[int] = set()
        self._begin(0, grid.width)
        shapely.prepare(area)

    def begin_columns(self, start: int, stop: int) -> None:
        """Begin the next column span; the rows that follow belong to it, from the top."""
        self._end()
        if start:
            self._seams.append(start)
        self._begin(start, stop)

    def _begin(self, start: int, stop: int) -> None:
        self._columns = start, stop
        self._row = 0
        self._begun = len(self._found)
        self._joined: dict[int, dict[int, int]] = {}
        """Target -> instances of this column span that turned out to be parts of others."""
        self._clear = Tracer(stop - start, col=start)
        self._targets: list[Tracer] = []

    def _end(self) -> None:
        self._footprint += self._clear.end()
        for index, tracer in enumerate(self._targets):
            self._keep(index, tracer.end())
        if self._joined:
            earlier, self._found = self._found[: self._begun], self._found[self._begun :]
            self._regroup(lambda index, regions: join_instances(regions, self._joined.get(index, {})))
            self._found, self._joined = earlier + self._found, {}

    def add(self, stitched: Stitched, clear: NDArray[np.bool_]) -> None:
        """Add the next rows; ``clear`` has the (h, w) of the column span."""
        start, end = self._columns
        stop = self._row + len(clear)
        usable = clear & stitched.known & self._area_mask.rasterize(self._grid[self._row : stop, start:end])
        self._footprint += self._clear.add(usable)
        while len(self._targets) < len(stitched.logits):
            # no earlier row has this target
            tracer = Tracer(end - start, self._connectivity, row=self._row, col=start)
            self._targets.append(tracer)
        nothing = np.zeros_like(usable)
        for index, tracer in enumerate(self._targets):
            if index < len(stitched.logits):
                logits = stitched.logits[index]
                instances = None if stitched.instances is None else stitched.instances[index]
                if instances is not None and instances.any():
                    self._with_instances.add(index)
                if index < len(stitched.joined) and stitched.joined[index]:
                    self._joined[index] = stitched.joined[index]
                ended = tracer.add((logits > 0) & usable, logits, instances)
            else:
                ended = tracer.add(nothing)
            self._keep(index, ended)
        self._row = stop

    def result(self) -> tuple[BaseGeometry, list[Detection]]:
        """Return the footprint, and the detections by target in row-major order of their first pixels."""
        self._end()
        self._join_seams()
        self._join_unclaimed()
        self._found.sort(key=lambda one: (one[0], one[1].first))
        if self._outlines is not PolygonStyle.EDGES:
            self._simplify()
        found = []
        for index, region in self._found:
            one = to_detection(region, self._grid, self._label(index))
            if one.area_m2 >= self._min_m2:
                found.append(one)
        return join_footprint(self._area, self._footprint, self._grid), _clip(found, self._area)

    def _join_seams(self) -> None:
        """Join regions that meet where column spans meet."""
        if not self._seams:
            return
        self._footprint = join_regions(self._footprint, self._seams)
        self._regroup(lambda _, regions: join_regions(regions, self._seams, self._connectivity))

    def _join_unclaimed(self) -> None:
        """Join the parts of a mask that belong to no instance with the instances beside them."""
        if self._with_instances:
            self._regroup(lambda _, regions: absorb_unclaimed(regions))

    def _regroup(self, join: Callable[[int, list[Region]], list[Region]]) -> None:
        """Replace the regions of each target by what ``join`` makes of them."""
        by_target: dict[int, list[Region]] = {}
        for index, region in self._found:
            by_target.setdefault(index, []).append(region)
        self._found = [(index, one) for index, regions in by_target.items() for one in join(index, regions)]

    def _simplify(self) -> None:
        """Simplify all outlines together with the footprint's, so that shared borders stay shared."""
        regions = [*self._footprint, *(region for _, region in self._found)]
        simple = simplify_outlines(
            [one.outline for one in regions], smooth=self._outlines is PolygonStyle.SMOOTH
        )
        made = [replace(region, outline=outline) for region, outline in zip(regions, simple, strict=True)]
        count = len(self._footprint)
        self._footprint = made[:count]
        self._found = [(index, one) for (index, _), one in zip(self._found, made[count:], strict=True)]

    def _keep(self, index: int, regions: list[Region]) -> None:
        # drop clearly too small regions early; half the limit leaves room for the distortion of a projected pixel
        least = self._min_m2 / 2 / compute_pixel_area(self._grid)
        edges = self._columns
        # small parts may belong to an instance, or be one with others
        keeps_all = index in self._with_instances
        self._found += [
            (index, one)
            for one in regions
            if keeps_all or one.outline.area >= least or touches_seam(one, edges)
        ]


def observe(
    stitched: Stitched,
    clear: NDArray[np.bool_],
    area: BaseGeometry,
    grid: GeoBox,
    *,
    label: Callable[[int], str],
    min_polygon_m2: float,
    connectivity: int = 4,
) -> tuple[BaseGeometry, list[Detection]]:
    """Compute footprint and detections from all rows at once; see :class:`Observer`."""
    observer = Observer(area, grid, label=label, min_polygon_m2=min_polygon_m2, connectivity=connectivity)
    observer.add(stitched, clear)
    return observer.result()


def _clip(detections: list[Detection], area: BaseGeometry) -> list[Detection]:
    clipped = []
    for one in detections:
        if area.covers(one.geometry):
            clipped.append(one)
            continue
        geometry = clean(one.geometry.intersection(area))
        if not geometry.is_empty:
            clipped.append(Detection(one.target, geometry, one.score, compute_area_m2(geometry)))
    return clipped
