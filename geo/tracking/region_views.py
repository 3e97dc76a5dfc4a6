"""What one observation shows of a region: how much of it is visible, and how much of that the target covers."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self
from uuid import UUID

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from segwatch.geo.spectral.likelihood import log_likelihood_ratio
from segwatch.geo.tracking.belief_model import MIN_COVERED, MIN_VISIBLE
from segwatch.geo.tracking.overlay import (
    Geometries,
    apply_snapped,
    compute_metres_per_degree,
    measure,
    to_array,
)
from segwatch.geo.tracking.registration import UNCERTAIN, move_all
from segwatch.geo.types.belief import Light, RegionView, Shift
from segwatch.geo.types.tracking import ChangeKind, Detection, PastChange, PastObservation, TrackedObservation

#: A visible share of a region from which it tells something, however narrow.
_MOST = 0.5

Covers = Callable[[Geometries], NDArray[np.bool_]]
"""Which of N detections (EPSG:4326) count, (N,)."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """The detections of one target, indexed."""

    geometries: Geometries
    scores: tuple[float, ...]
    spectral: tuple[float, ...]
    """Log-likelihood ratios of the spectral evidence."""
    tree: shapely.STRtree

    def select(self, covered: NDArray[np.bool_]) -> _Layer:
        """Return the layer with the detections of a mask, (N,), alone."""
        if covered.all():
            return self
        geometries = self.geometries[covered]
        scores, spectral = (
            tuple(value for value, counts in zip(values, covered, strict=True) if counts)
            for values in (self.scores, self.spectral)
        )
        return _Layer(geometries, scores, spectral, shapely.STRtree(geometries))


class ShownGround:
    """An observation, moved onto its series, of which regions are asked; all geometries in EPSG:4326.

    Parameters
    ----------
    id, acquired_at
        Of the observation.
    footprint, detections
        Moved onto the series.
    changes
        What it raised, as far as it is known.
    is_registered
        Whether its outlines can be compared with those of other observations.
    light
        In which light it shows the ground; None = not measured.
    """

    def __init__(
        self,
        id: UUID,
        acquired_at: datetime,
        footprint: BaseGeometry,
        detections: Sequence[Detection],
        changes: tuple[PastChange, ...] = (),
        is_registered: bool = True,
        light: Light | None = None,
    ) -> None:
        self.id = id
        self.acquired_at = acquired_at
        self.footprint = footprint
        self.light = light
        self._kinds: dict[UUID, set[ChangeKind]] = {}
        for one in changes:
            self._kinds.setdefault(one.track_id, set()).add(one.kind)
        self.is_registered = is_registered
        self._detections = detections
        self._layers: dict[str, _Layer] = {}
        self._whole: Self | None = None
        self._covers: Covers | None = None
        shapely.prepare(footprint)

    @classmethod
    def of_past(cls, past: PastObservation) -> Self:
        """Move an earlier observation by its shift."""
        footprint, *found = move_all(
            [past.footprint, *(one.geometry for one in past.detections)], past.shift
        ).tolist()
        detections = [
            replace(one, geometry=geometry) for one, geometry in zip(past.detections, found, strict=True)
        ]
        is_registered = past.shift != UNCERTAIN
        return cls(past.id, past.acquired_at, footprint, detections, past.changes, is_registered)

    @classmethod
    def of_observation(cls, one: TrackedObservation, shift: Shift, light: Light | None) -> Self:
        """Take an observation that has been moved by its shift already."""
        return cls(one.id, one.acquired_at, one.footprint, one.detections, (), shift != UNCERTAIN, light)

    def become_past(self, changes: tuple[PastChange, ...]) -> Self:
        """Return the observation as later ones see it, with what it raised; the indexed detections are shared."""
        past = type(self)(
            self.id, self.acquired_at, self.footprint, self._detections, changes, self.is_registered
        )
        past._layers = self._layers
        return past

    def limit(self, covers: Covers, light: Light | None) -> Self:
        """Return the observation as one later one is told of it: with the detections that count for that one alone.

        What a later observation is told must not depend on how much of an earlier one is loaded or remembered.

        Parameters
        ----------
        covers
            Which detections count.
        light
            In which light this observation shows the ground, as far as it is known then.
        """
        limited = type(self)(
            self.id, self.acquired_at, self.footprint, self._detections, (), self.is_registered, light
        )
        limited._kinds = self._kinds
        limited._whole, limited._covers = self, covers
        return limited

    def get_kinds(self, track_id: UUID) -> Set[ChangeKind]:
        """Return the kinds of change of a track that the observation raised."""
        return self._kinds.get(track_id, frozenset())

    def view(
        self, region: BaseGeometry, core: BaseGeometry | None, target: str, tolerance_m: float
    ) -> RegionView:
        """View a region, and the core of its object.

        The edges of clouds and of objects are uncertain by half a pixel: less than half of a region, narrower than a
        tolerance, tells nothing and counts as hidden.
        """
        visible = self._clip(region)
        share = _divide(visible.area, region.area)
        if 0 < share < _MOST and measure(visible)[1] < tolerance_m:
            visible, share = shapely.Polygon(), 0.0
        covered, score, spectral = self._cover(visible, target)
        return RegionView(
            self.id,
            self.acquired_at,
            share,
            covered,
            None if core is None else self._find_core(core, target),
            score,
            spectral,
            self.light,
        )

    def shows_apart(
        self,
        first: BaseGeometry,
        second: BaseGeometry,
        target: str,
        least_m: float,
        *,
        is_one_enough: bool = False,
    ) -> bool:
        """Return whether both objects are detected with at least ``least_m`` of clear empty ground between them.

        An object is missed as a whole. With ``is_one_enough``, one of them detected beside clear empty ground therefore
        shows them apart, too: if they were one object, the other would have been detected with it.
        """
        layer = self._get_layer(target)
        # sorted, as the order of what a tree finds depends on what else it holds
        near = [np.sort(layer.tree.query(one, predicate="intersects")) for one in (first, second)]
        common = [
            {index: shapely.intersection(one, layer.geometries[index]).area for index in near[row].tolist()}
            for row, one in enumerate((first, second))
        ]
        sides = [
            [index for index, area in common[row].items() if area > common[1 - row].get(index, 0.0)]
            for row in (0, 1)
        ]
        if not (any(sides) if is_one_enough else all(sides)):
            return False
        outlines = (
            shapely.union_all(layer.geometries[side]) if side else one
            for side, one in zip(sides, (first, second), strict=True)
        )
        return self.measure_clear(shapely.shortest_line(*outlines)) >= least_m

    def shows_joined(self, first: BaseGeometry, second: BaseGeometry, target: str) -> bool:
        """Return whether one detection covers most of what is visible of two pieces of ground."""
        visible = to_array([self._clip(first), self._clip(second)])
        if any(
            one.area < MIN_COVERED * whole.area for one, whole in zip(visible, (first, second), strict=True)
        ):
            return False
        layer = self._get_layer(target)
        near = np.sort(layer.tree.query(visible[1], predicate="intersects"))
        common = shapely.area(shapely.intersection(layer.geometries[near][:, None], visible[None]))
        return bool((common >= _MOST * shapely.area(visible)).all(axis=1).any())

    def measure_clear(self, line: BaseGeometry) -> float:
        """Measure how much of a line is within the footprint, metres."""
        return measure_length(shapely.intersection(line, self.footprint))

    def _clip(self, region: BaseGeometry) -> BaseGeometry:
        if not shapely.intersects(self.footprint, region):
            return shapely.Polygon()
        if shapely.covers(self.footprint, region):
            return region
        return apply_snapped(shapely.intersection, region, self.footprint)

    def _cover(self, visible: BaseGeometry, target: str) -> tuple[float, float | None, float]:
        """Return the share of a region that detections cover, and the means of their scores and spectral evidence."""
        if visible.is_empty:
            return 0.0, None, 0.0
        layer = self._get_layer(target)
        found = np.sort(layer.tree.query(visible, predicate="intersects"))
        common = shapely.area(shapely.intersection(layer.geometries[found], visible))
        total = float(common.sum())
        if total <= 0:
            return 0.0, None, 0.0
        score, spectral = (
            float((np.array([values[index] for index in found.tolist()]) * common).sum() / total)
            for values in (layer.scores, layer.spectral)
        )
        return _divide(total, visible.area), score, spectral

    def _find_core(self, core: BaseGeometry, target: str) -> bool | None:
        if not self.is_registered:
            return None
        visible = self._clip(core)
        if visible.area < MIN_VISIBLE * core.area:
            return None
        return self._cover(visible, target)[0] >= MIN_COVERED

    def _get_layer(self, target: str) -> _Layer:
        if target not in self._layers:
            if self._whole is not None and self._covers is not None:
                layer = self._whole._get_layer(target)
                self._layers[target] = layer.select(self._covers(layer.geometries))
                return self._layers[target]
            chosen = [one for one in self._detections if one.target == target]
            geometries = to_array([one.geometry for one in chosen])
            tree = shapely.STRtree(geometries)
            self._layers[target] = _Layer(
                geometries,
                tuple(one.score for one in chosen),
                tuple(log_likelihood_ratio(target, one.evidence) for one in chosen),
                tree,
            )
        return self._layers[target]


def measure_length(line: BaseGeometry) -> float:
    """Measure the length of a short EPSG:4326 line, metres."""
    if line.is_empty:
        return 0.0
    scale = compute_metres_per_degree(line)
    return float(shapely.length(shapely.transform(line, lambda coordinates: coordinates * scale)))


def _divide(part: float, whole: float) -> float:
    return min(part / whole, 1.0) if whole > 0 else 0.0
