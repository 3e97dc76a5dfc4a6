"""Trackers to compare: segwatch's tracking core and three baselines that match detections by overlap.

The baselines ignore clouds: an identity without a detection in a scene has disappeared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from scipy.sparse import csr_array, vstack

from segwatch.benchmarks.tracking_scores import Floats, Ids
from segwatch.benchmarks.tracking_worlds import ORIGIN, SERIES, Labels, Mask, SceneView, scene_of
from segwatch.geo.tracking.series import FoldInput, fold_series
from segwatch.geo.types.tracking import ChangeKind, TrackingStep
from segwatch.geo.types.watch import TrackingSettings

SETTINGS = TrackingSettings()
"""Default settings of a watch."""
BASELINE_IOU = 0.25
"""Minimum IoU of a match in the baselines; SpaceNet 7's value."""
COME_AND_GO = (ChangeKind.APPEARED, ChangeKind.DISAPPEARED)
"""Changes that every tracker can report."""
KINDS = (*COME_AND_GO, ChangeKind.SPLIT, ChangeKind.MERGED, ChangeKind.GREW, ChangeKind.SHRANK)
"""Changes that are compared with the truth."""


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """A change as a tracker reports it."""

    kind: ChangeKind
    dated: int
    """Scene from which the change holds."""
    told: int
    """Scene after which the tracker reports it."""
    place: Mask
    """(H, W) where the track was last detected."""


@dataclass(frozen=True, slots=True, eq=False)
class Tracked:
    """A tracker's result for a series."""

    ids: list[Ids]
    """(D,) identity of each detection, scene by scene."""
    reports: list[Report]


Tracker = Callable[[Sequence[SceneView]], Tracked]


@dataclass(slots=True)
class _LastPlaces:
    """Where each identity was last detected, and which identities the current scene has."""

    last: dict[int, Mask]
    present: set[int]

    def see(self, view: SceneView, ids: Ids) -> set[int]:
        """Add a scene; return the identities of the scene before that it does not have."""
        before = self.present
        self.present = set(ids.tolist())
        for one in self.present:
            self.last[one] = np.isin(view.regions, np.flatnonzero(ids == one) + 1)
        return before - self.present


def segwatch(views: Sequence[SceneView]) -> Tracked:
    """Run the tracking core."""
    looks = [FoldInput(view.observation, SETTINGS, first=not number) for number, view in enumerate(views)]
    steps = fold_series([], looks, series_id=SERIES, origin=ORIGIN)
    numbers: dict[UUID | None, int] = {}
    ids, reports = [], []
    for scene, (step, places) in enumerate(zip(steps, find_places(views, steps), strict=True)):
        given = [numbers.setdefault(track, len(numbers)) for track in step.detection_tracks]
        ids.append(np.array(given, np.int64))
        reports += [
            Report(one.kind, scene_of(one.valid_at), scene, places[one.track_id])
            for one in step.changes
            if one.kind in KINDS and not one.baseline and one.track_id in places
        ]
    return Tracked(ids, reports)


def find_places(
    views: Sequence[SceneView], steps: Sequence[TrackingStep]
) -> Iterator[Mapping[UUID | None, Mask]]:
    """Yield for each scene where every track was last detected; tracks that never were are missing."""
    last: dict[UUID | None, Mask] = {}
    for view, step in zip(views, steps, strict=True):
        for track in set(step.detection_tracks):
            shown = [number for number, one in enumerate(step.detection_tracks, start=1) if one == track]
            last[track] = np.isin(view.regions, shown)
        yield last


def frame_to_frame(views: Sequence[SceneView]) -> Tracked:
    """Match detections to those of the scene before by largest overlap; unmatched identities disappear."""
    return _by_overlap(views, forget=True, refresh=True)


def spacenet7(views: Sequence[SceneView]) -> Tracked:
    """Match detections to the first outline of every identity so far.

    This is the rule of the SpaceNet 7 challenge's baseline (CosmiQ_SN7_Baseline): detections choose in order of
    size, take the identity of largest overlap if its IoU is at least 0.25, and outlines stay as first detected.
    """
    return _by_overlap(views, forget=False, refresh=False)


def latest_outline(views: Sequence[SceneView]) -> Tracked:
    """Use SpaceNet 7's rule with the latest instead of the first outline of every identity."""
    return _by_overlap(views, forget=False, refresh=True)


TRACKERS: dict[str, Tracker] = {
    "": segwatch,
    "_iou": frame_to_frame,
    "_spacenet7": spacenet7,
    "_latest": latest_outline,
}
"""Suffix of the figures' names -> tracker."""


def _by_overlap(views: Sequence[SceneView], *, forget: bool, refresh: bool) -> Tracked:
    """Match each scene's detections to outlines of earlier scenes.

    Parameters
    ----------
    views
        The series.
    forget
        Match only with the scene before, not with every identity so far.
    refresh
        Keep the latest outline of an identity, not the first.
    """
    outlines = csr_array((0, views[0].clear.size), dtype=np.float64)
    owners = np.empty(0, np.int64)
    ids, reports = [], []
    places = _LastPlaces({}, set())
    fresh = 0
    for scene, view in enumerate(views):
        found = _outlines(view.regions)
        given = _greedy(_iou(found, outlines), found.sum(axis=1), owners)
        new = given < 0
        given[new] = np.arange(fresh, fresh + new.sum())
        fresh += int(new.sum())
        ids.append(given)
        gone = places.see(view, given)
        if scene:
            told = [(ChangeKind.APPEARED, one) for one in given[new].tolist()]
            told += [(ChangeKind.DISAPPEARED, one) for one in sorted(gone)]
            reports += [Report(kind, scene, scene, places.last[one]) for kind, one in told]
        if forget:
            outlines, owners = found, given
        elif refresh:
            stay = ~np.isin(owners, given)
            outlines, owners = vstack([outlines[stay], found]).tocsr(), np.concatenate([owners[stay], given])
        else:
            outlines, owners = vstack([outlines, found[new]]).tocsr(), np.concatenate([owners, given[new]])
    return Tracked(ids, reports)


def _greedy(iou: Floats, area: Floats, owners: Ids) -> Ids:
    """Return (D,) identities, -1 for new ones; detections choose in order of size."""
    given = np.full(len(area), -1, np.int64)
    left = iou.copy()
    if not len(owners):
        return given
    for row in np.argsort(-area, kind="stable"):
        best = int(left[row].argmax())
        if left[row, best] >= BASELINE_IOU:
            given[row] = owners[best]
            left[:, best] = 0.0
    return given


def _outlines(regions: Labels) -> csr_array:
    """Return (N, H W) one row of pixels for each label 1..N."""
    flat = regions.ravel()
    where = np.flatnonzero(flat)
    return csr_array(
        (np.ones(len(where)), (flat[where] - 1, where)), shape=(int(flat.max(initial=0)), flat.size)
    )


def _iou(first: csr_array, second: csr_array) -> Floats:
    """Return (N, M) intersection over union."""
    common = (first @ second.T).toarray()
    either = first.sum(axis=1)[:, None] + second.sum(axis=1)[None, :] - common
    return np.asarray(common / np.maximum(either, 1))
