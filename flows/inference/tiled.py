"""Answer all instructions that look at the same pixels of one scene, strip by strip. No database, no prefect.

Tiles that two bands of columns share are answered for both.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from segwatch.db.errors import words
from segwatch.db.ledger import LeasedObservation
from segwatch.flows.failures.blame import out_of_device_memory
from segwatch.flows.inference.quicklooks import Preview
from segwatch.flows.inference.segmenters import Segmenter
from segwatch.flows.inference.strips import Reading, Strip, View
from segwatch.geo import grid as grids
from segwatch.geo import tiling
from segwatch.geo.detect import Observer
from segwatch.geo.footprint import Inside
from segwatch.geo.judging import Shades, misrendered
from segwatch.geo.sources.http.credentials import Credentials
from segwatch.geo.stitch import Stitcher
from segwatch.geo.text.storable import storable
from segwatch.geo.tiling import Band, Tile
from segwatch.geo.types.source import Profile
from segwatch.geo.types.tracking import ObservationResult

_log = logging.getLogger(__name__)
#: The area in pixels is known to this part before all of it was seen.
_MARGIN = 0.01
#: Columns of a band: a seventh of a wide area's tiles are answered twice then.
_BAND_PX = 5632


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
    """The segmenter's last one."""
    of_machine: bool = False
    """Whether the device had no memory left."""

    @property
    def reason(self) -> str:
        """As it is recorded."""
        return f"{self.failed} of {self.tiles} tiles failed, the last with {self.error}"


@dataclass(frozen=True, slots=True)
class SceneMisrendered:
    """The scene's picture says nothing about the ground; reading it again would not change that."""

    reason: str


@dataclass(frozen=True)
class Group:
    """Observations of one scene with the same area and profile."""

    observations: tuple[LeasedObservation, ...]
    hosts: frozenset[str]
    """Hosts pixels may be read from."""
    credentials: Credentials = field(default_factory=dict)
    """What the profile's access needs."""

    @property
    def profile(self) -> Profile:
        """The one profile of the group."""
        return self.observations[0].watch.profile

    @cached_property
    def view(self) -> View:
        """The group's area on its pixel grid, the same for every scene."""
        area = self.observations[0].watch.area
        grid = grids.for_area(area, self.profile.gsd_m)
        return View(Inside(area, grid), grid, self.profile, tuple(sorted(self.hosts)), self.credentials)


def overlap(tile_px: int) -> int:
    """Pixels that neighbouring tiles share."""
    return tile_px // 4


def bands(grid: grids.PixelGrid, tile_px: int, most_px: int = _BAND_PX) -> list[Band]:
    """The bands of columns that a grid is worked through in."""
    return tiling.bands(grid.width, tile_px, overlap(tile_px), most_px)


Outcome = ObservationResult | SceneUnusable | SceneMisrendered | TilesFailed


def answer_group(
    group: Group,
    reading: Reading,
    segmenter: Segmenter,
    batch: int,
    preview: Preview | None = None,
    alive: Callable[[], None] = lambda: None,
) -> Iterator[tuple[LeasedObservation, Outcome]]:
    """Segment once for all observations that see enough, then post-process for each; ``preview`` sees it, too.

    The picture is judged over the whole area before anything is said of it: before the model is asked where all of it
    is in memory, else once all strips were seen.

    ``alive`` is called with each strip and each batch of tiles.
    """
    strips: Iterable[Strip] = reading
    asked = list(group.observations)
    if reading.whole:
        # small enough to be looked at before the model is
        strips = list(reading)
        tally = _Tally()
        for strip in strips:
            tally.add(strip)
        unfit = misrendered(tally.shades, group.profile) is not None
        asked = [one for one in asked if not (unfit or _too_cloudy(tally.clear, one))]
    answering = _Answering(group, asked, segmenter, batch, alive)
    for strip in strips:
        alive()
        answering.add(strip)
        if preview is not None:
            preview.add(strip)
        if not reading.whole:
            answering.give_up()
    answering.finish()
    imaged, clear = answering.tally.imaged, answering.tally.clear
    reason = misrendered(answering.tally.shades, group.profile)
    for observation in group.observations:
        if _too_cloudy(clear, observation):
            yield observation, SceneUnusable(_why(imaged, clear, observation.watch.max_cloud_cover))
            continue
        if reason is not None:
            yield observation, SceneMisrendered(reason)
            continue
        failure = answering.failure(observation)
        yield observation, failure or answering.result(observation, reading.bytes_read)


