"""``python -m segwatch.model.evaluate_places``: evaluate a model on held-out labelled places, for its model card."""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from segwatch.model import held_out_places
from segwatch.model.predictor import Predictor
from segwatch.model.train import instructions, scenes
from segwatch.model.train.labelled_sample import UNKNOWN, LabelledPicture
from segwatch.model.train.labelled_sets import PlacePart

_log = logging.getLogger(__name__)

Masks = dict[str, NDArray[np.bool_]]
_SHIFTS = ((0, 7), (11, 0), (5, 37))
_LIGHTS = (0.9, 1.1)
_STABLE_SIDE = 300
"""Side of the areas that are shifted and relit, pixels."""
_LEAST_MARKED = 0.005  # minimum share of an area that one of the predictions marks


@dataclass(frozen=True)
class PlaceResult:
    """Results of one target in one data set, over the pictures that contain it."""

    dataset: str
    target: str
    pictures: int
    places: int
    c_iou: float
    low: float
    """Lower end of the 95 % interval by place."""
    high: float
    everything: float
    """cIoU of marking every pixel."""
    rule: float
    """cIoU of the best threshold on a band or an index, tuned on training places of the data set."""
    rule_name: str

    @property
    def ahead(self) -> bool:
        """Whether the model beats marking everything and the rule."""
        return self.c_iou > max(self.everything, self.rule)


@dataclass(frozen=True)
class AbsenceResult:
    """Results of one target in one data set, over the pictures that certainly do not contain it."""

    dataset: str
    target: str
    pictures: int
    marked: float
    """Share of the pictures with any pixel marked."""
    pixels: float
    """Mean share of their pixels that is marked."""


@dataclass(frozen=True)
class Stability:
    """Agreement of a model with itself: IoU of its own masks of the same area."""

    shifted: float
    """Between windows shifted by some pixels."""
    lit: float
    """Between brightnesses."""
    areas: int


@dataclass(frozen=True)
class PlacesReport:
    """All results of one model."""

    model: str
    rows: list[PlaceResult]
    absences: list[AbsenceResult]
    stability: Stability
    tile_s: float
    """Seconds per tile, for all its instructions."""

    def summary(self) -> dict[str, float]:
        """Return the figures by which models are compared."""
        without = [row.c_iou for row in self.rows if row.dataset != "eurosat"]
        count = sum(row.pictures for row in self.absences)
        return {
            "rows": len(self.rows),
            "mean cIoU": float(np.mean([row.c_iou for row in self.rows])),
            "mean cIoU without EuroSAT": float(np.mean(without)) if without else 0.0,
            "ahead of the baselines": sum(row.ahead for row in self.rows),
            "absent pictures": count,
            "absent pictures marked": sum(row.marked * row.pictures for row in self.absences) / max(count, 1),
            "absent pixels marked": sum(row.pixels * row.pictures for row in self.absences) / max(count, 1),
            "same under shifts": self.stability.shifted,
            "same under light": self.stability.lit,
            "seconds a tile": self.tile_s,
        }


def predict_masks(predictor: Predictor, rgb: NDArray[np.uint8], targets: Sequence[str]) -> Masks:
    """Predict masks of targets from their plainest instructions, in tiles without overlap, borders mirrored."""
    height, width = rgb.shape[:2]
    side = predictor.tile_px
    down, right = -height % side, -width % side
    padded = np.pad(rgb, ((0, down), (0, right), (0, 0)), mode="symmetric")
    found = {target: np.zeros(padded.shape[:2], np.bool_) for target in targets}
    asked = [f"segment the {instructions.TARGET_NOUNS[target][0]}" for target in targets]
    for top in range(0, padded.shape[0], side):
        for left in range(0, padded.shape[1], side):
            window = (slice(top, top + side), slice(left, left + side))
            (answers,) = predictor.segment([np.ascontiguousarray(padded[window])], asked)
            for target, answer in zip(targets, answers, strict=True):
                if len(answer.mask_logits):
                    found[target][window] = answer.mask_logits[0] > 0
    return {target: mask[:height, :width] for target, mask in found.items()}


