"""Predict all instructions of observations that need the same pixels of one scene, strip by strip. No database.

Tiles that reach two column spans are predicted for both.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from segwatch.db.errors import describe_error
from segwatch.db.ledger import LeasedObservation
from segwatch.flows.errors import SegmenterError
from segwatch.flows.failures.blame import is_out_of_device_memory
from segwatch.flows.inference.index_spool import IndexSpool
from segwatch.flows.inference.quicklooks import Preview
from segwatch.flows.inference.requests import Collector, make_request
from segwatch.flows.inference.segmenters import Segmenter
from segwatch.flows.inference.shadow import ShadowPlan, is_spectral
from segwatch.flows.inference.spectral import IndexSegmentation, Opinion, SceneIndices
from segwatch.flows.inference.strips import SceneView, Strip, StripReader
from segwatch.geo import grid as grids
from segwatch.geo import tiling
from segwatch.geo.chips import ChipCutter, choose_cells
from segwatch.geo.detect import Observer
from segwatch.geo.exemplars import ExemplarFinder
from segwatch.geo.footprint import AreaMask
from segwatch.geo.judging import PixelSample, find_misrendering
from segwatch.geo.mirroring import fill_by_mirroring
from segwatch.geo.sources.http.credentials import Credentials
from segwatch.geo.stitch import Stitcher
from segwatch.geo.text.shares import format_share_percent
from segwatch.geo.tiling import ColumnSpan, Tile
from segwatch.geo.types.segmentation import ReviewedObject
from segwatch.geo.types.source import Profile
from segwatch.geo.types.tracking import ObservationResult
from segwatch.geo.types.watch import Watch

_log = logging.getLogger(__name__)
#: Relative error of the area's pixel count before all of its rows were rasterized.
_MARGIN = 0.01
#: Largest column span: with it, a seventh of a wide area's tiles are predicted twice.
_MAX_SPAN_PX = 5632
#: Tiles of a grid beyond which it is not counted how many of them meet the area.
_MAX_COUNTED_TILES = 16_000


@dataclass(frozen=True, slots=True)
class SceneUnusable:
    """The scene shows too little of the area to be observed."""

    reason: str


@dataclass(frozen=True, slots=True)
class TilesFailed:
    """The segmenter failed on too many tiles of the scene."""

    failed: int
    tiles: int
    error: str
    """The segmenter's last error."""
    of_machine: bool = False
    """Whether the device ran out of memory."""
    compute_seconds: float = 0.0
    """Time in the segmenter."""

    @property
    def reason(self) -> str:
        """The reason as the ledger records it."""
        return f"{self.failed} of {self.tiles} tiles failed, the last with {self.error}"


@dataclass(frozen=True, slots=True)
class SceneMisrendered:
    """The scene's rendering says nothing about the ground; reading it again would not change that."""

    reason: str


@dataclass(frozen=True)
class ObservationGroup:
    """Observations of one scene with the same area and profile."""

    observations: tuple[LeasedObservation, ...]
    hosts: frozenset[str]
    """Hosts that pixels may be read from."""
    tile_px: int
    """Side in pixels of the tiles that the segmenter takes."""
    credentials: Credentials = field(default_factory=dict)
    """What the profile's access needs."""
    spectral: bool = False
    """Whether a segmenter needs spectral indices; observations may want them as evidence, too."""
    reviewed: Mapping[str, tuple[ReviewedObject, ...]] = field(default_factory=dict)
    """Watch -> its reviewed objects that segmenters may take as exemplars, the newest reviews first."""

    @property
    def profile(self) -> Profile:
        """The one profile of the group."""
        return self.observations[0].watch.profile

    @cached_property
    def view(self) -> SceneView:
        """The group's area on its pixel grid, the same for every scene; the grid reaches to whole tiles."""
        area, side = self.observations[0].watch.area, self.tile_px
        area_grid = grids.make_grid(area, self.profile.gsd_m)
        grid = tiling.extend_to_tiles(area_grid, side, compute_overlap(side))
        tiles = tiling.make_tiles(grid.height, grid.width, side, compute_overlap(side))
        mask = AreaMask(area, grid)
        return SceneView(
            mask,
            area_grid,
            grid,
            tuple(mask.select(tiles, grid)),
            self.profile,
            tuple(sorted(self.hosts)),
            self.credentials,
            spectral=self.spectral or any(one.watch.evidence for one in self.observations),
        )


