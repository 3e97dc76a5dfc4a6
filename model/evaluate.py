"""``python -m segwatch.model.evaluate``: compare a model with simple baselines on held-out scenes and imagery."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segwatch.model import metrics
from segwatch.model.predictor import Predictor
from segwatch.model.referring.samples import ReferringSample
from segwatch.model.referring.score import ScoredInstruction, score_prediction, summarise_by_group
from segwatch.model.train import demo_imagery, instructions, scenes
from segwatch.model.train.config import Mix

_log = logging.getLogger(__name__)

_FIRST_TUNING_SEED = 500_000
_LEVELS = tuple(range(8, 256, 8))
_MARGIN = 0.05
_GUESSES = ("model", "nothing", "everything", "threshold")


@dataclass(frozen=True)
class MaskExample:
    """One image, one target and its truth; an all-False truth means that the target is absent."""

    image: NDArray[np.uint8]
    target: str
    truth: NDArray[np.bool_]


@dataclass(frozen=True)
class BandThreshold:
    """A one-band rule: the target is where the band is at most (or above) a level."""

    band: int
    level: int
    below: bool

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Apply to (H, W, 3) -> (H, W) bool."""
        dark = image[:, :, self.band] <= self.level
        return dark if self.below else ~dark


@dataclass(frozen=True)
class BaselineComparison:
    """Results of one target in one data set."""

    dataset: str
    target: str
    targets: int
    g_iou: float
    c_iou: float
    empty: float
    """cIoU of predicting nothing."""
    full: float
    """cIoU of predicting everything."""
    threshold: float
    """cIoU of the best one-band threshold, tuned on training images of the same data set."""
    false_alarms: float | None
    """Share of images without the target in which the model marked some; None if there are none."""
    wrongly_marked: float | None
    """Share of the pixels of these images that the model marked."""

    @property
    def beats_baselines(self) -> bool:
        """Whether the model's cIoU exceeds every baseline's by the margin."""
        return self.c_iou > max(self.empty, self.full, self.threshold) + _MARGIN


@dataclass(frozen=True)
class GroupResult:
    """Results of a group of instructions; the columns of the baselines are their gIoU."""

    group: str
    instructions: int
    g_iou: float
    c_iou: float
    empty: float
    full: float
    threshold: float


def fit_threshold(examples: Sequence[MaskExample]) -> BandThreshold:
    """Find the one-band rule with the highest cIoU on the examples."""
    rules = [
        BandThreshold(band, level, below) for band in range(3) for level in _LEVELS for below in (True, False)
    ]

    def score(rule: BandThreshold) -> float:
        found = [metrics.compute_overlap(rule.apply(item.image), item.truth) for item in examples]
        return metrics.summarise(found).c_iou

    return max(rules, key=score)


def predict_mask(predictor: Predictor, image: NDArray[np.uint8], target: str) -> NDArray[np.bool_]:
    """Predict the mask of a target from its plainest instruction, in as many tiles as needed.

    Images larger than the predictor's tile are cut into tiles at full resolution, without overlap.
    """
    height, width = image.shape[:2]
    found = np.zeros((height, width), dtype=np.bool_)
    side = predictor.tile_px
    instruction = f"segment the {instructions.TARGET_NOUNS[target][0]}"
    for top in range(0, height, side):
        for left in range(0, width, side):
            # shift the last tile back so that it is whole if the image is large enough
            row, column = max(min(top, height - side), 0), max(min(left, width - side), 0)
            window = (slice(row, row + side), slice(column, column + side))
            answer = predictor.segment([image[window]], [instruction])[0][0]
            if len(answer.mask_logits):
                found[window] |= answer.mask_logits[0] > 0
    return found


def make_examples(first_seed: int, count: int, *, simple: bool = False) -> list[MaskExample]:
    """Make examples of every target from simulated scenes, present and certainly absent ones."""
    examples = []
    for seed in range(first_seed, first_seed + count):
        scene = scenes.make_plain_scene(seed) if simple else scenes.make_scene(seed)
        empty = np.zeros(scene.image.shape[:2], dtype=np.bool_)
        examples += [MaskExample(scene.image, name, mask) for name, mask in scene.masks.items()]
        examples += [MaskExample(scene.image, name, empty) for name in scene.absent]
    return examples


