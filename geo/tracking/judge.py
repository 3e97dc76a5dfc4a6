"""Judge the changes of one observation, and earlier open changes whose region it shows.

Judging changes neither geometry nor identity: it follows the fold. Its cost follows what the observation changed and
shows: a new change is judged by at most :data:`~segwatch.geo.types.belief.MAX_PAST` earlier observations, an open one
by its stored views and the new one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.geo.tracking.belief_model import (
    MIN_VISIBLE,
    Chain,
    Floats,
    Rates,
    believe_older,
    is_detected,
    is_shape_shown,
    judge_existence,
    judge_shape,
    smooth_turn,
)
from segwatch.geo.tracking.holds import HELD, Holds
from segwatch.geo.tracking.light import is_explained_by_light
from segwatch.geo.tracking.overlay import apply_snapped, measure
from segwatch.geo.tracking.region_views import ShownGround
from segwatch.geo.tracking.regions import (
    EXISTENCE,
    Transition,
    is_resolved,
)
from segwatch.geo.types.belief import (
    DEFAULT_CONFIDENCE,
    MAX_VIEWS,
    SETTLED_CONFIDENCE,
    Belief,
    BeliefStatus,
    Evidence,
    RegionView,
    round_confidence,
)
from segwatch.geo.types.tracking import Change, ChangeKind, Judgement, OpenChange, PastChange

#: A change whose probability in the model is below this is refuted.
_REFUTED = 0.01
#: Share of the changes that the model excludes and yet happened, and of those it is sure of that did not; chosen on
#: simulated worlds of the benchmark, those that it reports among them.
_SURPRISE_FOR, _SURPRISE_AGAINST = 0.02, 0.05
#: Observations that have to show a change before it is confirmed. One is enough where its spectral evidence, which the
#: model has no part in, makes the change likelier by this factor.
_MIN_SUPPORT, _MIN_SPECTRAL = 2, math.log(2.0)
#: Minimum visible share of a region whose shape an observation shows; less may be all there is of the change.
_MIN_SHAPE_VISIBLE = 0.5
#: Observations in a row that show the old state after which a change has turned back.
_TURNED_BACK = 2
DOUBTED = 0.3
"""An open change below this confidence explains no other, and is refuted once it can no longer be confirmed."""
#: Share of the region of a change that an earlier one has to share for it to undo that one.
_UNDONE = 0.5
#: A place is at least and at most this many tolerances wide, for false detections that would be taken for the object.
_PLACE = (4.0, 20.0)
#: A confirmed change of which later observations leave less than this is provisional again.
_DOUBTED = 0.5
#: Share of the confidence that is left to a change that another one explains.
_EXPLAINED = 0.05
#: Earlier changes that a later one may continue, as one change may be told in several pieces.
_CONTINUING = {
    ChangeKind.GREW: (ChangeKind.GREW, ChangeKind.APPEARED, ChangeKind.MERGED, ChangeKind.SHRANK),
    ChangeKind.SHRANK: (ChangeKind.SHRANK, ChangeKind.SPLIT, ChangeKind.GREW),
    ChangeKind.SPLIT: (ChangeKind.SPLIT,),
    ChangeKind.MERGED: (ChangeKind.MERGED,),
}
#: Kinds that take from an object.
_COMING = frozenset({ChangeKind.APPEARED, ChangeKind.REAPPEARED})
_TAKING = frozenset({ChangeKind.SHRANK, ChangeKind.SPLIT})
#: What explains a gain or loss that an earlier observation seemed to show, and what does if it began before.
_EXPLAINING = {
    ChangeKind.SHRANK: (ChangeKind.SPLIT, ChangeKind.GREW),
    ChangeKind.GREW: (ChangeKind.MERGED, ChangeKind.SHRANK),
}

RatesOf = Callable[[str], Rates]
_Observed = tuple[Evidence | None, tuple[RegionView, ...]]
_New = tuple[Change, Judgement]
_Again = tuple[OpenChange, Judgement]


@dataclass(frozen=True, slots=True)
class Judge:
    """What judging one observation needs.

    Parameters
    ----------
    transition
        The observation's step, and the states before and after it.
    shown
        The observation, moved onto its series.
    past
        Earlier observations of the same ground, oldest first.
    rates
        Rates of a target, from the counts before the observation.
    min_polygon_m2
        Smaller detections were dropped, m².
    doubted
        Track and kind of earlier changes that are unlikely by now: they explain no other.
    unchanged
        Track and kind of changes of the step on whose ground a spectral index says the same before and after.
    """

    transition: Transition
    shown: ShownGround
    past: Sequence[ShownGround]
    rates: RatesOf
    min_polygon_m2: float = 0.0
    doubted: frozenset[tuple[UUID, ChangeKind]] = frozenset()
    unchanged: frozenset[tuple[UUID, ChangeKind]] = frozenset()
    holds: Holds = field(init=False)
    """What else may explain changes."""
    _observed: dict[tuple[ChangeKind, UUID, datetime], _Observed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "holds", Holds(self.transition, self.shown, self.min_polygon_m2))

    def judge(self, open_changes: Sequence[OpenChange]) -> tuple[list[_New], list[_Again]]:
        """Judge the changes of the step that are no baseline, and earlier ones.

        Parameters
        ----------
        open_changes
            Earlier changes whose region the observation meets.

        Returns
        -------
        new : list
            The step's changes with their judgements.
        again : list
            The earlier changes, as they were, that the observation tells something about, with their judgements.
        """
        new = [(one, self._judge_new(one)) for one in self.transition.step.changes if not one.baseline]
        explained = self._find_explained(new)
        again = [
            (one, judgement)
            for one in open_changes
            if (judgement := self._judge_open(one, explained)) is not None
        ]
        self._refute_undoing(new, again, open_changes)
        return new, again

    def _judge_open(self, one: OpenChange, explained: frozenset[UUID]) -> Judgement | None:
        """Judge an earlier change again; None where the observation shows nothing of its region.

        Parameters
        ----------
        one
            The change with its newest judgement.
        explained
            Tracks that this observation showed to be a part of others all along.
        """
        evidence = one.judgement.evidence
        if evidence is None:
            return None
        status = one.judgement.belief.status
        if status is BeliefStatus.PROVISIONAL and self._is_explained_now(one.change, evidence, explained):
            return self._refute(one.judgement)
        evidence = self.holds.update(one.change, evidence)
        view = self._view(self.shown, one.change, evidence)
        if not _tells(one.change.kind, view):
            if evidence == one.judgement.evidence:
                return None
            views = one.judgement.views
        else:
            views = (*one.judgement.views, view)
        return self._judge(one.change, one.scene_id, evidence, views, status)

    def _is_explained_now(self, change: Change, evidence: Evidence, explained: frozenset[UUID]) -> bool:
        if change.kind is ChangeKind.APPEARED and change.track_id in explained:
            return True
        return self._is_split_or_moved(change) or self.holds.has_joined_rival(change, evidence)

    def _view(self, shown: ShownGround, change: Change, evidence: Evidence) -> RegionView:
        return shown.view(evidence.region, evidence.core, change.target, self.transition.tolerance_m)

    def _find_explained(self, judged: Sequence[tuple[Change, Judgement]]) -> frozenset[UUID]:
        """Find tracks that merged into others from which no observation had shown them apart."""
        merged = {change.track_id for change, _ in judged if change.kind is ChangeKind.MERGED}
        return frozenset(
            one.parent
            for one in self.transition.step.lineage
            if one.kind is ChangeKind.MERGED and one.parent not in merged
        )

    def _refute_undoing(self, new: list[_New], again: list[_Again], every: Sequence[OpenChange]) -> None:
        """Refute, in place, what only undoes a change that this observation refutes: what did not happen stays so.

        Parameters
        ----------
        new, again
            New changes, and earlier ones that this observation judges.
        every
            All open changes whose region it meets.
        """
        refuted = [one for one, judgement in again if judgement.belief.status is BeliefStatus.REFUTED]
        if not refuted:
            return
        for position, (change, judgement) in enumerate(new):
            if _only_undoes(change, judgement, refuted):
                new[position] = change, self._refute(judgement)
        places = {id(one): place for place, (one, _) in enumerate(again)}
        for one in every:
            place = places.get(id(one))
            judgement = one.judgement if place is None else again[place][1]
            if _only_undoes(one.change, judgement, refuted):
                if place is None:
                    again.append((one, self._refute(judgement)))
                else:
                    again[place] = one, self._refute(judgement)

    # ---- new changes

    def _judge_new(self, change: Change) -> Judgement:
        evidence, views = self._observe(change)
        scene_id, at = self.transition.step.scene_id, self.transition.acquired_at
        if evidence is None:
            start = self.past[-1].acquired_at if self.past else at
            shows = change.kind in EXISTENCE or self.shown.is_registered
            belief = Belief(0.0, observations_for=int(shows))
            return Judgement(scene_id, change.track_id, change.kind, belief, min(start, change.valid_at), at)
        evidence = self._add_older(change, self.holds.find(change, evidence), views)
        if (change.track_id, change.kind) in self.unchanged:
            evidence = replace(evidence, unchanged=True)
        judgement = self._judge(change, scene_id, evidence, views)
        return self._refute(judgement) if self._is_explained(change, judgement) else judgement

    def _observe(self, change: Change) -> _Observed:
        """Find the evidence of a new change, and the views of its region; parts of one split or merger share both."""
        key = (change.kind, self._get_first_track(change), change.valid_at)
        if key not in self._observed:
            evidence = self.transition.find_evidence(change)
            views: list[RegionView] = []
            if evidence is not None:
                views = [self._view(one, change, evidence) for one in self.past]
                views = [one for one in views if _tells(change.kind, one)]
                views.append(self._view(self.shown, change, evidence))
            self._observed[key] = evidence, tuple(views)
        return self._observed[key]

    def _get_first_track(self, change: Change) -> UUID:
        """Return the track that stands for all parts of a split or merger; else the change's own."""
        match change.kind:
            case ChangeKind.SPLIT:
                return self.transition.list_parts(change.track_id)[0]
            case ChangeKind.MERGED:
                return self.transition.get_keeper(change.track_id)
            case _:
                return change.track_id

    def _add_older(self, change: Change, evidence: Evidence, views: Sequence[RegionView]) -> Evidence:
        """Add the detections and counted misses of an object that disappeared that are older than all views."""
        old = self.transition.before.get(change.track_id)
        if change.kind is not ChangeKind.DISAPPEARED or old is None:
            return evidence
        shown = sum(is_detected(one) for one in views)
        hits = max(old.belief.observations_for - shown, 0)
        misses = max(old.belief.observations_against - (len(views) - shown), 0)
        seen_at = min(old.last_seen, views[0].acquired_at) if hits else None
        return replace(evidence, hits_before=hits, misses_before=misses, seen_at=seen_at)

    def _is_explained(self, change: Change, judgement: Judgement) -> bool:
        """Return whether an earlier change of the track explains a later one, whose region nobody had seen since.

        What is gained where another part was lost meanwhile moved, and objects are split or merge once.
        """
        if change.kind not in _CONTINUING:
            return False
        track_id = self._get_first_track(change)
        kinds = {kind for kind in _CONTINUING[change.kind] if (track_id, kind) not in self.doubted}
        covered_before = change.kind in _TAKING
        old = [
            view.acquired_at for view in judgement.views[:-1] if (view.covered_share >= 0.5) is covered_before
        ]
        since = max(old, default=None)
        return any(
            not kinds.isdisjoint(one.get_kinds(track_id))
            for one in self.past
            if since is None or one.acquired_at > since
        )

    # ---- open changes

    def _is_split_or_moved(self, change: Change) -> bool:
        """Return whether this observation explains what an object seemed to gain or lose.

        It was split or merged, or moved: what it seems to have done the other way round may have begun before.
        """
        if change.kind not in _EXPLAINING:
            return False
        surely, perhaps = _EXPLAINING[change.kind]
        return any(
            one.kind is surely or (one.kind is perhaps and self._began_before(one, change.valid_at))
            for one in self.transition.changes.get(change.track_id, [])
        )

    def _began_before(self, change: Change, at: datetime) -> bool:
        """Return whether nobody had seen the region of a new change as it was since some time."""
        evidence = self.transition.find_evidence(change)
        if evidence is None:
            return False
        views = [self._view(one, change, evidence) for one in self.past if one.acquired_at >= at]
        return not any(
            is_shape_shown(view) and (view.covered_share >= 0.5) is not evidence.to_covered for view in views
        )

    # ---- belief

    def _judge(
        self,
        change: Change,
        scene_id: UUID,
        evidence: Evidence,
        views: tuple[RegionView, ...],
        was: BeliefStatus = BeliefStatus.PROVISIONAL,
    ) -> Judgement:
        raised = max(
            (index for index, view in enumerate(views) if view.acquired_at <= evidence.raised_at), default=0
        )
        rates = self.rates(change.target)
        older = _recall_older(evidence, views)
        chain, likelihoods = self._weigh(change.kind, evidence, (*older, *views), rates)
        turn = smooth_turn((*older, *views), likelihoods, chain, evidence.to_covered, raised + len(older))
        held = (
            bool(evidence.rivals)
            or evidence.blocked
            or _ends_single_view(change, views, evidence)
            or _follows_light(change, views, evidence, raised)
            or not self._is_resolved(change, evidence)
            or evidence.unchanged
        )
        confidence = turn.confidence * evidence.prior * (HELD if held else 1.0)
        belief = _decide(change, confidence, views, evidence, held, was)
        # a confirmed change stays open, too, so that rules may ask for more than the confidence that confirms; a
        # change that waits for a second observation stays open however sure it is
        is_settled = belief.status is BeliefStatus.REFUTED or (
            belief.status is BeliefStatus.CONFIRMED and belief.confidence >= SETTLED_CONFIDENCE
        )
        is_open = not is_settled and len(views) < MAX_VIEWS
        return Judgement(
            scene_id,
            change.track_id,
            change.kind,
            belief,
            turn.earliest,
            turn.latest,
            views,
            evidence if is_open else None,
        )

    def _is_resolved(self, change: Change, evidence: Evidence) -> bool:
        """Return whether pixels resolve the change; an object may have been seen by a corner when it appeared."""
        regions = [evidence.region]
        after = self.transition.after.get(change.track_id)
        if change.kind in _COMING and after is not None and after.alive:
            regions.append(after.geometry)
        tolerance_m = self.transition.tolerance_m
        return any(is_resolved(change.kind, one, tolerance_m, self.min_polygon_m2) for one in regions)

    def _weigh(
        self, kind: ChangeKind, evidence: Evidence, views: Sequence[RegionView], rates: Rates
    ) -> tuple[Chain, Floats]:
        """Return how the region changes on its own, and the likelihoods (V, 2) of its views."""
        area_m2, width_m = measure(evidence.region)
        tolerance_m = self.transition.tolerance_m
        least_m2, most_m2 = ((side * tolerance_m) ** 2 for side in _PLACE)
        place_km2 = min(max(area_m2, least_m2), most_m2) / 1e6
        if kind in EXISTENCE:
            there = -float(np.expm1(-rates.objects * place_km2))
            there = believe_older(there, rates, place_km2, evidence.hits_before, evidence.misses_before)
            chain = Chain(there, rates.births * place_km2, rates.deaths)
            return chain, judge_existence(views, rates, place_km2)
        first = 0.03 if evidence.to_covered else 0.97
        return Chain(first, rates.turns, rates.turns), judge_shape(
            views, rates, width_m, min(place_km2, area_m2 / 1e6)
        )

    def _refute(self, judgement: Judgement) -> Judgement:
        belief = replace(
            judgement.belief,
            confidence=judgement.belief.confidence * _EXPLAINED,
            status=BeliefStatus.REFUTED,
        )
        return replace(judgement, belief=belief, evidence=None)


