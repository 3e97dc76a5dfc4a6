"""Spectral evidence of an observation, and the segmenter ``spectral``: thresholds of indices, without weights.

``spectral`` looks at whole scenes: the threshold of an index comes from the histogram of all clear pixels. So it
waits until the last strip, and takes no tiles. A scene whose values all lie clearly on one side is observed to be
empty, or to be all target. Where neither two modes nor the physical range tell, or a target has no class, it has no
opinion: the ground is then not observed, rather than observed to be empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segwatch.db.ledger import LeasedObservation
from segwatch.flows.errors import SegmenterError
from segwatch.flows.inference.index_spool import IndexSpool, IndexWindow
from segwatch.flows.inference.segmenters import Tiles
from segwatch.flows.inference.strips import SceneView, Strip
from segwatch.geo.detect import Observer
from segwatch.geo.grid import get_origin
from segwatch.geo.spectral.cells import CellAverager
from segwatch.geo.spectral.classes import SpectralClass, list_classes
from segwatch.geo.spectral.indices import BY_NAME, NO_VALUE
from segwatch.geo.spectral.thresholds import BINS, count_values, find_threshold
from segwatch.geo.spectral.zones import ZoneMeter
from segwatch.geo.stitch import ABSENT, Stitched
from segwatch.geo.types.evidence import IndexCells
from segwatch.geo.types.segmentation import SegmentationRequest, TilePrediction
from segwatch.geo.types.tracking import ObservationResult

#: Logits per unit of an index above its threshold: 0.1 above gives a score of 0.73.
_LOGITS_PER_UNIT = 10.0


class SpectralSegmenter:
    """The segmenter ``spectral`` as a worker loads it; :class:`IndexSegmentation` does the work."""

    version = "spectral 2"
    tile_px = 1024
    """Height and width of the windows that are read at once; nothing depends on it."""

    def segment(self, tiles: Tiles, requests: Sequence[SegmentationRequest]) -> list[list[TilePrediction]]:
        """Refuse: a colour picture has no infrared bands.

        Raises
        ------
        SegmenterError
            Always.
        """
        raise SegmenterError(
            "the segmenter spectral needs the bands of a whole scene, not tiles of a picture"
        )


class SceneIndices:
    """Spectral indices of one scene: collected strip by strip, then measured as often as needed."""

    def __init__(self, view: SceneView, spool: IndexSpool) -> None:
        self._view = view
        self._spool = spool
        # the tiles reach far beyond a small area: cells of all their pixels would be several times as large
        self._cells = CellAverager(view.area_grid, view.indices)
        whole, area = get_origin(view.grid), get_origin(view.area_grid)
        self._down, self._right = whole.row - area.row, whole.col - area.col

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the indices."""
        return tuple(one.name for one in self._view.indices)

    def __iter__(self) -> Iterator[IndexWindow]:
        return iter(self._spool)

    def add(self, strip: Strip) -> None:
        """Add the next strip."""
        if strip.indices is None:
            return
        values, columns = np.asarray(strip.indices.values), strip.columns
        self._cells.add(strip.row + self._down, columns.start + self._right, values)
        self._spool.add(IndexWindow(strip.row, columns.start, columns.stop, values))

    def get_cells(self) -> IndexCells:
        """Return the means over cells."""
        return self._cells.result()

    def measure(self, result: ObservationResult, cells: IndexCells) -> ObservationResult:
        """Add evidence to the detections of a result, and the cells to the result."""
        meter = ZoneMeter(result.detections, self._view.grid, self._view.indices)
        if result.detections:
            for window in self._spool:
                meter.add(window.row, window.start, window.values)
        detections = tuple(
            replace(one, evidence=found) for one, found in zip(result.detections, meter.result(), strict=True)
        )
        return replace(result, detections=detections, cells=cells)


@dataclass(frozen=True, slots=True)
class _Rule:
    """How one target is found."""

    place: int
    """Position of the index."""
    above: bool
    threshold: float
    text: str


