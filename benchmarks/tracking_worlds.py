"""Simulated worlds with known objects at every time, and the detections that imperfect observations yield.

A world is a field of square plots with 10 m pixels. An object never leaves its plot, so objects of different plots
never touch. As in the tracking core, the largest part of a split and the largest of merged objects keep the identity.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import geometry_mask
from scipy import ndimage
from shapely.geometry import Point, box
from shapely.geometry.base import BaseGeometry

from segwatch.geo.crs import choose_utm, to_crs
from segwatch.geo.footprint import trace_footprint
from segwatch.geo.polygons import georeference, trace
from segwatch.geo.types.tracking import ChangeKind, TrackedObservation

Labels = NDArray[np.int32]
Mask = NDArray[np.bool_]

PLOT = 36
"""Side of a plot, pixels; objects stay two pixels away from its edge."""
GSD_M = 10.0
LEAST_PX = 2
"""Smaller pieces are ignored, in the truth as in the detections."""
ORIGIN = (15.0, 46.0)
"""Longitude and latitude of a world's south-west corner and of the projection of its series."""
SERIES = UUID(int=7)
_START = datetime(2024, 5, 1, 10, tzinfo=UTC)
_REVISIT = timedelta(days=5)
_STORIES = ("still", "grow", "shrink", "pulse", "move", "split", "merge")
_STORY_SHARES = (0.25, 0.15, 0.15, 0.1, 0.1, 0.125, 0.125)


@dataclass(frozen=True, slots=True)
class TrueChange:
    """A true change of one object."""

    id: int
    kind: ChangeKind
    scene: int
    """First scene in which it holds."""


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """The truth: the objects in each scene."""

    labels: Labels
    """(S, H, W) id of the object at each pixel, 0 = none."""
    changes: tuple[TrueChange, ...]
    """True changes after the first scene, in order of scene and id."""
    decidable: bool
    """Whether clouds are removed where they would make identities ambiguous."""

    def place(self, change: TrueChange) -> Mask:
        """Return (H, W) where a change happened: the object then, or just before if it is gone."""
        now, before = (self.labels[scene] == change.id for scene in (change.scene, change.scene - 1))
        return np.asarray(now if now.any() else before)

    def ground(self, change: TrueChange) -> Mask:
        """Return (H, W) the ground that a change turned: the object, what it gained or lost, the gap between parts."""
        place = self.place(change)
        if change.kind in (ChangeKind.APPEARED, ChangeKind.DISAPPEARED):
            return place
        row, column = np.argwhere(place)[0] // PLOT * PLOT
        plot = np.s_[row : row + PLOT, column : column + PLOT]
        turned = np.zeros_like(place)
        turned[plot] = (self.labels[change.scene][plot] > 0) != (self.labels[change.scene - 1][plot] > 0)
        return turned

    def find_span(self, change: TrueChange) -> tuple[int, int]:
        """Return the first scene of the state before a change, and the scene in which the state after it ends.

        A state ends where its ground turns, and the one after a change where its object goes, too.
        """
        ground, place = self.ground(change), self.place(change)
        covered = (self.labels[:, ground] > 0).mean(axis=1) >= 0.5
        there = np.asarray((self.labels[:, place] > 0).any(axis=1) | (change.kind is ChangeKind.DISAPPEARED))
        before = covered[: change.scene][::-1] != covered[change.scene]
        after = (covered[change.scene :] == covered[change.scene]) & there[change.scene :]
        return change.scene - _count_run(before), change.scene + _count_run(after)


@dataclass(frozen=True, slots=True)
class Noise:
    """How far a scene departs from the truth."""

    missed: float = 0.1
    """Share of objects that the model misses."""
    false: float = 0.05
    """False detections, as a share of the objects present."""
    jitter_px: int = 1
    """Maximum misregistration of the whole scene in each direction, pixels."""
    cloud: float = 0.4
    """Share of the area under cloud."""
    blob_px: float = 6.0
    """Standard deviation of the Gaussian that shapes the clouds, pixels."""