def to_past_changes(changes: Sequence[Change]) -> tuple[PastChange, ...]:
    """Keep of an observation's changes what later changes are judged by."""
    return tuple(PastChange(one.track_id, one.kind) for one in changes)


def _tells(kind: ChangeKind, view: RegionView) -> bool:
    return view.visible_share >= MIN_VISIBLE if kind in EXISTENCE else is_shape_shown(view)


def _ends_single_view(change: Change, views: Sequence[RegionView], evidence: Evidence) -> bool:
    """Return whether a change of shape ends what a single observation showed, such as one in another light."""
    if change.kind in EXISTENCE:
        return False
    before = [
        (view.covered_share >= 0.5) is evidence.to_covered
        for view in views
        if view.acquired_at < change.valid_at and _tells(change.kind, view)
    ]
    return before[-2:] == [True, False]


def _only_undoes(change: Change, judgement: Judgement, refuted: Sequence[OpenChange]) -> bool:
    """Return whether an open change, unlikely by itself, turns most of its region back to before a refuted one."""
    evidence = judgement.evidence
    if evidence is None or judgement.belief.confidence >= DOUBTED:
        return False
    turned = [
        _get_turned(one, not evidence.to_covered)
        for one in refuted
        if one.change.target == change.target and one.change.valid_at < change.valid_at
    ]
    # snapped, as both regions have edges of the same outlines
    return any(
        apply_snapped(shapely.intersection, evidence.region, one).area >= _UNDONE * evidence.region.area
        for one in turned
        if one is not None
    )