@dataclass(slots=True)
class _Tally:
    """Pixels of the area in the strips so far."""

    within: int = 0
    shown: int = 0
    seen: int = 0
    shades: Shades = field(default_factory=Shades)

    def add(self, strip: Strip) -> None:
        """The next rows."""
        self.within += strip.within
        self.shown += strip.imaged
        self.seen += strip.clear
        self.shades += strip.shades

    @property
    def imaged(self) -> float:
        """Share of them that the scene shows."""
        return self.shown / max(1, self.within)

    @property
    def clear(self) -> float:
        """Share of them that is clear, too."""
        return self.seen / max(1, self.within)


def _too_cloudy(clear: float, observation: LeasedObservation) -> bool:
    return clear == 0 or clear < 1 - observation.watch.max_cloud_cover


def _why(imaged: float, clear: float, max_cloud_cover: float) -> str:
    """Why a scene of which this share of the area is imaged and clear is not observed."""
    if imaged == 0:
        return "not imaged: no valid pixel of this scene lies in the area"
    least = 1 - max_cloud_cover
    return (
        f"cloudy: {clear:.0%} of the area is clear ({imaged:.0%} imaged), at least {least:.0%} is asked for"
    )


class _Answering:
    """The model's work on one group: rows come in, tiles go to the model, finished rows become polygons."""

    def __init__(
        self,
        group: Group,
        asked: list[LeasedObservation],
        segmenter: Segmenter,
        batch: int,
        alive: Callable[[], None],
    ) -> None:
        self._segmenter = segmenter
        self._alive = alive
        self._batch = batch
        self._asked = asked
        self._view = group.view
        self._band: Band | None = None
        self._waiting: list[tuple[Tile, NDArray[np.uint8]]] = []
        self.tally = _Tally()
        self._seconds = 0.0
        self._errors: dict[object, str] = {}
        self._of_machine: set[object] = set()
        self._apart: set[object] = set()
        """Whose instruction failed where the others' did not: it is asked alone."""
        self._texts: dict[object, str] = {}
        self._tiles = dict.fromkeys((one.id for one in asked), 0)
        self._tiles_failed = self._tiles.copy()
        self._observers = {one.id: _observer(one, self._view.grid) for one in asked}

    def _begin(self, band: Band) -> None:
        self._band = band
        grid, side = self._view.grid, self._segmenter.tile_px
        shape = (grid.height, grid.width, side, overlap(side))
        self._plan = [tile for tile in tiling.tiles(*shape) if band.has(tile)]
        self._top = 0
        self._rgb: NDArray[np.uint8] = np.zeros((0, band.width, 3), np.uint8)
        self._seen: NDArray[np.bool_] = np.zeros((0, band.width), bool)
        self._stitchers = {one.id: Stitcher(*shape, band) for one in self._asked}
        for one in self._asked:
            self._observers[one.id].band(band.start, band.stop)

    def add(self, strip: Strip) -> None:
        """The next rows, of a band from the top."""
        if strip.band != self._band:
            self.finish()
            self._begin(strip.band)
        self.tally.add(strip)
        self._rgb = np.concatenate([self._rgb, strip.rgb])
        self._seen = np.concatenate([self._seen, strip.seen])
        there = self._top + len(self._seen)
        while self._plan and self._plan[0].row + self._plan[0].height <= there:
            self._ask(strip.band, self._plan.pop(0))
        self._settle(strip.band)

    def finish(self) -> None:
        """No more rows of this band come."""
        while self._waiting:
            self._segment()
        if self._band is not None:
            self._settle(self._band)

    def failure(self, observation: LeasedObservation) -> TilesFailed | None:
        """Why nothing can be said: past a share of failed tiles, and where none was answered."""
        tiles, failed = self._tiles[observation.id], self._tiles_failed[observation.id]
        if failed == 0 or (failed < tiles and failed <= observation.watch.max_failed_tiles * tiles):
            return None
        why = self._errors[observation.id]
        return TilesFailed(failed, tiles, why, of_machine=observation.id in self._of_machine)

    def result(self, observation: LeasedObservation, bytes_read: int) -> ObservationResult:
        """What one instruction's answer comes to."""
        footprint, detections = self._observers[observation.id].result()
        return ObservationResult(
            footprint=footprint,
            detections=tuple(detections),
            answer=str(storable(self._texts.get(observation.id, ""))),
            tiles=self._tiles[observation.id],
            tiles_failed=self._tiles_failed[observation.id],
            clear_share=self.tally.clear,
            bytes_read=bytes_read,
            compute_seconds=self._seconds / len(self._asked),
        )

    def give_up(self) -> None:
        """Ask no more for observations that cannot see enough however clear the rest is."""
        within = self.tally.within
        rest = max(0.0, (1 + _MARGIN) * self._view.area.pixels - within)
        best = (self.tally.seen + rest) / max(1.0, within + rest)
        self._asked = [one for one in self._asked if best >= 1 - one.watch.max_cloud_cover]

    def _ask(self, band: Band, tile: Tile) -> None:
        rows = slice(tile.row - self._top, tile.row + tile.height - self._top)
        cols = slice(tile.col - band.left, tile.col + tile.width - band.left)
        if not (self._asked and self._seen[rows, cols].any()):
            return  # what nobody can see needs no answer
        self._waiting.append((tile, np.ascontiguousarray(self._rgb[rows, cols])))
        if len(self._waiting) >= self._batch:
            self._segment()

    def _segment(self) -> None:
        """The tiles that wait through the model; one that fails is unknown, not empty."""
        begun = time.perf_counter()
        some, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
        if not self._asked:
            return  # given up since they were cut out
        for one in self._asked:
            self._tiles[one.id] += len(some)
        together = [one for one in self._asked if one.id not in self._apart]
        alone = [one for one in self._asked if one.id in self._apart]
        failed = self._failing(some, together)
        if failed and len(together) > 1:
            # one instruction may be to blame; the others' answers shall not depend on it
            failed = [one for one in together if self._failing(some, [one])]
            if len(failed) < len(together):
                self._apart.update(one.id for one in failed)
        for one in [*failed, *(one for one in alone if self._failing(some, [one]))]:
            self._tiles_failed[one.id] += len(some)
        self._seconds += time.perf_counter() - begun

    def _failing(
        self, some: list[tuple[Tile, NDArray[np.uint8]]], asked: list[LeasedObservation]
    ) -> list[LeasedObservation]:
        """Ask about some tiles and keep the answers; those who got none."""
        if not asked:
            return []
        instructions = [one.watch.instruction.text for one in asked]
        self._alive()
        try:
            answers = self._segmenter.segment([crop for _, crop in some], instructions)
        except Exception as error:  # torch's own errors, and whatever an operator's segmenter raises
            why = words(error)
            self._errors.update({one.id: why for one in asked})
            if out_of_device_memory(error):
                self._of_machine.update(one.id for one in asked)
            _log.warning("%d tile(s) failed for %d instruction(s): %s", len(some), len(asked), why)
            return asked
        for (tile, _), per_instruction in zip(some, answers, strict=True):
            for one, answer in zip(asked, per_instruction, strict=True):
                self._stitchers[one.id].add(tile, answer.mask_logits)
                self._texts[one.id] = self._texts.get(one.id) or answer.text
        return []

    def _settle(self, band: Band) -> None:
        """Make polygons of the rows that no further tile reaches, and hold them no longer."""
        open_rows = [tile.row for tile, _ in self._waiting[:1]] + [tile.row for tile in self._plan[:1]]
        stop = min(open_rows, default=self._top + len(self._seen))
        count = stop - self._top
        if count <= 0:
            return
        for one in self._asked:
            self._observers[one.id].add(self._stitchers[one.id].take(stop), self._seen[:count, band.own])
        self._rgb, self._seen = self._rgb[count:].copy(), self._seen[count:].copy()
        self._top = stop


def _observer(observation: LeasedObservation, grid: grids.PixelGrid) -> Observer:
    watch = observation.watch
    return Observer(
        watch.area,
        grid,
        label=watch.instruction.label,
        min_polygon_m2=watch.min_polygon_m2,
        connectivity=watch.connectivity,
        outlines=watch.outlines,
    )
