"""Find what else may explain a change, which holds it back until an observation tells both apart.

What holds a change is found when it is raised, stored with its evidence, and dropped by later observations.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from uuid import UUID

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.geo.tracking.overlay import METRES_PER_DEGREE, measure, to_array
from segwatch.geo.tracking.region_views import ShownGround
from segwatch.geo.tracking.regions import (
    Transition,
    count_parts,
    find_cut_pieces,
    is_explained_by_movement,
    is_resolved,
)
from segwatch.geo.types.belief import Evidence
from segwatch.geo.types.tracking import Change, ChangeKind, TrackState

NEAR = 14.0
"""New objects nearer than this many tolerances may be one behind a cloud."""
#: Ground that an object gained and that is nearer than this many tolerances to another one may join both.
_JOINING = 1.0
MIN_GAP = 1.0
"""Clear empty ground between two objects that shows them apart, in tolerances; pixels do not resolve narrower gaps."""
#: Likewise between an object that grew and its neighbour, which were apart before.
_MIN_GAP_GROWN = 0.1
#: Share of a rival that an object covers once they are one.
_JOINED = 0.5
#: Share of an object that has to be visible to measure its area, and share of what it seemed to gain or lose by which
#: that has to differ.
_WHOLE_VISIBLE, _TURNED = 0.8, 0.5
#: Share of the confidence that is left to a change that a movement may explain.
HELD = 0.5
#: How often the ground that an object grows over is just that of another object that was never there.
_GROWN_OVER = 0.25


@dataclass(frozen=True, slots=True)
class Holds:
    """What holds changes of one observation, or earlier ones of which it shows something.

    Parameters
    ----------
    transition
        The observation's step, and the states before and after it.
    shown
        The observation, moved onto its series.
    min_polygon_m2
        Smaller detections were dropped, m².
    """

    transition: Transition
    shown: ShownGround
    min_polygon_m2: float = 0.0
    _living: dict[str, tuple[shapely.STRtree, list[UUID]]] = field(default_factory=dict)
    """Living objects by target, indexed when they are first asked for."""

    def find(self, change: Change, evidence: Evidence) -> Evidence:
        """Add to the evidence of a new change what may explain it."""
        return replace(
            evidence,
            rivals=self._find_rivals(change, evidence),
            blocked=self._is_blocked(change),
            prior=self._find_prior(change),
        )

    def update(self, change: Change, evidence: Evidence) -> Evidence:
        """Drop what this observation excludes: rivals shown apart or joined to the object, pieces, and movement."""
        after = self.transition.after.get(change.track_id)
        rivals = self._update_rivals(change, evidence, after)
        blocked = evidence.blocked and (
            after is None or count_parts(after.geometry, self.transition.tolerance_m) > 1
        )
        prior = 1.0 if self._is_unmoved(change, evidence, after) else evidence.prior
        if (rivals, blocked, prior) == (evidence.rivals, evidence.blocked, evidence.prior):
            return evidence
        return replace(evidence, rivals=rivals, blocked=blocked, prior=prior)

    def _update_rivals(
        self, change: Change, evidence: Evidence, after: TrackState | None
    ) -> tuple[BaseGeometry, ...]:
        if change.kind is not ChangeKind.SHRANK:
            return tuple(
                one for one in evidence.rivals if not self._is_no_rival_now(change, evidence, one, after)
            )
        # the largest piece, and those that may have been split off it
        main, others = evidence.rivals[:1], evidence.rivals[1:]
        left = tuple(one for one in others if not self.shown.shows_joined(main[0], one, change.target))
        return main + left if left else ()

    def has_joined_rival(self, change: Change, evidence: Evidence) -> bool:
        """Return whether ground that an object seemed to gain joined it to another one: nothing grew."""
        after = self.transition.after.get(change.track_id)
        return change.kind is ChangeKind.GREW and any(_is_part(one, after) for one in evidence.rivals)

    def _find_rivals(self, change: Change, evidence: Evidence) -> tuple[BaseGeometry, ...]:
        """Find neighbours that may be one object with it: only hidden ground lies between, or what it gained."""
        if change.kind is ChangeKind.GREW:
            return tuple(self._list_neighbours(change, evidence.region, _JOINING))
        if change.kind is ChangeKind.SHRANK:
            return tuple(self._find_pieces(change))
        if change.kind is not ChangeKind.APPEARED:
            return ()
        own = self.transition.after[change.track_id].geometry
        least_m = MIN_GAP * self.transition.tolerance_m
        return tuple(
            one
            for one in self._list_neighbours(change, own, NEAR)
            if self.shown.measure_clear(shapely.shortest_line(own, one)) < least_m
        )

    def _list_neighbours(self, change: Change, own: BaseGeometry, reach: float) -> list[BaseGeometry]:
        """List the other living objects of the same target within some tolerances."""
        if change.target not in self._living:
            states = [
                one for one in self.transition.after.values() if one.alive and one.target == change.target
            ]
            geometries = to_array([one.geometry for one in states])
            self._living[change.target] = shapely.STRtree(geometries), [one.track_id for one in states]
        tree, tracks = self._living[change.target]
        latitude = np.radians(own.centroid.y)
        distance = (
            reach * self.transition.tolerance_m / METRES_PER_DEGREE / max(float(np.cos(latitude)), 1e-3)
        )
        near = np.sort(tree.query(own, predicate="dwithin", distance=distance)).tolist()
        return [tree.geometries[index] for index in near if tracks[index] != change.track_id]

    def _is_no_rival_now(
        self, change: Change, evidence: Evidence, rival: BaseGeometry, after: TrackState | None
    ) -> bool:
        tolerance_m = self.transition.tolerance_m
        if change.kind is ChangeKind.GREW:
            own = evidence.region if after is None else after.geometry
            return self.shown.shows_apart(own, rival, change.target, _MIN_GAP_GROWN * tolerance_m)
        return _is_part(rival, after) or self.shown.shows_apart(
            evidence.region, rival, change.target, MIN_GAP * tolerance_m, is_one_enough=True
        )

    def _find_pieces(self, change: Change) -> list[BaseGeometry]:
        """Find the visible pieces into which an object that shrank was cut, largest first: a split may explain it."""
        return find_cut_pieces(
            self.transition.before[change.track_id].geometry,
            self.transition.after[change.track_id].geometry,
            self.transition.footprint,
            self.transition.tolerance_m,
        )

    def _is_blocked(self, change: Change) -> bool:
        """Return whether an object that shrank lies in pieces, what is hidden of it included."""
        if change.kind is not ChangeKind.SHRANK:
            return False
        return count_parts(self.transition.after[change.track_id].geometry, self.transition.tolerance_m) > 1

    def _find_prior(self, change: Change) -> float:
        """Return how likely nothing else explains a change: objects that were there to merge, no mere movement."""
        if change.kind in (ChangeKind.GREW, ChangeKind.SHRANK):
            before, after = self.transition.before[change.track_id], self.transition.after[change.track_id]
            return HELD if self._is_moved(before.geometry, after.geometry) else 1.0
        if change.kind is not ChangeKind.MERGED:
            return 1.0
        ended = self.transition.list_merged(change.track_id)[1:]
        others = [change.track_id] if change.track_id in ended else ended
        known = [self.transition.before[one] for one in others if one in self.transition.before]
        there = max((one.belief.confidence for one in known), default=1.0)
        # the merger shows their ground covered, as it would be if nothing had been there and the other object grew
        there = there / (there + (1 - there) * _GROWN_OVER)
        # a piece that sampling may have cut off is no object
        are_resolved = [
            is_resolved(ChangeKind.APPEARED, one.geometry, self.transition.tolerance_m, self.min_polygon_m2)
            for one in known
        ]
        return there if any(are_resolved) or not known else there * HELD

    def _is_moved(self, before: BaseGeometry, after: BaseGeometry) -> bool:
        return is_explained_by_movement(before, after, self.transition.footprint, self.transition.tolerance_m)

    def _is_unmoved(self, change: Change, evidence: Evidence, after: TrackState | None) -> bool:
        """Return whether an observation shows that a change that a movement might explain changed the object's area."""
        if evidence.prior != HELD or change.kind not in (ChangeKind.GREW, ChangeKind.SHRANK):
            return False
        if after is None or after.last_seen != self.transition.acquired_at:
            return False
        gain_m2 = after.area_m2 - change.before_m2
        least_m2 = _TURNED * measure(evidence.region)[0]
        return after.visible_share >= _WHOLE_VISIBLE and least_m2 <= (
            gain_m2 if evidence.to_covered else -gain_m2
        )


def _is_part(rival: BaseGeometry, state: TrackState | None) -> bool:
    """Return whether a rival has become a part of the object: both were seen piece by piece, and appeared together."""
    if state is None or not state.alive:
        return False
    return bool(shapely.intersection(rival, state.geometry).area >= _JOINED * rival.area)