def _get_turned(one: OpenChange, to_covered: bool) -> BaseGeometry | None:
    """Return the ground that a change turned to covered, or to uncovered, EPSG:4326; None if there is none."""
    evidence = one.judgement.evidence
    if evidence is not None and evidence.to_covered is to_covered:
        return evidence.region
    # the region of a movement is what it gained
    return one.change.lost if one.change.kind is ChangeKind.MOVED and not to_covered else None


def _recall_older(evidence: Evidence, views: Sequence[RegionView]) -> tuple[RegionView, ...]:
    """Return a view that shows nothing at the time of the last older detection: the object may be gone since then."""
    if evidence.seen_at is None:
        return ()
    return (RegionView(views[0].observation_id, evidence.seen_at, 0.0, 0.0),)


def _follows_light(change: Change, views: Sequence[RegionView], evidence: Evidence, raised: int) -> bool:
    """Return whether the light of the observations explains a change as well."""

    def is_new_state(view: RegionView) -> bool:
        covered = is_detected(view) if change.kind in EXISTENCE else view.covered_share >= 0.5
        return covered is evidence.to_covered

    told = [one for one in views if _tells(change.kind, one)]
    index = sum(_tells(change.kind, one) and one.acquired_at < change.valid_at for one in views[:raised])
    return is_explained_by_light(told, index, is_new_state)