def load_examples(
    directory: Path, split: demo_imagery.Split, source: str, *, dates: Container[str] | None = None
) -> list[MaskExample]:
    """Load whole held-out (or training) parts of the demo imagery, only of some dates if they are given."""
    return [
        MaskExample(picture.rgb, target, mask)
        for picture in demo_imagery.load_pictures(directory, split)
        if picture.source == source and (dates is None or picture.date in dates)
        for target, mask in picture.masks.items()
    ]


def compare_with_baselines(
    predictor: Predictor, dataset: str, tuning: Sequence[MaskExample], held_out: Sequence[MaskExample]
) -> list[BaselineComparison]:
    """Compare model and baselines; one row per target of the held-out examples."""
    rows = []
    for target in sorted({item.target for item in held_out}):
        present = [item for item in held_out if item.target == target and item.truth.any()]
        absent = [item for item in held_out if item.target == target and not item.truth.any()]
        if not present:
            continue
        rule = fit_threshold([item for item in tuning if item.target == target and item.truth.any()])
        scores = metrics.summarise(
            [
                metrics.compute_overlap(predict_mask(predictor, item.image, target), item.truth)
                for item in present
            ]
        )
        marked = [float(predict_mask(predictor, item.image, target).mean()) for item in absent]
        rows.append(
            BaselineComparison(
                dataset=dataset,
                target=target,
                targets=scores.targets,
                g_iou=scores.g_iou,
                c_iou=scores.c_iou,
                empty=_c_iou([(np.zeros_like(item.truth), item.truth) for item in present]),
                full=_c_iou([(np.ones_like(item.truth), item.truth) for item in present]),
                threshold=_c_iou([(rule.apply(item.image), item.truth) for item in present]),
                false_alarms=float(np.mean([share > 0 for share in marked])) if marked else None,
                wrongly_marked=float(np.mean(marked)) if marked else None,
            )
        )
        _log.info("%s", rows[-1])
    return rows


def evaluate_model(predictor: Predictor, data: Path, made: int = 40) -> list[BaselineComparison]:
    """Evaluate on all data sets: simulated scenes, plain shapes, and each source of the demo imagery.

    Parameters
    ----------
    predictor
        The model.
    data
        Folder laid out like ``demo/imagery``.
    made
        Held-out simulated scenes of each kind; their seeds are not among the training seeds.
    """
    rows = compare_with_baselines(
        predictor, "simulated scenes", make_examples(_FIRST_TUNING_SEED, made), make_examples(0, made)
    )
    rows += compare_with_baselines(
        predictor,
        "plain shapes",
        make_examples(_FIRST_TUNING_SEED, made, simple=True),
        make_examples(0, made, simple=True),
    )
    known = set(demo_imagery.NAIP_DATES) - {demo_imagery.HELD_OUT_NAIP}
    for name, source, dates in (
        ("naip, unseen ground", "naip", known),
        ("naip, unseen flight", "naip", {demo_imagery.HELD_OUT_NAIP}),
        ("chesapeake", "chesapeake", {""}),
        ("slovenia", "slovenia", set(demo_imagery.SLOVENIA_DATES)),
    ):
        tuning = load_examples(data, "train", source)
        rows += compare_with_baselines(
            predictor, name, tuning, load_examples(data, "held-out", source, dates=dates)
        )
    return rows


