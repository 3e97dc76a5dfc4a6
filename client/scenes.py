"""Scenes of a watch as an analyst reaches them: which there are, their grid, and their pixels window by window.

Pixels are read by :mod:`segwatch.geo.sources.rasters.pixels` with the limits of the flows: hosts of the profile, the
catalog and ``SEGWATCH_IMAGERY_HOSTS`` alone, http and https alone, whole windows or an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any
from uuid import UUID

import geopandas
import numpy as np
import pandas as pd
import rasterio.features
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely import box
from shapely.geometry.base import BaseGeometry

from segwatch.client import frames
from segwatch.client.arguments import Box
from segwatch.client.columns import COVERAGE, DETECTIONS, IMAGERY, Table
from segwatch.client.errors import BadRequest, NotReadable
from segwatch.client.sources import PAGE_ROWS, Source
from segwatch.db.analyst.pages import Condition, Query
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.web.pixels.shown import ShownScene, shown_scene
from segwatch.geo.antimeridian import compute_bounds
from segwatch.geo.crs import LONLAT, to_crs, to_lonlat
from segwatch.geo.errors import GeoError
from segwatch.geo.grid import get_crs, make_grid
from segwatch.geo.rendering import render
from segwatch.geo.sources.rasters.pixels import SceneWindow, read_scene

#: Value of ``prediction`` where the ground was not observed.
NOT_OBSERVED = 255
#: Degrees by which nine decimals may be off, twice; 0.2 mm.
_ROUNDING = 2e-9
Span = tuple[datetime | None, datetime | None]


@dataclass(frozen=True, slots=True)
class SceneRow:
    """One scene of a watch."""

    scene_id: str
    scene_key: str
    acquired_at: datetime
    state: str
    item_hrefs: tuple[str, ...]
    observation_id: str | None
    """Observation that predictions come from; None = not observed."""
    model: str
    footprint: BaseGeometry | None
    """Observed footprint, EPSG:4326."""


class WatchImagery:
    """Imagery of one watch, and what was found in it.

    Parameters
    ----------
    row
        Row of ``watch.watches``.
    facts
        What ``attrs`` of its rasters say.
    """

    def __init__(
        self, source: Source, settings: FlowSettings, row: Mapping[str, Any], facts: Mapping[str, Any]
    ) -> None:
        self._source = source
        self._settings = settings
        self._row = row
        self.facts = facts
        self._open = lru_cache(maxsize=256)(self._find_scene)

    @property
    def watch(self) -> str:
        """Name of the watch."""
        return str(self._row["watch"])

    @property
    def targets(self) -> tuple[str, ...]:
        """Targets of the instruction."""
        return tuple(self._row["targets"])

    @cached_property
    def grid(self) -> GeoBox:
        """Pixel grid on which the watch is segmented."""
        # over HTTP the area has nine decimals, which must not move an edge that lies on the edge of a pixel
        area = frames.parse_geometry(self._row["geom"])
        return make_grid(area.buffer(-_ROUNDING) if area.area > 0 else area, float(self._row["gsd_m"]))

    def cut_grid(self, boxes: Sequence[Box] | None) -> GeoBox:
        """Cut the part of the grid that boxes in degrees touch; None = all of it.

        Raises
        ------
        BadRequest
            The boxes lie outside the area of the watch.
        """
        if boxes is None:
            return self.grid
        rows, cols = zip(*(self._locate(one) for one in boxes), strict=True)
        top, bottom = min(one.start for one in rows), max(one.stop for one in rows)
        left, right = min(one.start for one in cols), max(one.stop for one in cols)
        if top >= bottom or left >= right:
            raise BadRequest(
                f"bbox: no part of it is in the area of watch {self.watch}; s.watches() has its geometry"
            )
        return self.grid[top:bottom, left:right]

    def _locate(self, around: Box) -> tuple[slice, slice]:
        """Rows and columns of the grid that a box touches; empty where there are none."""
        crs = get_crs(self.grid)
        area = box(*compute_bounds(frames.parse_geometry(self._row["geom"])))
        meets = box(*around).intersection(area) if area.bounds[0] <= area.bounds[2] else box(*around)
        if meets.is_empty:
            return slice(self.grid.height, 0), slice(self.grid.width, 0)
        west, south, east, north = to_crs(meets.segmentize(0.05), crs).bounds
        (left, top), (right, bottom) = (~self.grid.transform @ one for one in ((west, north), (east, south)))
        return (
            slice(max(int(np.floor(top + 1e-6)), 0), min(int(np.ceil(bottom - 1e-6)), self.grid.height)),
            slice(max(int(np.floor(left + 1e-6)), 0), min(int(np.ceil(right - 1e-6)), self.grid.width)),
        )

    def list_scenes(
        self, span: Span = (None, None), states: Sequence[str] | None = ("observed",)
    ) -> list[SceneRow]:
        """List the scenes acquired within a span, oldest first."""
        imagery, coverage = self._read(IMAGERY, span), self._read(COVERAGE, span)
        current = coverage[coverage.superseded_at.isna() & (coverage.state == "observed").fillna(False)]
        best = _choose_observations(current, self._row["instruction_revision"])
        rows = [
            _make_scene(str(scene_id), items, best.get(items.scene_key.iloc[0]))
            for scene_id, items in imagery.groupby("scene_id", sort=False)
        ]
        wanted = [one for one in rows if states is None or one.state in states]
        return sorted(wanted, key=lambda one: (one.acquired_at, one.scene_id))

    def _read(self, table: Table, span: Span) -> geopandas.GeoDataFrame:
        first, last = span
        conditions = [Condition("watch", "=", self.watch)]
        conditions += [Condition(table.time, ">=", first)] if first is not None else []
        conditions += [Condition(table.time, "<", last)] if last is not None else []
        query = Query(table.view, tuple(table.columns), (table.time, *table.key), tuple(conditions))
        return frames.make_frame(table, self._source.stream_pages(query, PAGE_ROWS), {})

    def read_window(self, scene_id: str, window: GeoBox) -> SceneWindow:
        """Read pixels, valid and clear masks of a scene on a window of the grid.

        Raises
        ------
        NotReadable
            The imagery cannot be read; the message says what to do.
        """
        try:
            shown = self._open(scene_id)
            return read_scene(
                shown.scene, shown.profile, window, allowed_hosts=shown.hosts, credentials=shown.credentials
            )
        except GeoError as error:
            raise NotReadable(f"scene {scene_id} of watch {self.watch} cannot be read: {error}") from error

    def render_window(self, scene_id: str, window: GeoBox) -> NDArray[np.uint8]:
        """Render a window as the model sees it.

        Returns
        -------
        NDArray[np.uint8]
            (H, W, 4) red, green, blue, alpha; transparent where there is no data.
        """
        found = self.read_window(scene_id, window)
        rgb = render(found.bands, found.valid, self._open(scene_id).profile).values
        return np.dstack([rgb, np.where(found.valid.values, 255, 0).astype(np.uint8)])

    def is_decibels(self, scene_id: str) -> bool:
        """Tell whether the pixels of a scene are decibels."""
        return self._open(scene_id).profile.decibels

    def _find_scene(self, scene_id: str) -> ShownScene:
        rows = self._source.list_items(self.watch, scene_id)
        if not rows:
            raise NotReadable(f"watch {self.watch} has no scene {scene_id} any more; read the scenes anew")
        shown = shown_scene(rows, self._settings.imagery_hosts)
        return replace(shown, credentials=self._settings.credentials_for(shown.profile.name))

    def rasterize(self, scene: SceneRow, targets: Sequence[str], window: GeoBox) -> NDArray[np.uint8]:
        """Rasterize the detections of a scene on a window of the grid; a pixel counts by its centre.

        Returns
        -------
        NDArray[np.uint8]
            (targets, H, W): 1 inside a detection, 0 observed without one, 255 not observed.
        """
        observed = np.zeros(window.shape, bool)
        if scene.footprint is not None and scene.observation_id is not None:
            observed = self._burn([scene.footprint], window)
        made = np.full((len(targets), *window.shape), NOT_OBSERVED, np.uint8)
        made[:, observed] = 0
        found = self._read_detections(scene, window) if observed.any() else None
        for place, target in enumerate(targets):
            shapes = [] if found is None else list(found.geometry[(found.target == target).fillna(False)])
            made[place][self._burn(shapes, window) & observed] = 1
        return made

    def _read_detections(self, scene: SceneRow, window: GeoBox) -> geopandas.GeoDataFrame:
        outline = to_lonlat(box(*window.boundingbox).segmentize(1000.0), get_crs(window))
        west, south, east, north = outline.bounds
        # across the antimeridian every detection of the scene is read
        boxes = ((west, south, east, north),) if east - west < 180 else None
        conditions = (
            Condition("watch", "=", self.watch),
            Condition("observation_id", "=", UUID(scene.observation_id)),
        )
        query = Query(DETECTIONS.view, tuple(DETECTIONS.columns), DETECTIONS.key, conditions, boxes)
        return frames.make_frame(DETECTIONS, self._source.stream_pages(query, PAGE_ROWS), {})

    @staticmethod
    def _burn(shapes: Sequence[BaseGeometry], window: GeoBox) -> NDArray[np.bool_]:
        """Mark the pixels whose centres lie in EPSG:4326 geometries; (H, W)."""
        crs = get_crs(window)
        moved = [
            to_crs(one, crs) if crs != LONLAT else one
            for one in shapes
            if one is not None and not one.is_empty
        ]
        if not moved:
            return np.zeros(window.shape, bool)
        burnt = rasterio.features.rasterize(
            moved, out_shape=window.shape, transform=window.transform, fill=0, default_value=1, dtype="uint8"
        )
        return np.asarray(burnt, bool)


def _choose_observations(current: geopandas.GeoDataFrame, revision: str) -> dict[str, Any]:
    """Choose the observation of each scene by its key: of the instruction in force, then the newest."""
    ours = current.assign(in_force=(current.instruction_revision == str(revision)).fillna(False))
    ordered = ours.sort_values(["in_force", "committed_at", "observation_id"])
    return {str(row.scene_key): row for row in ordered.itertuples() if not pd.isna(row.scene_key)}


def _make_scene(scene_id: str, items: geopandas.GeoDataFrame, observed: Any) -> SceneRow:
    first = items.iloc[0]
    return SceneRow(
        scene_id=scene_id,
        scene_key=str(first.scene_key),
        acquired_at=first.acquired_at.to_pydatetime(),
        state=str(first.state) if observed is None else "observed",
        item_hrefs=tuple(str(one) for one in items.item_href),
        observation_id=None if observed is None else str(observed.observation_id),
        model="" if observed is None or pd.isna(observed.model) else str(observed.model),
        footprint=None if observed is None else observed.geom,
    )
