"""Trackers that give the detections of the same scenes an identity: segwatch's and three that match by overlap.

The latter know nothing of clouds: an identity that is not seen in a scene is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, vstack

from segwatch.benchmarks.tracking_scores import Floats, Ids
from segwatch.benchmarks.tracking_worlds import ORIGIN, SERIES, Labels, Mask, SceneView, scene_of
from segwatch.geo.tracking.series import Look, refold
from segwatch.geo.types.tracking import ChangeKind
from segwatch.geo.types.watch import TrackingSettings

SETTINGS = TrackingSettings()
"""A monitoring watch as it comes."""
BASELINE_IOU = 0.25
"""Least overlap of the baselines; SpaceNet 7's."""
COME_AND_GO = (ChangeKind.APPEARED, ChangeKind.DISAPPEARED)
"""The changes every tracker can tell."""
KINDS = (*COME_AND_GO, ChangeKind.SPLIT, ChangeKind.MERGED, ChangeKind.GREW, ChangeKind.SHRANK)
"""The changes that are compared with the truth."""


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """A change as a tracker tells it."""

    kind: ChangeKind
    dated: int
    """Scene from which on it holds."""
    told: int
    """Scene after which it is told."""
    place: Mask
    """(H, W) where the track was seen last."""


@dataclass(frozen=True, slots=True, eq=False)
class Tracked:
    """What a tracker makes of a series."""

    ids: list[Ids]
    """Identity of each detection of each scene, (D,)."""
    reports: list[Report]


Tracker = Callable[[Sequence[SceneView]], Tracked]


@dataclass(slots=True)
class _Places:
    """Where each identity was seen last, and whether in the present scene."""

    last: dict[int, Mask]
    present: set[int]

    def see(self, view: SceneView, ids: Ids) -> set[int]:
        """Take in a scene; the identities seen before and not now."""
        before = self.present
        self.present = set(ids.tolist())
        for one in self.present:
            self.last[one] = np.isin(view.regions, np.flatnonzero(ids == one) + 1)
        return before - self.present


def segwatch(views: Sequence[SceneView]) -> Tracked:
    """The tracking core."""
    looks = [Look(view.observation, SETTINGS, first=not number) for number, view in enumerate(views)]
    steps = refold([], looks, series_id=SERIES, origin=ORIGIN)
    numbers: dict[object, int] = {}
    places = _Places({}, set())
    ids, reports = [], []
    for scene, (view, step) in enumerate(zip(views, steps, strict=True)):
        given = [numbers.setdefault(track, len(numbers)) for track in step.detection_tracks]
        ids.append(np.array(given, np.int64))
        places.see(view, ids[-1])
        reports += [
            Report(one.kind, scene_of(one.valid_at), scene, places.last[numbers[one.track_id]])
            for one in step.changes
            if one.kind in KINDS and not one.baseline
        ]
    return Tracked(ids, reports)


def frame_to_frame(views: Sequence[SceneView]) -> Tracked:
    """Detections take over the identity of the scene before by best overlap; what is not seen is gone."""
    return _by_overlap(views, forget=True, refresh=True)


def spacenet7(views: Sequence[SceneView]) -> Tracked:
    """Detections are matched to the first outline of every identity ever given.

    The rule of the SpaceNet 7 challenge's baseline (CosmiQ_SN7_Baseline): the largest detection chooses first,
    it takes the identity of largest overlap if that is at least 0.25, and outlines stay as first seen.
    """
    return _by_overlap(views, forget=False, refresh=False)


def latest_outline(views: Sequence[SceneView]) -> Tracked:
    """SpaceNet 7's rule with the latest outline of every identity instead of its first."""
    return _by_overlap(views, forget=False, refresh=True)


TRACKERS: dict[str, Tracker] = {
    "": segwatch,
    "_iou": frame_to_frame,
    "_spacenet7": spacenet7,
    "_latest": latest_outline,
}
"""By the ending of their figures' names."""


def _by_overlap(views: Sequence[SceneView], *, forget: bool, refresh: bool) -> Tracked:
    """Match each scene's detections to outlines of the past.

    Args:
        views: the series.
        forget: only the scene before counts, not every identity ever given.
        refresh: an identity's outline is the latest, not the first.
    """
    outlines = csr_array((0, views[0].clear.size), dtype=np.float64)
    owners = np.empty(0, np.int64)
    ids, reports = [], []
    places = _Places({}, set())
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
    """(D,) identity of each detection, -1 for a new one; the largest detection chooses first."""
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
    """(N, H W) one row of pixels for each label 1..N."""
    flat = regions.ravel()
    where = np.flatnonzero(flat)
    return csr_array(
        (np.ones(len(where)), (flat[where] - 1, where)), shape=(int(flat.max(initial=0)), flat.size)
    )


def _iou(first: csr_array, second: csr_array) -> Floats:
    """(N, M) common pixels over pixels of either."""
    common = (first @ second.T).toarray()
    either = first.sum(axis=1)[:, None] + second.sum(axis=1)[None, :] - common
    return np.asarray(common / np.maximum(either, 1))