@dataclass(frozen=True, slots=True)
class Opinion:
    """What ``spectral`` says about one observation."""

    result: ObservationResult | None
    """None = no opinion on any target."""
    silent: dict[str, str]
    """Targets without an opinion -> why."""

    def explain_silence(self) -> str:
        """Say why there is no opinion on some targets; empty if there is one on all."""
        return "; ".join(f"no opinion on {target}: {reason}" for target, reason in self.silent.items())


class IndexSegmentation:
    """Segments a scene by thresholds of its indices, once all strips are known.

    Parameters
    ----------
    indices
        Indices of the whole scene.
    """

    def __init__(self, view: SceneView, indices: SceneIndices) -> None:
        self._view = view
        self._indices = indices
        self._histograms: dict[str, NDArray[np.int64]] = {}

    def predict(self, observation: LeasedObservation) -> Opinion:
        """Predict one instruction."""
        silent: dict[str, str] = {}
        rules: dict[str, _Rule] = {}
        for target, kind in list_classes(observation.watch.instruction):
            found = self._find_rule(kind)
            if isinstance(found, str):
                silent[target] = found
            else:
                rules[target] = found
        result = self._trace(observation, rules) if rules else None
        return Opinion(result, silent)

    def _find_rule(self, kind: SpectralClass | None) -> _Rule | str:
        """The rule of a class, or why there is none."""
        if kind is None:
            return "it has no spectral class; there are water, burned and vegetation"
        names = self._indices.names
        index = kind.choose_index(names)
        if index is None:
            return f"the source has no bands for {' or '.join(kind.indices)}"
        found = find_threshold(self._count(index), kind.plausible, kind.undecided)
        if found.value is None:
            return f"{index}: {found.reason}"
        text = f"{kind.name}: {index} {'>' if kind.above else '<'} {found.value:.2f}"
        if found.reason:
            text += f" ({found.reason})"
        return _Rule(names.index(index), kind.above, found.value, text)

    def _count(self, index: str) -> NDArray[np.int64]:
        if index not in self._histograms:
            place, steps = self._indices.names.index(index), BY_NAME[index].steps_per_unit
            total = np.zeros(BINS, np.int64)
            for window in self._indices:
                values = window.values[place]
                total += count_values(values[values != NO_VALUE] / steps)
            self._histograms[index] = total
        return self._histograms[index]

    def _trace(self, observation: LeasedObservation, rules: dict[str, _Rule]) -> ObservationResult:
        watch, targets = observation.watch, list(rules)
        observer = Observer(
            watch.area,
            self._view.grid,
            label=lambda at: targets[at],
            min_polygon_m2=watch.min_polygon_m2,
            connectivity=watch.connectivity,
            outlines=watch.outlines,
        )
        begun, clear_px = None, 0
        for window in self._indices:
            if begun != window.start:
                begun = window.start
                observer.begin_columns(window.start, window.stop)
            stitched = _compute_logits(window, list(rules.values()), self._indices.names)
            clear_px += int(stitched.known.sum())
            observer.add(stitched, stitched.known)
        footprint, detections = observer.result()
        return ObservationResult(
            footprint=footprint,
            detections=tuple(detections),
            answer="; ".join(rule.text for rule in rules.values()),
            clear_share=min(1.0, clear_px / max(1.0, self._view.area.pixels)),
        )


def _compute_logits(window: IndexWindow, rules: Sequence[_Rule], names: Sequence[str]) -> Stitched:
    """Logits of each rule; known where all of their indices have a value."""
    known = np.logical_and.reduce([window.values[rule.place] != NO_VALUE for rule in rules])
    logits = np.full((len(rules), *known.shape), ABSENT, np.float32)
    for at, rule in enumerate(rules):
        values = window.values[rule.place] / np.float32(BY_NAME[names[rule.place]].steps_per_unit)
        distance = (values - rule.threshold) * (1 if rule.above else -1)
        np.copyto(logits[at], distance * _LOGITS_PER_UNIT, where=known)
    return Stitched(logits, known)
