"""Measure how well trackers keep identities: segwatch against simple baselines, on simulated worlds with known truth.

All trackers get the same detections and observed footprints, with missed objects, false detections, misregistration and
clouds. Without these faults, and where the observations determine identities, every identity must be right.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array

from segwatch.benchmarks import tracking_belief
from segwatch.benchmarks.tracking_rivals import COME_AND_GO, KINDS, TRACKERS, Report, Tracked, segwatch
from segwatch.benchmarks.tracking_scores import Frame, hota, idf1, scot
from segwatch.benchmarks.tracking_worlds import (
    PERFECT,
    Mask,
    Noise,
    SceneView,
    TrueChange,
    World,
    look,
    make,
    shows,
)
from segwatch.geo.types.tracking import ChangeKind

SLACK_SCENES = 2
"""Maximum difference of the dates of matching changes, scenes."""
_CLOUDS = (0.4, 0.6, 0.8, 0.2)
_TITLES = {
    "": "segwatch",
    "_iou": "frame to frame",
    "_spacenet7": "SpaceNet 7, first outline",
    "_latest": "SpaceNet 7, latest outline",
}

out = Console(width=130, highlight=False)


@dataclass(frozen=True, slots=True)
class Found:
    """True against reported changes."""

    true: int
    reported: int
    both: int
    """Pairs of the same kind, place and about the same time, one to one."""

    def __add__(self, other: Found) -> Found:
        return Found(self.true + other.true, self.reported + other.reported, self.both + other.both)

    @property
    def precision(self) -> float:
        """Share of the reported changes that are true; 1 if none was reported."""
        return self.both / self.reported if self.reported else 1.0

    @property
    def recall(self) -> float:
        """Share of the true changes that were reported; 1 if there were none."""
        return self.both / self.true if self.true else 1.0


@dataclass(slots=True)
class Tally:
    """Scores of one tracker over several worlds."""

    scot: list[float] = field(default_factory=list)
    hota: list[float] = field(default_factory=list)
    idf1: list[float] = field(default_factory=list)
    changes: Found = Found(0, 0, 0)
    come_and_go: Found = Found(0, 0, 0)
    appear_delays: list[int] = field(default_factory=list)
    gone_delays: list[int] = field(default_factory=list)

    def add(self, world: World, views: Sequence[SceneView], tracked: Tracked) -> None:
        """Add the scores of one world."""
        scenes = frames(views, tracked)
        self.scot.append(scot(scenes).combined)
        self.hota.append(hota(scenes))
        self.idf1.append(idf1(scenes))
        self.changes += changes_found(world, tracked.reports, KINDS)
        self.come_and_go += changes_found(world, tracked.reports, COME_AND_GO)
        self.appear_delays += delays(world, views, tracked.reports, ChangeKind.APPEARED)
        self.gone_delays += delays(world, views, tracked.reports, ChangeKind.DISAPPEARED)

    def figures(self) -> dict[str, float]:
        """Return means over worlds, shares over all changes, delays in scenes (NaN where nothing was reported)."""
        return {
            "scot": fmean(self.scot),
            "hota": fmean(self.hota),
            "idf1": fmean(self.idf1),
            "change_precision": self.changes.precision,
            "change_recall": self.changes.recall,
            "come_and_go_precision": self.come_and_go.precision,
            "come_and_go_recall": self.come_and_go.recall,
            "appear_delay_scenes": _or_nan(fmean, self.appear_delays),
            "appear_delay_scenes_median": _or_nan(median, self.appear_delays),
            "gone_delay_scenes": _or_nan(fmean, self.gone_delays),
            "gone_delay_scenes_median": _or_nan(median, self.gone_delays),
        }


def run(*, quick: bool) -> dict[str, float | int]:
    """Measure, print a table, and return the figures."""
    worlds = 1 if quick else 12
    tallies = {ending: Tally() for ending in TRACKERS}
    for seed in range(worlds):
        world = make(seed)
        views = look(world, Noise(), seed)
        for ending, track in TRACKERS.items():
            tallies[ending].add(world, views, track(views))
    figures = {ending: tally.figures() for ending, tally in tallies.items()}
    perfect = [_own_scot(seed, _CLOUDS[seed % len(_CLOUDS)], decidable=True) for seed in range(worlds)]
    clean = [_own_scot(seed, PERFECT.cloud, decidable=False) for seed in range(worlds)]
    beliefs = tracking_belief.measure(1 if quick else 4)
    _print(figures, worlds)
    _print_beliefs(beliefs)
    out.print(
        f"segwatch with perfect detections: SCOT at least {min(perfect):.4f} where they determine identities, "
        f"{fmean(clean):.4f} on average where clouds may leave them ambiguous"
    )
    return {
        "quality_worlds": worlds,
        **{
            f"quality_{name}{ending}": round(value, 4)
            for ending, values in figures.items()
            for name, value in values.items()
        },
        **{f"quality_{name}": value for name, value in beliefs.items()},
        "quality_scot_perfect": min(perfect),
        "quality_scot_clean": round(fmean(clean), 4),
    }


def _own_scot(seed: int, cloud: float, *, decidable: bool) -> float:
    """Compute segwatch's SCOT on a small world without faults, with the given share under cloud."""
    world = make(seed, rows=3, columns=4, decidable=decidable)
    views = look(world, replace(PERFECT, cloud=cloud), seed)
    return scot(frames(views, segwatch(views))).combined