def _decide(
    change: Change,
    confidence: float,
    views: Sequence[RegionView],
    evidence: Evidence,
    held: bool,
    was: BeliefStatus,
) -> Belief:
    """Decide on a change from its confidence and the views since it happened.

    Only what an observation contradicts is refuted. A change that was confirmed stays so while it is likelier than not.
    Earlier observations contradict a change if they showed the new state: an object that they did not show need not
    have disappeared, and one that was as large before need not have grown. What turned back is not supported any more:
    if too few observations had shown it by then, it can no longer be confirmed, and is refuted where it is unlikely.
    """
    supporting = against = in_a_row = 0
    was_shown = is_independent = False
    for view in views:
        if not _tells(change.kind, view):
            continue
        if change.kind not in EXISTENCE and view.visible_share < _MIN_SHAPE_VISIBLE:
            continue
        covered = is_detected(view) if change.kind in EXISTENCE else view.covered_share >= 0.5
        is_shown = covered is evidence.to_covered
        if view.acquired_at < change.valid_at:
            was_shown |= is_shown
            continue
        against += not is_shown
        in_a_row = in_a_row if in_a_row >= _TURNED_BACK else 0 if is_shown else in_a_row + 1
        # what turns again after it had turned back is another change
        supporting += is_shown and in_a_row < _TURNED_BACK
        is_independent |= is_shown and evidence.to_covered and view.spectral >= _MIN_SPECTRAL
    status = BeliefStatus.PROVISIONAL
    refuted = confidence < _REFUTED and (against > 0 or was_shown)
    is_supported = supporting >= _MIN_SUPPORT or is_independent
    refuted |= confidence < DOUBTED and in_a_row >= _TURNED_BACK and not is_supported
    confidence = round_confidence(_SURPRISE_FOR + (1 - _SURPRISE_FOR - _SURPRISE_AGAINST) * confidence)
    if confidence >= DEFAULT_CONFIDENCE and not held and is_supported:
        status = BeliefStatus.CONFIRMED
    elif refuted:
        status = BeliefStatus.REFUTED
    elif was is BeliefStatus.CONFIRMED and confidence >= _DOUBTED:
        status = was
    return Belief(confidence, status, supporting, against)