def evaluate_by_group(predictor: Predictor, made: int = 40, *, asked: int = 4) -> list[GroupResult]:
    """Evaluate instructions of every kind on held-out simulated scenes, by number of targets, form and GSD.

    Parameters
    ----------
    predictor
        The model.
    made
        Number of scenes.
    asked
        Instructions per scene.
    """
    rules: dict[str, BandThreshold] = {
        target: fit_threshold(
            [
                item
                for item in make_examples(_FIRST_TUNING_SEED, made)
                if item.target == target and item.truth.any()
            ]
        )
        for target in scenes.TARGETS
    }
    records: dict[str, list[ScoredInstruction]] = {name: [] for name in _GUESSES}
    for seed in range(made):
        scene = scenes.make_scene(seed)
        rng = np.random.default_rng((seed, 9))
        pairs = instructions.draw_pairs(rng, sorted(scene.masks), sorted(scene.absent), asked, Mix())
        if not pairs:
            continue
        answers = predictor.segment([scene.image], [pair.instruction for pair in pairs])[0]
        for pair, answer in zip(pairs, answers, strict=True):
            truth = [scene.masks[target] for target in pair.targets]
            whole = np.ones(scene.image.shape[:2], np.bool_)
            # a rule cannot know whether the target is present; it marks whatever looks like it
            wanted = pair.targets or (instructions.find_target(pair.instruction),)
            guesses = {
                "model": [logits > 0 for logits in answer.mask_logits],
                "nothing": [],
                "everything": [whole for _ in wanted],
                "threshold": [rules[target].apply(scene.image) for target in wanted],
            }
            groups = {
                "targets": ("none", "one", "two", "three")[len(truth)],
                "form": instructions.get_form(pair.instruction),
                "ground sample distance": f"{scene.gsd_m} m",
            }
            sample = ReferringSample(str(seed), Path(), pair.instruction, lambda: [], groups=groups)
            for name, found in guesses.items():
                records[name].append(score_prediction(sample, truth, found, answer.text))
    tables = {name: summarise_by_group(made_records) for name, made_records in records.items()}
    return [
        GroupResult(
            group=group,
            instructions=row["instructions"],
            g_iou=row["gIoU"],
            c_iou=row["cIoU"],
            empty=tables["nothing"][group]["gIoU"],
            full=tables["everything"][group]["gIoU"],
            threshold=tables["threshold"][group]["gIoU"],
        )
        for group, row in tables["model"].items()
    ]


def format_group_table(rows: Sequence[GroupResult]) -> str:
    """Format the rows as a Markdown table."""
    lines = [
        "| group | instructions | gIoU | cIoU | nothing | everything | best one-band threshold |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.group} | {row.instructions} | {row.g_iou:.3f} | {row.c_iou:.3f} | {row.empty:.3f} | {row.full:.3f} | "
        f"{row.threshold:.3f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def format_table(rows: Sequence[BaselineComparison]) -> str:
    """Format the rows as a Markdown table."""
    lines = [
        "| set | target | targets | gIoU | cIoU | nothing | everything | best one-band threshold | found where "
        "absent (pixels) | beats the baselines |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        alarms = "" if row.false_alarms is None else f"{row.false_alarms:.0%} ({row.wrongly_marked:.1%})"
        lines.append(
            f"| {row.dataset} | {row.target} | {row.targets} | {row.g_iou:.3f} | {row.c_iou:.3f} | "
            f"{row.empty:.3f} | {row.full:.3f} | {row.threshold:.3f} | {alarms} | "
            f"{'yes' if row.beats_baselines else 'no'} |"
        )
    return "\n".join(lines) + "\n"


def _c_iou(pairs: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]]) -> float:
    return metrics.summarise([metrics.compute_overlap(found, truth) for found, truth in pairs]).c_iou


def main(arguments: list[str] | None = None) -> None:
    """Evaluate a model; writes ``evaluation.json`` and ``evaluation.md`` into --out."""
    parser = argparse.ArgumentParser(prog="python -m segwatch.model.evaluate", description=main.__doc__)
    parser.add_argument(
        "--model", type=Path, default=None, help="folder of the model; the shipped one by default"
    )
    parser.add_argument("--data", type=Path, default=Path("demo/imagery"))
    parser.add_argument("--made", type=int, default=40, help="simulated scenes of each kind")
    parser.add_argument("--out", type=Path, default=Path("."), help="output folder for the two files")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    predictor = Predictor.load(options.model, "cpu")
    rows = evaluate_model(predictor, options.data, options.made)
    dimensions = evaluate_by_group(predictor, options.made)
    options.out.mkdir(parents=True, exist_ok=True)
    record = {
        "model": predictor.version,
        "rows": [{**asdict(row), "beats_baselines": row.beats_baselines} for row in rows],
        "dimensions": [asdict(row) for row in dimensions],
    }
    (options.out / "evaluation.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (options.out / "evaluation.md").write_text(
        f"{format_table(rows)}\n{format_group_table(dimensions)}", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