def frames(views: Sequence[SceneView], tracked: Tracked) -> list[Frame]:
    """Compute the overlap of the visible truth with each identity, scene by scene."""
    made = []
    for view, ids in zip(views, tracked.ids, strict=True):
        truth, truth_at = np.unique(view.truth, return_inverse=True)
        named = np.concatenate([[-1], ids])[view.regions]
        proposed, proposed_at = np.unique(named, return_inverse=True)
        common = np.zeros((len(truth), len(proposed)))
        np.add.at(common, (truth_at.ravel(), proposed_at.ravel()), 1)
        either = common.sum(axis=1)[:, None] + common.sum(axis=0)[None, :] - common
        rows, columns = truth > 0, proposed >= 0
        made.append(
            Frame(
                truth[rows].astype(np.int64),
                proposed[columns].astype(np.int64),
                (common / either)[np.ix_(rows, columns)],
            )
        )
    return made


def changes_found(world: World, reports: Iterable[Report], kinds: Collection[ChangeKind]) -> Found:
    """Pair true and reported changes of some kinds one to one, as many as possible."""
    true = [one for one in world.changes if one.kind in kinds]
    told = [one for one in reports if one.kind in kinds]
    if not (true and told):
        return Found(len(true), len(told), 0)
    apart = np.subtract.outer([one.scene for one in true], [one.dated for one in told])
    alike = np.equal.outer([one.kind.value for one in true], [one.kind.value for one in told])
    possible = alike & (np.abs(apart) <= SLACK_SCENES) & _share_pixels(world, true, told)
    rows, columns = linear_sum_assignment(possible, maximize=True)
    return Found(len(true), len(told), int(possible[rows, columns].sum()))


def delays(
    world: World, views: Sequence[SceneView], reports: Iterable[Report], kind: ChangeKind
) -> list[int]:
    """Compute the delay of each appearance or disappearance that is reported at all.

    It is counted in scenes that could have shown it: scenes that show some of the object, or at least half of
    the area where it was.
    """
    true = [one for one in world.changes if one.kind is kind]
    told = [one for one in reports if one.kind is kind]
    if not (true and told):
        return []
    late = []
    for one, meets in zip(true, _share_pixels(world, true, told), strict=True):
        after = [told[index].told for index in np.flatnonzero(meets) if told[index].told >= one.scene]
        if after:
            late.append(sum(shows(world, view, one) for view in views[one.scene : min(after)]))
    return late


def _share_pixels(world: World, true: Sequence[TrueChange], told: Sequence[Report]) -> NDArray[np.bool_]:
    """Return (true, reported) whether the places share a pixel."""
    places = _rows([world.place(one) for one in true])
    return np.asarray((places @ _rows([one.place for one in told]).T).toarray() > 0)


def _rows(masks: Sequence[Mask]) -> csr_array:
    """Return (N, H W) one row per mask."""
    pixels = [np.flatnonzero(mask) for mask in masks]
    ends = np.cumsum([0, *(len(one) for one in pixels)])
    found = np.concatenate(pixels)
    return csr_array((np.ones(len(found), np.int32), found, ends), shape=(len(masks), masks[0].size))


def _or_nan(middle: Callable[[list[int]], float], values: list[int]) -> float:
    return float(middle(values)) if values else float("nan")


def _print(figures: dict[str, dict[str, float]], worlds: int) -> None:
    table = Table(
        "tracker",
        "SCOT",
        "HOTA",
        "IDF1",
        "changes: precision",
        "recall",
        "come and go: precision",
        "recall",
        "delay in scenes: new",
        "gone",
        title=f"{worlds} simulated world{'s' if worlds > 1 else ''}, 20 scenes of 42 plots under 40 % cloud",
    )
    for ending, values in figures.items():
        shares = [f"{value:.3f}" for name, value in values.items() if "delay" not in name]
        late = [
            f"{values[f'{name}_delay_scenes']:.2f} ({values[f'{name}_delay_scenes_median']:.0f})"
            for name in ("appear", "gone")
        ]
        table.add_row(_TITLES[ending], *shares, *late)
    out.print(table)
    out.print("delays: mean (median) over the changes that were reported at all")


def _print_beliefs(figures: dict[str, float]) -> None:
    out.print(
        "confirmed changes: precision {confirmed_precision:.3f}, recall {confirmed_recall:.3f} of those with two clear "
        "observations afterwards, {confirmed_delay_scenes:.2f} extra clear observations; calibration error "
        "{calibration_error:.3f}; Brier score {brier:.3f}, of a constant {brier_constant:.3f}".format(
            **figures
        )
    )
