"""Labelled pictures of held-out places, and simple threshold rules that a model must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segwatch.model.train import demo_imagery, labelled_sets
from segwatch.model.train.labelled_sample import UNKNOWN, LabelledPicture, Labels, Rgb
from segwatch.model.train.labelled_sets import PlacePart

MOSAIC_SIDE = 4
"""EuroSAT chips per side of a mosaic; single chips are smaller than any picture that would be segmented."""

_TUNING_PIXELS = 4000  # maximum pixels of each picture
_TUNING_PICTURES = 40
_INDICES = ((1, 0), (2, 0), (1, 2))  # green-red, blue-red, green-blue
_LEVELS = tuple(range(8, 256, 8))
_INDEX_LEVELS = tuple(round(-0.5 + 0.05 * step, 2) for step in range(21))


@dataclass(frozen=True)
class ThresholdRule:
    """A threshold on a band, on brightness, or on the normalised difference of two bands."""

    bands: tuple[int, ...]
    """One band, two for their normalised difference, or all three for their mean."""
    level: float
    above: bool

    def apply(self, rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Apply to (..., 3) -> (...) bool."""
        parts = [rgb[..., band].astype(np.float32) for band in self.bands]
        value = np.mean(parts, axis=0)
        if len(parts) == 2:
            value = (parts[0] - parts[1]) / np.maximum(parts[0] + parts[1], 1.0)
        return np.asarray(value > self.level if self.above else value <= self.level)

    def __str__(self) -> str:
        name = "rgb" if len(self.bands) == 3 else "-".join("rgb"[band] for band in self.bands)
        return f"{name} {'>' if self.above else '<='} {self.level}"


def load_pictures(root: Path, demo: Path | None, part: PlacePart, most: int) -> list[LabelledPicture]:
    """Load the pictures of one part of the places in the form in which they are evaluated, by data set.

    Parameters
    ----------
    root
        Folder of the labelled sets, or their archive.
    demo
        Folder of the demo's imagery, whose held-out parts judge and whose other parts tune; None leaves it out.
    part
        Of the places.
    most
        Pictures of each set.
    """
    by_set: dict[str, list[LabelledPicture]] = {}
    for sample in labelled_sets.load_part(root, part):
        by_set.setdefault(sample.source, []).append(sample)
    found = []
    for source, samples in by_set.items():
        if source.startswith("eurosat-"):
            found += [replace(one, labels={}) for one in _make_mosaics(samples)[:most]]
        elif source == "buildings-oam":
            found += [_halve_resolution(sample) for sample in samples[:most]]
        else:
            found += samples[:most]
    found += _make_patchworks({name: group for name, group in by_set.items() if name.startswith("eurosat-")})[
        :most
    ]
    return found if demo is None or part == "calibrate" else [*found, *_load_demo(demo, part)]


def get_dataset(sample: LabelledPicture) -> str:
    """Return the data set's name in tables; EuroSAT's classes are one data set."""
    return "eurosat" if sample.source.startswith("eurosat-") else sample.source


def is_present(sample: LabelledPicture, target: str) -> bool | None:
    """Return whether a picture contains a target; None if too little is labelled to exclude it."""
    label = sample.label(target)
    if label is None:
        return None
    if (label > 0).any():
        return True
    return False if (label != UNKNOWN).mean() >= 0.9 else None


def fit_rule(samples: Sequence[LabelledPicture], target: str) -> ThresholdRule:
    """Find the rule with the highest IoU on a sample of the labelled pixels of training pictures with the target."""
    rng = np.random.default_rng(0)
    colours, truths = [np.zeros((0, 3), np.uint8)], [np.zeros(0, np.bool_)]
    with_target = [sample for sample in samples if is_present(sample, target)]
    for sample in with_target[:_TUNING_PICTURES]:
        label = sample.labels[target].ravel()
        known = np.flatnonzero(label != UNKNOWN)
        chosen = known[rng.integers(len(known), size=min(_TUNING_PIXELS, len(known)))]
        colours.append(sample.rgb.reshape(-1, 3)[chosen])
        truths.append(label[chosen] > 0)
    rgb, truth = np.concatenate(colours), np.concatenate(truths)

    def score(rule: ThresholdRule) -> float:
        found = rule.apply(rgb)
        return float((found & truth).sum() / max((found | truth).sum(), 1))

    return max(_list_rules(), key=score)