def evaluate_model(
    predictor: Predictor, root: Path, demo: Path | None, part: PlacePart = "judge", most: int = 40
) -> PlacesReport:
    """Evaluate a model on one part of the places.

    Parameters
    ----------
    predictor
        The model.
    root
        Folder of the labelled sets, or their archive.
    demo
        Folder of the demo's imagery, None to leave it out.
    part
        Of the places; "judge" for what is published, "calibrate" for choices between models.
    most
        Pictures of each set.
    """
    held, tuning = (
        held_out_places.load_pictures(root, demo, part, most),
        held_out_places.load_pictures(root, demo, "train", most),
    )
    counts: dict[tuple[str, str], _Counts] = defaultdict(_Counts)
    rules: dict[tuple[str, str], held_out_places.ThresholdRule] = {}
    begun, tiles = time.perf_counter(), 0
    for number, sample in enumerate(held):
        dataset = held_out_places.get_dataset(sample)
        targets = [name for name in scenes.TARGETS if held_out_places.is_present(sample, name) is not None]
        masks = predict_masks(predictor, sample.rgb, targets)
        tiles += int(np.prod([-(-length // predictor.tile_px) for length in sample.rgb.shape[:2]]))
        for target in targets:
            key = (dataset, target)
            if key not in rules:
                rules[key] = held_out_places.fit_rule(
                    [one for one in tuning if held_out_places.get_dataset(one) == dataset], target
                )
            counts[key].add(sample, target, masks[target], rules[key].apply(sample.rgb))
        _log.info("%d of %d: %s %s", number + 1, len(held), dataset, sample.place)
    seconds = (time.perf_counter() - begun) / max(tiles, 1)
    rows = [one.row(*key, str(rules[key])) for key, one in sorted(counts.items()) if one.places]
    absences = [one.absence(*key) for key, one in sorted(counts.items()) if one.absent]
    return PlacesReport(predictor.version, rows, absences, measure_stability(predictor, held), seconds)


class _Counts:
    """Pixel counts of one target in one data set."""

    def __init__(self) -> None:
        self.places: dict[str, NDArray[np.int64]] = {}
        """Place -> intersection and union of the model, of marking everything, and of the rule."""
        self.pictures = 0
        self.absent: list[float] = []
        """Marked share of each picture without the target."""

    def add(
        self, sample: LabelledPicture, target: str, found: NDArray[np.bool_], ruled: NDArray[np.bool_]
    ) -> None:
        """Count one picture; unlabelled pixels do not count."""
        label = sample.label(target)
        assert label is not None  # noqa: S101 - callers pass targets whose presence is known
        known, truth = label != UNKNOWN, label > 0
        if not truth.any():
            self.absent.append(float((found & known).sum() / known.sum()))
            return
        self.pictures += 1
        pixels = [
            count
            for guess in (found, np.ones_like(found), ruled)
            for count in ((guess & truth).sum(), ((guess | truth) & known).sum())
        ]
        place = self.places.setdefault(sample.place, np.zeros(6, np.int64))
        place += np.array(pixels)

    def row(self, dataset: str, target: str, rule_name: str) -> PlaceResult:
        """Return the results over the pictures with the target."""
        model, everything, rule = (
            {place: (int(counts[at]), int(counts[at + 1])) for place, counts in self.places.items()}
            for at in (0, 2, 4)
        )
        low, high = held_out_places.bootstrap_interval(model)
        return PlaceResult(
            dataset, target, self.pictures, len(self.places), _c_iou(model), low, high, _c_iou(everything),
            _c_iou(rule), rule_name,
        )  # fmt: skip

    def absence(self, dataset: str, target: str) -> AbsenceResult:
        """Return the results over the pictures without the target."""
        marked = float(np.mean([share > 0 for share in self.absent]))
        return AbsenceResult(dataset, target, len(self.absent), marked, float(np.mean(self.absent)))


def _c_iou(parts: dict[str, tuple[int, int]]) -> float:
    return sum(part[0] for part in parts.values()) / max(sum(part[1] for part in parts.values()), 1)


def measure_stability(predictor: Predictor, samples: Sequence[LabelledPicture], most: int = 16) -> Stability:
    """Predict the same areas again, shifted by some pixels and in other light."""
    needed = _STABLE_SIDE + max(max(shift) for shift in _SHIFTS)
    large = [sample for sample in samples if min(sample.rgb.shape[:2]) >= needed]
    shifted, lit = [0, 0], [0, 0]
    chosen = large[:: max(-(-len(large) // most), 1)]
    for sample in chosen:
        targets = [name for name in scenes.TARGETS if held_out_places.is_present(sample, name)] or ["water"]
        first = predict_masks(predictor, sample.rgb[:_STABLE_SIDE, :_STABLE_SIDE], targets)
        for down, right in _SHIFTS:
            window = sample.rgb[down : down + _STABLE_SIDE, right : right + _STABLE_SIDE]
            again = predict_masks(predictor, window, targets)
            for name in targets:
                inner = again[name][: _STABLE_SIDE - down, : _STABLE_SIDE - right]
                _agree(shifted, first[name][down:, right:], inner)
        for factor in _LIGHTS:
            bright = (
                np.clip(sample.rgb[:_STABLE_SIDE, :_STABLE_SIDE] * factor, 0, 255).round().astype(np.uint8)
            )
            again = predict_masks(predictor, bright, targets)
            for name in targets:
                _agree(lit, first[name], again[name])
    return Stability(shifted[0] / max(shifted[1], 1), lit[0] / max(lit[1], 1), len(chosen))


def _agree(sums: list[int], one: NDArray[np.bool_], two: NDArray[np.bool_]) -> None:
    """Add pixels of intersection and union, unless both predictions mark too little."""
    if max(one.mean(), two.mean()) >= _LEAST_MARKED:
        sums[0] += int((one & two).sum())
        sums[1] += int((one | two).sum())


def format_tables(judgement: PlacesReport) -> str:
    """Format the report in Markdown."""
    lines = [
        "| set | target | pictures (places) | cIoU | 95 % by place | everything | best threshold | ahead |"
    ]
    lines += ["| --- | --- | --- | --- | --- | --- | --- | --- |"]
    lines += [
        f"| {row.dataset} | {row.target} | {row.pictures} ({row.places}) | {row.c_iou:.3f} | "
        f"{row.low:.2f} to {row.high:.2f} | {row.everything:.3f} | {row.rule:.3f} ({row.rule_name}) | "
        f"{'yes' if row.ahead else 'no'} |"
        for row in judgement.rows
    ]
    lines += ["", "| set | absent target | pictures | marked | pixels |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {row.dataset} | {row.target} | {row.pictures} | {row.marked:.0%} | {row.pixels:.2%} |"
        for row in judgement.absences
    ]
    lines += ["", "| figure | value |", "| --- | --- |"]
    lines += [f"| {name} | {value:.3f} |" for name, value in judgement.summary().items()]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Evaluate a model on held-out places; writes ``judgement.json`` and ``judgement.md`` into --out."""
    parser = argparse.ArgumentParser(
        prog="python -m segwatch.model.evaluate_places", description=main.__doc__
    )
    parser.add_argument(
        "--model", type=Path, default=None, help="folder of the model; the shipped one by default"
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of the labelled sets, or their archive"
    )
    parser.add_argument(
        "--demo", type=Path, default=Path("demo/imagery"), help="folder of the demo's imagery"
    )
    parser.add_argument("--part", choices=get_args(PlacePart), default="judge")
    parser.add_argument("--most", type=int, default=40, help="maximum pictures of each data set")
    parser.add_argument("--out", type=Path, default=Path("."), help="output folder for the two files")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    predictor = Predictor.load(options.model, "cpu")
    found = evaluate_model(predictor, options.data, options.demo, options.part, options.most)
    options.out.mkdir(parents=True, exist_ok=True)
    record = {
        **asdict(found),
        "rows": [{**asdict(row), "ahead": row.ahead} for row in found.rows],
        "summary": found.summary(),
    }
    (options.out / "judgement.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (options.out / "judgement.md").write_text(format_tables(found), encoding="utf-8")


if __name__ == "__main__":
    main()