def compute_overlap(tile_px: int) -> int:
    """Return the overlap of neighbouring tiles in pixels."""
    return tile_px // 4


def count_tiles(watch: Watch, tile_px: int) -> int:
    """Count the tiles that a watch's area takes; in a grid of very many, all of them."""
    # of a sparse area in a large grid, few tiles meet it; but not even a list may grow without bound
    grid, overlap = grids.make_grid(watch.area, watch.profile.gsd_m), compute_overlap(tile_px)
    total = -(-grid.width // (tile_px - overlap)) * -(-grid.height // (tile_px - overlap))
    if total > _MAX_COUNTED_TILES:
        return total
    whole = tiling.extend_to_tiles(grid, tile_px, overlap)
    tiles = tiling.make_tiles(whole.height, whole.width, tile_px, overlap)
    return len(list(AreaMask(watch.area, whole).select(tiles, whole)))


def split_grid(grid: GeoBox, tile_px: int, max_px: int = _MAX_SPAN_PX) -> list[ColumnSpan]:
    """Split a grid into the column spans that are processed one after another."""
    return tiling.split_columns(grid.width, tile_px, compute_overlap(tile_px), max_px)


Outcome = ObservationResult | SceneUnusable | SceneMisrendered | TilesFailed


def predict_group(
    group: ObservationGroup,
    reading: StripReader,
    segmenter: Segmenter,
    batch: int,
    preview: Preview | None = None,
    report_alive: Callable[[], None] = lambda: None,
    shadows: Sequence[ShadowPlan] = (),
) -> Iterator[tuple[LeasedObservation, Outcome]]:
    """Run the segmenter once for all observations of a group, and yield the outcome of each.

    The rendering is judged over the whole area before any outcome: before the first prediction where the whole scene
    fits in memory, else after the last strip.

    Parameters
    ----------
    batch
        Tiles per call of the segmenter.
    preview
        Receives every strip, to draw the quicklook.
    report_alive
        Called with each strip and each batch of tiles.
    shadows
        Segmenters to compare with the first one.
    """
    with IndexSpool() as spool:
        indices = SceneIndices(group.view, spool)
        yield from _predict_group(group, reading, segmenter, batch, preview, report_alive, shadows, indices)


def _predict_group(
    group: ObservationGroup,
    reading: StripReader,
    segmenter: Segmenter,
    batch: int,
    preview: Preview | None,
    report_alive: Callable[[], None],
    shadows: Sequence[ShadowPlan],
    indices: SceneIndices,
) -> Iterator[tuple[LeasedObservation, Outcome]]:
    strips: Iterable[Strip] = reading
    usable = list(group.observations)
    if reading.fits_in_memory:
        strips = list(reading)
        tally = _Tally()
        for strip in strips:
            tally.add(strip)
        unfit = find_misrendering(tally.sample, group.profile) is not None
        usable = [one for one in usable if not (unfit or _is_too_cloudy(tally.clear_share, one))]
    start = partial(_start, group, batch=batch, report_alive=report_alive, indices=indices)
    prediction = start(segmenter, usable)
    is_wide = len(split_grid(group.view.grid, segmenter.tile_px)) > 1
    # whatever the segmenter is: series are registered by pixels
    chips = ChipCutter(choose_cells(group.observations[0].watch.area, group.view.grid), group.view.grid)
    running = [plan.run(usable, segmenter, start, is_wide=is_wide) for plan in shadows]
    for strip in strips:
        report_alive()
        indices.add(strip)
        prediction.add(strip)
        chips.add(strip.rgb.values, strip.clear.values, strip.row, strip.columns.left)
        for shadow in running:
            shadow.add(strip)
        if preview is not None:
            preview.add(strip)
        if not reading.fits_in_memory:
            prediction.drop_too_cloudy()
    for one in (prediction, *running):
        one.finish()
    tally = prediction.tally
    cells = indices.get_cells() if indices.names else None
    fault = find_misrendering(tally.sample, group.profile)
    for observation in group.observations:
        if _is_too_cloudy(tally.clear_share, observation):
            yield observation, SceneUnusable(_explain_skip(tally, observation.watch.max_cloud_cover))
            continue
        if fault is not None:
            yield observation, SceneMisrendered(fault)
            continue
        failure = prediction.failure(observation)
        if failure is not None:
            yield observation, failure
            continue
        result = replace(prediction.result(observation, reading.bytes_read), chips=chips.cut())
        if cells is not None and observation.watch.evidence:
            result = indices.measure(result, cells)
        compared = [one.compare(observation, result) for one in running if one.has(observation)]
        yield observation, replace(result, shadow=compared[0]) if compared else result


def _start(
    group: ObservationGroup,
    segmenter: Segmenter,
    usable: list[LeasedObservation],
    *,
    batch: int,
    report_alive: Callable[[], None],
    indices: SceneIndices,
) -> _GroupPrediction | _IndexPrediction:
    """Start a segmenter's work on a scene."""
    if is_spectral(segmenter):
        return _IndexPrediction(IndexSegmentation(group.view, indices))
    return _GroupPrediction(group, usable, segmenter, batch, report_alive)


@dataclass(slots=True)
class _Tally:
    """Pixel counts of the strips so far."""

    area_px: int = 0
    valid_px: int = 0
    clear_px: int = 0
    sample: PixelSample = field(default_factory=PixelSample)

    def add(self, strip: Strip) -> None:
        """Count one more strip."""
        self.area_px += strip.area_px
        self.valid_px += strip.valid_px
        self.clear_px += strip.clear_px
        self.sample += strip.sample

    @property
    def valid_share(self) -> float:
        """Share of the area that is valid."""
        return self.valid_px / max(1, self.area_px)

    @property
    def clear_share(self) -> float:
        """Share of the area that is clear."""
        return self.clear_px / max(1, self.area_px)


def _is_too_cloudy(clear_share: float, observation: LeasedObservation) -> bool:
    return clear_share == 0 or clear_share < 1 - observation.watch.max_cloud_cover


def _explain_skip(tally: _Tally, max_cloud_cover: float) -> str:
    if tally.valid_px == 0:
        return "not imaged: no valid pixel of this scene lies in the area"
    shares = (tally.clear_share, tally.valid_share, 1 - max_cloud_cover)
    clear, valid, least = (format_share_percent(one) for one in shares)
    return f"cloudy: {clear} of the area is clear ({valid} imaged), at least {least} is required"


class _IndexPrediction:
    """The work of ``spectral`` on one group: it begins when all indices are collected."""

    def __init__(self, segmentation: IndexSegmentation) -> None:
        self._segmentation = segmentation
        self._opinions: dict[object, Opinion] = {}
        self.tally = _Tally()

    def add(self, strip: Strip) -> None:
        """Count the next strip."""
        self.tally.add(strip)

    def drop_too_cloudy(self) -> None:
        """Drop nothing: nothing is predicted before the last strip."""

    def finish(self) -> None:
        """Finish: the indices are complete."""

    def ask(self, observation: LeasedObservation) -> Opinion:
        """Return the prediction of one observation."""
        if observation.id not in self._opinions:
            self._opinions[observation.id] = self._segmentation.predict(observation)
        return self._opinions[observation.id]

    def failure(self, observation: LeasedObservation) -> SceneUnusable | None:
        """Return why an observation has no result: no opinion on one target is no observation of any."""
        reason = self.ask(observation).explain_silence()
        return SceneUnusable(reason) if reason else None

    def result(self, observation: LeasedObservation, bytes_read: int) -> ObservationResult:
        """Return the result of one observation."""
        result = self.ask(observation).result
        if result is None:
            raise SegmenterError("the segmenter spectral has no opinion on this scene")
        return replace(result, bytes_read=bytes_read)


class _GroupPrediction:
    """The model's work on one group: collects rows, runs tiles through the model, traces finished rows."""

    def __init__(
        self,
        group: ObservationGroup,
        usable: list[LeasedObservation],
        segmenter: Segmenter,
        batch: int,
        report_alive: Callable[[], None],
    ) -> None:
        self._segmenter = segmenter
        self._report_alive = report_alive
        self._batch = batch
        self._active = usable
        self._view = group.view
        self._every_tile = _choose_tiles(group, segmenter.tile_px)
        self._columns: ColumnSpan | None = None
        self._queue: list[tuple[Tile, NDArray[np.uint8]]] = []
        self.tally = _Tally()
        self._seconds = 0.0
        self._errors: dict[object, str] = {}
        self._of_machine: set[object] = set()
        self._isolated: set[object] = set()
        """Observations whose instruction failed where others succeeded; they run separately from then on."""
        self._exemplars = {
            one.id: ExemplarFinder(group.reviewed.get(one.watch.name, ()), self._view.grid) for one in usable
        }
        self._collectors = {one.id: Collector(one.watch.instruction) for one in usable}
        self._tiles = dict.fromkeys((one.id for one in usable), 0)
        self._tiles_failed = self._tiles.copy()
        self._observers = {one.id: _make_observer(one, self._view.grid) for one in usable}

    def _begin(self, columns: ColumnSpan) -> None:
        self._columns = columns
        grid, side = self._view.grid, self._segmenter.tile_px
        shape = (grid.height, grid.width, side, compute_overlap(side))
        self._plan = [tile for tile in self._every_tile if columns.has(tile)]
        self._top = 0
        # plain arrays: the buffers grow and shrink by rows with every strip; segmenters take numpy tiles (ADR 0011)
        self._rgb: NDArray[np.uint8] = np.zeros((0, columns.width, 3), np.uint8)
        self._valid: NDArray[np.bool_] = np.zeros((0, columns.width), bool)
        self._clear = self._valid
        self._stitchers = {one.id: Stitcher(*shape, columns) for one in self._active}
        for one in self._active:
            self._observers[one.id].begin_columns(columns.start, columns.stop)

    def add(self, strip: Strip) -> None:
        """Add the next rows of a column span, from the top."""
        if strip.columns != self._columns:
            self.finish()
            self._begin(strip.columns)
        self.tally.add(strip)
        self._rgb = np.concatenate([self._rgb, strip.rgb.values])
        self._valid = np.concatenate([self._valid, strip.valid.values])
        self._clear = np.concatenate([self._clear, strip.clear.values])
        bottom = self._top + len(self._clear)
        while self._plan and self._plan[0].row + self._plan[0].height <= bottom:
            self._enqueue(strip.columns, self._plan.pop(0))
        self._trace(strip.columns)

    def finish(self) -> None:
        """Finish the column span: no more rows of it come."""
        while self._queue:
            self._run_batch()
        if self._columns is not None:
            self._trace(self._columns)

    def failure(self, observation: LeasedObservation) -> TilesFailed | None:
        """Return the failure of an observation with too many failed tiles, or with no successful one."""
        tiles, failed = self._tiles[observation.id], self._tiles_failed[observation.id]
        if failed == 0 or (failed < tiles and failed <= observation.watch.max_failed_tiles * tiles):
            return None
        error = self._errors[observation.id]
        return TilesFailed(
            failed,
            tiles,
            error,
            of_machine=observation.id in self._of_machine,
            compute_seconds=self._seconds / max(1, len(self._active)),
        )

    def ask(self, observation: LeasedObservation) -> Opinion:
        """Return the prediction of one observation for a comparison."""
        failed = self.failure(observation)
        if failed is not None:
            return Opinion(None, {"every target": failed.reason})
        return Opinion(self.result(observation, 0), {})

    def result(self, observation: LeasedObservation, bytes_read: int) -> ObservationResult:
        """Return the result of one observation."""
        footprint, detections = self._observers[observation.id].result()
        return ObservationResult(
            footprint=footprint,
            detections=tuple(detections),
            answer=self._collectors[observation.id].text,
            tiles=self._tiles[observation.id],
            tiles_failed=self._tiles_failed[observation.id],
            clear_share=self.tally.clear_share,
            bytes_read=bytes_read,
            compute_seconds=self._seconds / len(self._active),
            presence=self._collectors[observation.id].list_presence(),
        )

    def drop_too_cloudy(self) -> None:
        """Stop predicting for observations that stay too cloudy even if the rest of the scene is clear."""
        counted = self.tally.area_px
        rest = max(0.0, (1 + _MARGIN) * self._view.area.pixels - counted)
        best = (self.tally.clear_px + rest) / max(1.0, counted + rest)
        self._active = [one for one in self._active if best >= 1 - one.watch.max_cloud_cover]

    def _enqueue(self, columns: ColumnSpan, tile: Tile) -> None:
        rows = slice(tile.row - self._top, tile.row + tile.height - self._top)
        cols = slice(tile.col - columns.left, tile.col + tile.width - columns.left)
        if not (self._active and self._clear[rows, cols].any()):
            return  # a tile without a clear pixel needs no prediction
        self._queue.append((tile, fill_by_mirroring(self._rgb[rows, cols], self._valid[rows, cols])))
        if len(self._queue) >= self._batch:
            self._run_batch()

    def _run_batch(self) -> None:
        """Run queued tiles through the model; a tile that fails is unknown, not empty."""
        begun = time.perf_counter()
        batch, self._queue = self._queue[: self._batch], self._queue[self._batch :]
        if not self._active:
            return  # all observations were dropped after these tiles were queued
        for one in self._active:
            self._tiles[one.id] += len(batch)
        together = [one for one in self._active if one.id not in self._isolated]
        alone = [one for one in self._active if one.id in self._isolated]
        failed = self._predict(batch, together)
        if failed and len(together) > 1:
            # one instruction may have caused the failure: try each alone, so that the others keep their predictions
            failed = [one for one in together if self._predict(batch, [one])]
            if len(failed) < len(together):
                self._isolated.update(one.id for one in failed)
        for one in [*failed, *(one for one in alone if self._predict(batch, [one]))]:
            self._tiles_failed[one.id] += len(batch)
        self._seconds += time.perf_counter() - begun

    def _predict(
        self, batch: list[tuple[Tile, NDArray[np.uint8]]], observations: list[LeasedObservation]
    ) -> list[LeasedObservation]:
        """Predict a batch of tiles and blend the results in; return the observations that failed."""
        if not observations:
            return []
        tiles = [tile for tile, _ in batch]
        requests = [make_request(one, self._exemplars[one.id].find(tiles)) for one in observations]
        self._report_alive()
        try:
            predictions = self._segmenter.segment([pixels for _, pixels in batch], requests)
        except Exception as error:  # torch's own errors, and whatever an operator's segmenter raises
            reason = describe_error(error)
            self._errors.update({one.id: reason for one in observations})
            if is_out_of_device_memory(error):
                self._of_machine.update(one.id for one in observations)
            _log.warning("%d tile(s) failed for %d instruction(s): %s", len(batch), len(observations), reason)
            return observations
        for (tile, _), per_request in zip(batch, predictions, strict=True):
            for one, prediction in zip(observations, per_request, strict=True):
                self._collectors[one.id].add(self._stitchers[one.id], tile, prediction)
        return []

    def _trace(self, columns: ColumnSpan) -> None:
        """Trace the rows that no further tile reaches, and release them."""
        open_rows = [tile.row for tile, _ in self._queue[:1]] + [tile.row for tile in self._plan[:1]]
        stop = min(open_rows, default=self._top + len(self._clear))
        count = stop - self._top
        if count <= 0:
            return
        for one in self._active:
            self._observers[one.id].add(self._stitchers[one.id].take(stop), self._clear[:count, columns.own])
        self._rgb, self._valid = self._rgb[count:].copy(), self._valid[count:].copy()
        self._clear = self._clear[count:].copy()
        self._top = stop


def _choose_tiles(group: ObservationGroup, tile_px: int) -> Sequence[Tile]:
    """Choose the tiles that a segmenter sees: the group's, or its own where the group was cut for another segmenter."""
    view = group.view
    if tile_px == group.tile_px:
        return view.tiles
    return view.area.select(
        tiling.make_lattice_tiles(view.grid, tile_px, compute_overlap(tile_px)), view.grid
    )


def _make_observer(observation: LeasedObservation, grid: GeoBox) -> Observer:
    watch = observation.watch
    return Observer(
        watch.area,
        grid,
        label=watch.instruction.label,
        min_polygon_m2=watch.min_polygon_m2,
        connectivity=watch.connectivity,
        outlines=watch.outlines,
    )