PERFECT = Noise(missed=0.0, false=0.0, jitter_px=0)
"""All visible objects are detected exactly."""


@dataclass(frozen=True, slots=True, eq=False)
class SceneView:
    """One scene: the visible truth, and the input of every tracker."""

    truth: Labels
    """(H, W) ids of the visible objects."""
    clear: Mask
    """(H, W) observed footprint."""
    regions: Labels
    """(H, W) 1-based number of the detection at each pixel, 0 = none."""
    observation: TrackedObservation
    """The same detections and footprint in EPSG:4326."""


def make(seed: int, *, scenes: int = 20, rows: int = 6, columns: int = 7, decidable: bool = False) -> World:
    """Make a world of ``rows`` x ``columns`` plots with one object each, or two around a split or merge.

    In a decidable world objects do not move, and each only grows or only shrinks: no case is ambiguous in
    itself.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros((scenes, rows * PLOT, columns * PLOT), np.int32)
    changes: list[TrueChange] = []
    first = 1
    for row, column in itertools.product(range(rows), range(columns)):
        plot, events = _life(rng, scenes, decidable)
        window = np.s_[:, row * PLOT : (row + 1) * PLOT, column * PLOT : (column + 1) * PLOT]
        labels[window] = np.where(plot > 0, plot + first - 1, 0)
        changes += [TrueChange(one.id + first - 1, one.kind, one.scene) for one in events]
        first += 2
    return World(labels, tuple(sorted(changes, key=lambda one: (one.scene, one.id))), decidable)


def look(world: World, noise: Noise, seed: int) -> list[SceneView]:
    """Observe the world's scenes through clouds with an imperfect model."""
    rng = np.random.default_rng(seed)
    clear = np.stack([_make_sky(rng, scene.shape, noise) for scene in world.labels])
    if world.decidable:
        _remove_clouds(world, clear)
    grid = _grid(*clear.shape[1:])
    area = georeference(box(-1, -1, grid.width + 1, grid.height + 1), grid)
    views = []
    for number, (truth, sky) in enumerate(zip(world.labels, clear, strict=True)):
        regions = _detect(rng, truth, sky, noise)
        found = trace(regions > 0, np.ones(regions.shape, np.float32), grid, target="object")
        observation = TrackedObservation(
            uuid5(SERIES, str(number)),
            uuid5(SERIES, f"scene {number}"),
            time_of(number),
            trace_footprint(area, sky, grid),
            tuple(found),
        )
        seen = np.where(_drop_small((truth > 0) & sky), truth, 0)
        views.append(SceneView(seen, sky, regions, observation))
    return views


def _count_run(values: Mask) -> int:
    """Count the values up to the first that is False."""
    return len(values) if values.all() else int(np.argmin(values))


def rasterize(geometry: BaseGeometry, shape: tuple[int, int]) -> Mask:
    """Return (H, W) the pixels of a world whose centres an EPSG:4326 geometry covers."""
    projected = to_crs(geometry, choose_utm(Point(ORIGIN)))
    return np.asarray(geometry_mask([projected], shape, _grid(*shape).transform, invert=True))


def time_of(scene: int) -> datetime:
    """Return the acquisition time of a scene, by its number."""
    return _START + scene * _REVISIT


def scene_of(when: datetime) -> int:
    """Return the number of the scene acquired at a time."""
    return round((when - _START) / _REVISIT)


def shows(world: World, view: SceneView, change: TrueChange) -> bool:
    """Return whether a scene could show a change: some of a new object, or at least half of the place of another."""
    if change.kind is ChangeKind.APPEARED:
        return bool((view.truth == change.id).any())
    return bool(view.clear[world.place(change)].mean() >= 0.5)


# ---- the truth


