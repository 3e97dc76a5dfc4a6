"""Pool of labelled pictures and simulated scenes, from which crops are drawn by content.

A crop is drawn for a target to be present or absent. Drawing pictures first and then asking about their content would
make rare targets nearly always absent when asked for, and the model would learn to deny them. For the same reason a
target's presences and absences come from the same data sets in the same proportions: where one set showed it more
rarely than it lacked it, the model learned to deny it on imagery that looks like that set.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segwatch.model.errors import DatasetError
from segwatch.model.train import augment, demo_imagery, labelled_sets, scenes
from segwatch.model.train.labelled_sample import ABSENT, UNKNOWN, LabelledPicture, Labels, Rgb

MADE = "made"
FIRST_SEED = 1_000_000
"""Scene seeds from here on are for training; evaluation uses lower ones."""
MIN_PRESENT = 0.0008
"""Minimum share of a crop for a target to count as present; below it counts neither as present nor as absent."""
MIN_KNOWN = 0.05
"""Minimum labelled share of a crop for a target to be used."""
MIN_KNOWN_ABSENT = 0.9
"""Minimum labelled share of a crop for a target to count as absent."""

_DRAWS = 40
_WINDOWS = 4
_ABSENT_SHARE = 0.3  # of a picture, so that searching it for windows without the target is worthwhile
_PARTLY_SHARE = 0.3  # of crops for an absent target that come from pictures with the target elsewhere
_ESTIMATED_FROM, _ESTIMATED_AT = 400, 32  # crops and their side
_Able = dict[str, dict[str, list[LabelledPicture]]]  # target -> data set -> samples
_ONE_PICTURE_SHARE = (
    0.4  # maximum share of crops for one target from a single real picture, if there are simulated scenes
)
_DRAWN_FOR = {"water": 1.5}
"""How often crops are drawn for a target, relative to the others."""
_DEMO_GSD_M = {"naip": 1.0, "chesapeake": 10.0, "slovenia": 10.0}


@dataclass(frozen=True)
class CropRule:
    """How crops are taken from pictures of a source."""

    weight: float
    """Frequency relative to the other data sets that can show (or lack) the target."""
    smallest: int
    """Minimum side of a crop, pixels of the source."""
    largest: int
    """Maximum side of a crop, pixels of the source."""
    alone: bool = False
    """Whether a picture smaller than its crop is extended by its own mirror image instead of by other pictures."""


CROP_RULES: Mapping[str, CropRule] = {
    "amazon-forest": CropRule(8, 160, 512),
    "buildings-mixed": CropRule(8, 160, 512),
    "buildings-oam": CropRule(10, 400, 1024),
    "burned-s2": CropRule(10, 100, 256, alone=True),
    "fields-naip": CropRule(8, 220, 1024),
    "flood-water-s2": CropRule(12, 110, 256),
    "demo-naip": CropRule(7, 120, 400),
    "demo-chesapeake": CropRule(5, 120, 300),
    "demo-slovenia": CropRule(4, 32, 64, alone=True),
    "eurosat": CropRule(8, 128, 256),  # one source per class
    MADE: CropRule(0, 96, 256),
}
_OTHER = CropRule(8, 128, 256)
_ONE_SIDED_SHARE = 0.25  # of crops for an absent target that come from data sets that never show it
_ONE_SIDED_RATE = 0.15  # relative rate of further targets that a data set always shows or always lacks
_SAME_CLASS_SHARE = 0.5  # of EuroSAT mosaics that are of one class


@dataclass(frozen=True)
class Crop:
    """A crop: picture and labels."""

    source: str
    image: Rgb
    """(S, S, 3) at the requested side."""
    labels: Mapping[str, Labels]
    """Per target (s, s) over the same area at the source's own resolution."""

    def state(self, target: str) -> bool | None:
        """Return whether a target is present; None if too little is labelled or the target covers too little."""
        label = self.labels.get(target)
        return None if label is None else get_presence(label)


def get_presence(label: Labels) -> bool | None:
    """Return whether a target is present, see :meth:`Crop.state`."""
    known, share = float((label != UNKNOWN).mean()), float((label > 0).mean())
    if share >= MIN_PRESENT and known >= MIN_KNOWN:
        return True
    return False if share == 0 and known >= MIN_KNOWN_ABSENT else None