def bootstrap_interval(
    parts: Mapping[str, tuple[int, int]], draws: int = 1000, share: float = 0.95
) -> tuple[float, float]:
    """Compute the confidence interval of a cIoU by drawing places with replacement.

    Parameters
    ----------
    parts
        Place -> pixels of intersection and of union.
    draws
        Repetitions.
    share
        Of the draws that lie within.
    """
    pixels = np.array(list(parts.values()), dtype=np.float64)
    picks = np.random.default_rng(0).integers(len(pixels), size=(draws, len(pixels)))
    sums = pixels[picks].sum(1)
    scores = sums[:, 0] / np.maximum(sums[:, 1], 1.0)
    low, high = np.quantile(scores, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def _list_rules() -> list[ThresholdRule]:
    levels: list[tuple[tuple[int, ...], Sequence[float]]] = [
        *[((band,), _LEVELS) for band in range(3)],
        ((0, 1, 2), _LEVELS),
        *[(index, _INDEX_LEVELS) for index in _INDICES],
    ]
    return [
        ThresholdRule(bands, level, above)
        for bands, some in levels
        for level in some
        for above in (True, False)
    ]


def _make_mosaics(chips: Sequence[LabelledPicture]) -> list[LabelledPicture]:
    """Make mosaics of :data:`MOSAIC_SIDE` ** 2 chips of one class; remaining chips are dropped."""
    each = MOSAIC_SIDE**2
    groups = [chips[begin : begin + each] for begin in range(0, len(chips) - each + 1, each)]
    return [replace(group[0], rgb=_tile_chips([chip.rgb for chip in group])) for group in groups]


def _make_patchworks(classes: Mapping[str, Sequence[LabelledPicture]]) -> list[LabelledPicture]:
    """Make mosaics of four classes, each a quarter of 2 x 2 chips, to test presence beside other land cover."""
    names = sorted(classes)
    half = MOSAIC_SIDE // 2
    quarters = {
        name: [classes[name][begin : begin + half**2] for begin in range(0, len(classes[name]) - 3, half**2)]
        for name in names
    }
    made = []
    for number in range(min((len(group) for group in quarters.values()), default=0)):
        chosen = [names[(number + step) % len(names)] for step in range(4)]
        some = [quarters[name][number] for name in chosen]
        chips = [
            some[2 * (row // half) + column // half][2 * (row % half) + column % half]
            for row in range(MOSAIC_SIDE)
            for column in range(MOSAIC_SIDE)
        ]
        targets = sorted({target for chip in chips for target in (*chip.labels, *chip.absent)})
        labels = {
            target: _tile_chips([_get_label(chip, target) for chip in chips]).astype(np.int8)
            for target in targets
        }
        made.append(
            LabelledPicture(
                "eurosat-mixed", f"mixed {number}", 10.0, _tile_chips([chip.rgb for chip in chips]), labels
            )
        )
    return made


def _get_label(chip: LabelledPicture, target: str) -> Labels:
    label = chip.label(target)
    return np.full(chip.rgb.shape[:2], UNKNOWN) if label is None else label


def _tile_chips(chips: Sequence[NDArray[Any]]) -> NDArray[Any]:
    rows = [np.concatenate(chips[row : row + MOSAIC_SIDE], 1) for row in range(0, len(chips), MOSAIC_SIDE)]
    return np.asarray(np.concatenate(rows, 0))


def _halve_resolution(sample: LabelledPicture) -> LabelledPicture:
    """Halve the resolution from 0.15 m, which is finer than the model is made for, to 0.3 m."""
    height, width = sample.rgb.shape[0] // 2, sample.rgb.shape[1] // 2
    rgb: Rgb = np.asarray(Image.fromarray(sample.rgb).resize((width, height), Image.Resampling.BOX))
    labels: dict[str, Labels] = {
        target: np.ascontiguousarray(label[: 2 * height : 2, : 2 * width : 2])
        for target, label in sample.labels.items()
    }
    return replace(sample, gsd_m=sample.gsd_m * 2, rgb=rgb, labels=labels)


def _load_demo(directory: Path, part: PlacePart) -> list[LabelledPicture]:
    return [
        LabelledPicture(
            f"demo-{picture.source}",
            f"{picture.source} {picture.date} {index}",
            10.0,
            picture.rgb,
            {name: mask.astype(np.int8) for name, mask in picture.masks.items()},
            picture.absent,
        )
        for index, picture in enumerate(
            demo_imagery.load_pictures(directory, "held-out" if part == "judge" else "train")
        )
    ]