def _life(
    rng: np.random.Generator, scenes: int, decidable: bool
) -> tuple[NDArray[np.int32], list[TrueChange]]:
    """Simulate one plot: (S, PLOT, PLOT) ids 1 and 2, and the changes."""
    story = str(rng.choice(_STORIES, p=_STORY_SHARES))
    if decidable:
        story = {"pulse": "grow", "move": "still"}.get(story, story)
    born = 0 if rng.random() < 0.7 else int(rng.integers(2, scenes // 2))
    dies = scenes if rng.random() < 0.7 else int(rng.integers(born + 6, scenes))
    count = 1 if story in ("split", "merge") else 2
    turns = sorted(rng.choice(np.arange(born + 2, dies - 1), count, replace=False).tolist())
    bodies, kinds = _bodies(rng, story)
    plot = np.zeros((scenes, PLOT, PLOT), np.int32)
    for body, (begin, end) in zip(bodies, itertools.pairwise([born, *turns, dies]), strict=True):
        plot[begin:end] = body
    events = [
        TrueChange(int(one), kind, turn)
        for turn, kind in zip(turns, kinds, strict=True)
        for one in _ids(plot[turn - 1 : turn + 1])
        if kind is not ChangeKind.MOVED
    ]
    if born:
        events += [TrueChange(one, ChangeKind.APPEARED, born) for one in _ids(plot[born])]
    if dies < scenes:
        events += [TrueChange(one, ChangeKind.DISAPPEARED, dies) for one in _ids(plot[dies - 1])]
    return plot, events


def _bodies(rng: np.random.Generator, story: str) -> tuple[list[Labels], list[ChangeKind]]:
    """Return the plot between two turns of the story, one more than there are turns, and the kind of each turn."""
    shape = _Shape.draw(rng)
    if story in ("split", "merge"):
        whole = shape.mask(float(rng.uniform(8, 12)))
        parts = _cut(rng, whole)
        if story == "split":
            return [whole.astype(np.int32), parts], [ChangeKind.SPLIT]
        return [parts, whole.astype(np.int32)], [ChangeKind.MERGED]
    if story == "move":
        steps = np.cumsum([[0, 0], *rng.integers(-2, 3, (2, 2))], axis=0)
        body = shape.mask(float(rng.uniform(4, 10))).astype(np.int32)
        return [np.roll(body, step, (0, 1)) for step in steps], [ChangeKind.MOVED] * 2
    grew, shrank = ChangeKind.GREW, ChangeKind.SHRANK
    small = float(rng.uniform(4, 6))
    radii, kinds = {
        "still": ([float(rng.uniform(3, 12))] * 3, [ChangeKind.MOVED] * 2),
        "grow": ([small, small + 3, small + 6], [grew, grew]),
        "shrink": ([small + 6, small + 3, small], [shrank, shrank]),
        "pulse": ([small, small + 4, small], [grew, shrank]),
    }[story]
    return [shape.mask(radius).astype(np.int32) for radius in radii], kinds


@dataclass(frozen=True, slots=True)
class _Shape:
    """A rotated ellipse or rounded rectangle; with the same shape, a larger radius covers a smaller one."""

    turn: float
    aspect: float
    power: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Shape:
        return cls(rng.uniform(0, np.pi), rng.uniform(0.6, 1.0), int(rng.choice([2, 6])))

    def mask(self, radius: float) -> Mask:
        """Return (PLOT, PLOT) for a radius of at most 12 pixels."""
        down, right = np.indices((PLOT, PLOT)) - (PLOT - 1) / 2
        along = right * np.cos(self.turn) + down * np.sin(self.turn)
        across = (down * np.cos(self.turn) - right * np.sin(self.turn)) / self.aspect
        return np.asarray(np.abs(along) ** self.power + np.abs(across) ** self.power <= radius**self.power)


def _cut(rng: np.random.Generator, whole: Mask) -> Labels:
    """Cut off one end by a line three pixels wide: 1 = the larger part, 2 = the smaller."""
    at = PLOT // 2 + int(rng.integers(2, 4)) * int(rng.choice([-1, 1]))
    tall, wide = (int(whole.any(axis=axis).sum()) for axis in (1, 0))
    steps = np.indices(whole.shape)[0 if tall > wide else 1]
    sides = [whole & (steps < at - 1), whole & (steps > at + 1)]
    sides.sort(key=np.count_nonzero, reverse=True)
    return np.where(sides[0], 1, np.where(sides[1], 2, 0)).astype(np.int32)


def _ids(labels: Labels) -> list[int]:
    return [int(one) for one in np.unique(labels) if one]


# ---- what is observed of it


def _make_sky(rng: np.random.Generator, shape: tuple[int, ...], noise: Noise) -> Mask:
    """Return (H, W), True where the sky is clear."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), noise.blob_px, mode="wrap")
    if noise.cloud >= 1:
        return np.zeros(shape, bool)
    return np.asarray(field >= np.quantile(field, noise.cloud)) if noise.cloud else np.ones(shape, bool)


def _detect(rng: np.random.Generator, truth: Labels, clear: Mask, noise: Noise) -> Labels:
    """Return (H, W) numbered detections, in row-major order of their first pixels."""
    there = np.unique(truth[truth > 0])
    missed = there[rng.random(len(there)) < noise.missed]
    mask = (truth > 0) & ~np.isin(truth, missed)
    down, right = np.indices(truth.shape)
    for _ in range(rng.poisson(noise.false * len(there))):
        row, column = rng.uniform(0, truth.shape[0]), rng.uniform(0, truth.shape[1])
        tall, wide = rng.uniform(1, 3.5, 2)
        mask |= ((down - row) / tall) ** 2 + ((right - column) / wide) ** 2 <= 1
    aside = rng.integers(-noise.jitter_px, noise.jitter_px + 1, 2)
    regions, _ = ndimage.label(_drop_small(np.roll(mask, aside, (0, 1)) & clear))
    return np.asarray(regions, np.int32)


def _drop_small(mask: Mask) -> Mask:
    """Remove pieces below the minimum size."""
    pieces, _ = ndimage.label(mask)
    large = np.bincount(pieces.ravel()) >= LEAST_PX
    return np.asarray(mask & large[pieces])


def _remove_clouds(world: World, clear: Mask) -> None:
    """Remove clouds, in place, over plots where they would make identities ambiguous.

    That is the case around a split or merge, at an object's first sight, and where a visible part shows too
    little of the known object. Known is the object at the last clear observation of its whole plot: it may have
    grown behind clouds since, and a tracker that observed that knows more.
    """
    forced = {
        (scene, one.id)
        for one in world.changes
        if one.kind in (ChangeKind.SPLIT, ChangeKind.MERGED)
        for scene in (one.scene - 1, one.scene)
    }
    for row, column in itertools.product(*(range(0, side, PLOT) for side in clear.shape[1:])):
        window = np.s_[:, row : row + PLOT, column : column + PLOT]
        known: dict[int, Mask] = {}
        for scene, (plot, sky) in enumerate(zip(world.labels[window], clear[window], strict=True)):
            there = _ids(plot)
            if any(
                (scene, one) in forced or _is_ambiguous(plot == one, sky, known.get(one)) for one in there
            ):
                sky[:] = True
            if sky.all():
                known = {one: plot == one for one in there}


def _is_ambiguous(body: Mask, sky: Mask, known: Mask | None) -> bool:
    """Return whether the visible parts of an object do not determine which object it is.

    Each part must show at least half of itself or of all that was known and is visible, and the parts must be
    connected through what is known behind the clouds.
    """
    parts, count = ndimage.label(_drop_small(body & sky))
    if not count:
        return False
    if known is None:
        return True
    common = np.bincount(parts[known & (parts > 0)], minlength=count + 1)[1:]
    smaller = np.minimum(np.bincount(parts.ravel())[1:], (known & sky).sum())
    together, _ = ndimage.label((parts > 0) | (known & ~sky))
    return bool((2 * common < smaller).any() or not common.all() or len(np.unique(together[parts > 0])) > 1)


def _grid(height: int, width: int) -> GeoBox:
    """Make the grid north and east of the origin, in its UTM zone."""
    crs = choose_utm(Point(ORIGIN))
    left, bottom, _, _ = to_crs(Point(ORIGIN), crs).bounds
    return GeoBox((height, width), Affine(GSD_M, 0.0, left, 0.0, -GSD_M, bottom + height * GSD_M), crs)