class CropPool:
    """Samples grouped by what they can show.

    Parameters
    ----------
    samples
        Labelled pictures.
    made
        Number of simulated scenes, with seeds from :data:`FIRST_SEED` on.
    made_share
        Share of crops from simulated scenes.
    world
        Classes and ground sample distances of simulated scenes.
    """

    def __init__(
        self,
        samples: Sequence[LabelledPicture],
        made: int,
        made_share: float,
        world: scenes.SceneSettings = scenes.ALL_CLASSES,
    ) -> None:
        if not samples and not made:
            raise DatasetError("there is neither a labelled picture nor a simulated scene to draw from")
        self._made, self._made_share = made, made_share if made else 0.0
        self._by_set: dict[str, list[LabelledPicture]] = {}
        for sample in samples:
            self._by_set.setdefault(_get_data_set(sample.source), []).append(sample)
        self.targets: tuple[str, ...] = world.targets
        self._there: _Able = {target: self._groups(_shows, target) for target in self.targets}
        self._gone: _Able = {target: self._groups(_lacks, target) for target in self.targets}
        self._partly: _Able = {target: self._groups(_lacks_in_parts, target) for target in self.targets}
        self._world = world
        self._scenes: dict[int, LabelledPicture] = {}

    def draw(self, rng: np.random.Generator, target: str, side: int, *, present: bool) -> Crop:
        """Draw a crop that shows a target, or certainly does not, where the sources allow.

        Parameters
        ----------
        rng
            Random source.
        target
            Target to be present or absent.
        side
            S of the crop's picture, pixels.
        present
            Which of the two.
        """
        sample = self._sample(rng, target, present=present)
        rule = _get_rule(_get_data_set(sample.source))
        length = int(np.exp(rng.uniform(np.log(rule.smallest), np.log(rule.largest + 1))))
        rgb, labels = sample.rgb, _get_all_labels(sample)
        if min(rgb.shape[:2]) < length:
            others = self._list_neighbours(rng, sample, target, present=present)
            rgb, labels = self._mosaic(rng, sample, others, rule, length)
        window = _choose_window(rng, rgb.shape[:2], labels.get(target), length, present=present)
        return _finish_crop(rng, sample.source, rgb[window], {k: v[window] for k, v in labels.items()}, side)

    def draw_any(self, rng: np.random.Generator, side: int) -> tuple[Crop, str]:
        """Draw a crop for a random target, present or absent with equal probability; return both."""
        chances = np.array([_DRAWN_FOR.get(name, 1.0) for name in self.targets])
        target = str(rng.choice(np.array(self.targets), p=chances / chances.sum()))
        return self.draw(rng, target, side, present=bool(rng.random() < 0.5)), target

    def rate_further(self, crop: Crop, target: str) -> float:
        """Rate how rarely a target is in this state, present or absent, in crops that were drawn for any target.

        Returns
        -------
        float
            The reciprocal of its share of the crops, lower where the crop's data set shows the target more often
            than it lacks it, or the reverse; 0 if the state is unknown.
        """
        state = crop.state(target)
        return (
            0.0
            if state is None
            else self._ratings.get((_get_data_set(crop.source), target, state), _ONE_SIDED_RATE)
        )

    @cached_property
    def _ratings(self) -> dict[tuple[str, str, bool], float]:
        """Ratings by data set, target and state; estimated once by sampling."""
        rng = np.random.default_rng(0)
        seen: Counter[tuple[str, str, bool]] = Counter()
        for _ in range(_ESTIMATED_FROM):
            crop, _ = self.draw_any(rng, _ESTIMATED_AT)
            for name in self.targets:
                if (state := crop.state(name)) is not None:
                    seen[_get_data_set(crop.source), name, state] += 1
        fair = {
            (group, name, state): max(min(1.0, seen[group, name, not state] / count), _ONE_SIDED_RATE)
            for (group, name, state), count in seen.items()
        }
        totals: defaultdict[tuple[str, bool], float] = defaultdict(float)
        for (group, name, state), count in seen.items():
            totals[name, state] += count * fair[group, name, state]
        return {
            (group, name, state): rate * _ESTIMATED_FROM / (totals[name, state] + 1.0)
            for (group, name, state), rate in fair.items()
        }

    def _groups(
        self, fits: Callable[[LabelledPicture, str], bool], target: str
    ) -> dict[str, list[LabelledPicture]]:
        able = {name: [one for one in group if fits(one, target)] for name, group in self._by_set.items()}
        return {name: group for name, group in able.items() if group}

    def _sample(self, rng: np.random.Generator, target: str, *, present: bool) -> LabelledPicture:
        groups = self._there[target] if present else self._choose_absences(rng, target)
        pictures = sum(len(group) for group in groups.values())
        made_share = max(self._made_share, 1.0 - _ONE_PICTURE_SHARE * pictures)
        if self._made and rng.random() < made_share:
            return self._made_sample(rng, target, present=present)
        if not groups:
            raise DatasetError(
                f"no picture {'shows' if present else 'certainly lacks'} {target}; add simulated scenes (data.scenes)"
            )
        names = sorted(groups)
        chances = np.array([_get_rule(name).weight for name in names])
        group = groups[names[int(rng.choice(len(names), p=chances / chances.sum()))]]
        return group[int(rng.integers(len(group)))]

    def _choose_absences(self, rng: np.random.Generator, target: str) -> dict[str, list[LabelledPicture]]:
        """Choose the pictures to draw an absence from: mostly of the data sets that show the target, too."""
        shown, gone, partly = self._there[target], self._gone[target], self._partly[target]
        one_sided = {name: group for name, group in gone.items() if name not in shown}
        both = {
            name: partly[name]
            if name in partly and (name not in gone or rng.random() < _PARTLY_SHARE)
            else gone[name]
            for name in shown
            if name in gone or name in partly
        }
        if not both or (one_sided and rng.random() < _ONE_SIDED_SHARE):
            return one_sided
        return both

    def _list_neighbours(
        self, rng: np.random.Generator, sample: LabelledPicture, target: str, *, present: bool
    ) -> list[LabelledPicture]:
        """List the pictures that may fill the rest of a crop: of the same data set, half the time of the same class."""
        groups = self._by_set if present else self._gone[target]
        others = groups.get(_get_data_set(sample.source), [sample])
        if rng.random() < _SAME_CLASS_SHARE:
            others = [one for one in others if one.source == sample.source] or [sample]
        return others

    def _made_sample(self, rng: np.random.Generator, target: str, *, present: bool) -> LabelledPicture:
        """Draw a simulated scene that shows (or lacks) the target; after many tries the last one drawn."""
        for _ in range(_DRAWS):
            index = int(rng.integers(self._made))
            scene = self._scenes.get(index) or make_scene_sample(FIRST_SEED + index, self._world)
            self._scenes[index] = scene
            if (target in scene.labels) if present else (target in scene.absent):
                break
        return scene

    def _mosaic(
        self,
        rng: np.random.Generator,
        first: LabelledPicture,
        others: Sequence[LabelledPicture],
        rule: CropRule,
        side: int,
    ) -> tuple[Rgb, dict[str, Labels]]:
        """Fill ``side`` x ``side`` pixels with one picture and others of its source, each randomly mirrored."""
        step = min(first.rgb.shape[:2])
        rgb = np.zeros((side, side, 3), np.uint8)
        labels = {target: np.full((side, side), UNKNOWN) for target in self.targets}
        group = [first] if rule.alone else others
        count = -(-side // step)
        for row in range(count):
            for column in range(count):
                other = first if row == column == 0 else group[int(rng.integers(len(group)))]
                flips = (row % 2, column % 2) if rule.alone else tuple(rng.integers(2, size=2))
                part = (slice(row * step, (row + 1) * step), slice(column * step, (column + 1) * step))
                _paste(rgb[part], other.rgb, step, flips)
                for target, label in _get_all_labels(other).items():
                    _paste(labels[target][part], label, step, flips)
        return rgb, {target: label for target, label in labels.items() if (label != UNKNOWN).any()}


def load_demo_samples(directory: Path) -> list[LabelledPicture]:
    """Load the training part of the demo imagery with its weak labels, see :mod:`segwatch.model.train.demo_imagery`."""
    return [
        LabelledPicture(
            f"demo-{picture.source}",
            picture.date,
            _DEMO_GSD_M[picture.source],
            picture.rgb,
            {name: mask.astype(np.int8) for name, mask in picture.masks.items()},
            picture.absent,
        )
        for picture in demo_imagery.load_pictures(directory, "train")
    ]


def make_scene_sample(seed: int, world: scenes.SceneSettings) -> LabelledPicture:
    """Make a simulated scene as a labelled picture."""
    scene = scenes.make_scene(seed, scenes.SCENE_PX, world)
    labels = {name: mask.astype(np.int8) for name, mask in scene.masks.items()}
    return LabelledPicture(MADE, str(seed), float(scene.gsd_m), scene.image, labels, scene.absent)


def _get_data_set(source: str) -> str:
    """Return the data set of a source: the classes of EuroSAT are sources of one set."""
    return "eurosat" if source.startswith("eurosat-") else source


def _get_rule(data_set: str) -> CropRule:
    return CROP_RULES.get(data_set, _OTHER)


def _get_all_labels(sample: LabelledPicture) -> dict[str, Labels]:
    """Return labels of all targets with any label."""
    absent = {target: np.full(sample.rgb.shape[:2], ABSENT) for target in sample.absent}
    return {**absent, **sample.labels}


def _shows(sample: LabelledPicture, target: str) -> bool:
    label = sample.label(target)
    return label is not None and bool((label > 0).mean() >= MIN_PRESENT)


def _lacks(sample: LabelledPicture, target: str) -> bool:
    label = sample.label(target)
    return label is not None and not (label > 0).any() and bool((label == ABSENT).mean() >= MIN_KNOWN_ABSENT)


def _lacks_in_parts(sample: LabelledPicture, target: str) -> bool:
    """Return whether there is room beside the target for a crop without it."""
    label = sample.label(target)
    return label is not None and bool((label > 0).any()) and bool((label == ABSENT).mean() >= _ABSENT_SHARE)


def _paste(place: NDArray[np.generic], values: NDArray[np.generic], step: int, flips: Sequence[int]) -> None:
    """Paste the start of an array, mirrored if requested, into the start of another."""
    part = values[:step, :step][:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]
    part = part[: place.shape[0], : place.shape[1]]
    place[: part.shape[0], : part.shape[1]] = part


def _choose_window(
    rng: np.random.Generator, shape: Sequence[int], label: Labels | None, side: int, *, present: bool
) -> tuple[slice, slice]:
    """Choose a ``side`` x ``side`` window around a pixel of the target, or one without it if a few tries find one."""
    highest, leftmost = shape[0] - side, shape[1] - side
    inside = np.flatnonzero(label > 0) if label is not None else np.zeros(0, np.int64)
    if present and len(inside):
        row, column = divmod(int(inside[int(rng.integers(len(inside)))]), shape[1])
        top = int(rng.integers(max(row - side + 1, 0), min(row, highest) + 1))
        left = int(rng.integers(max(column - side + 1, 0), min(column, leftmost) + 1))
        return slice(top, top + side), slice(left, left + side)
    for _ in range(_WINDOWS):
        top, left = int(rng.integers(highest + 1)), int(rng.integers(leftmost + 1))
        window = (slice(top, top + side), slice(left, left + side))
        if label is None or not (label[window] > 0).any():
            break
    return window


def _finish_crop(
    rng: np.random.Generator, source: str, rgb: Rgb, labels: Mapping[str, Labels], side: int
) -> Crop:
    """Resize, rotate, mirror and retouch; labels are rotated and mirrored alike."""
    smooth = Image.Resampling.BOX if len(rgb) > side and rng.random() < 0.5 else Image.Resampling.BILINEAR
    resized = np.asarray(Image.fromarray(rgb).resize((side, side), smooth))
    quarter, mirror = int(rng.integers(4)), bool(rng.integers(2))

    def turned(array: NDArray[np.generic]) -> NDArray[np.generic]:
        moved = np.rot90(array, quarter)
        return np.ascontiguousarray(moved[:, ::-1] if mirror else moved)

    image = augment.retouch(rng, turned(resized).astype(np.uint8))
    return Crop(source, image, {target: turned(label).astype(np.int8) for target, label in labels.items()})


def load_pool(
    root: Path, demo: Path | None, made: int, made_share: float, world: scenes.SceneSettings
) -> CropPool:
    """Load the pool of a run: training places of the labelled sets, the demo imagery, and simulated scenes.

    Raises
    ------
    DatasetError
        If a set cannot be read.
    InputError
        If the demo's imagery is missing.
    """
    samples = labelled_sets.load_part(root, "train")
    if demo is not None:
        samples += load_demo_samples(demo)
    return CropPool(samples, made, made_share, world)
