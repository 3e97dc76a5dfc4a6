"""Score a model on a benchmark: one record per instruction, then tables over records.

Masks are compared over the model's square mask view, as in the published evaluation, so that images of all sizes weigh
the same in the summed figures.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segwatch.model import metrics, processor
from segwatch.model.errors import DatasetError
from segwatch.model.metrics import Overlap, Summary
from segwatch.model.predictor import Predictor
from segwatch.model.referring import published
from segwatch.model.referring.samples import Mask, ReferringSample, read_rgb

#: Colours of an overlay: true positive, false positive, false negative.
HIT, WRONG, MISSED = (80, 220, 100), (240, 70, 70), (70, 120, 255)


@dataclass(frozen=True)
class ScoredInstruction:
    """The comparison of one prediction with its truth."""

    name: str
    text: str
    """Text that the model generated."""
    targets: int
    """Number of true masks."""
    masks: int
    """Number of predicted masks."""
    in_order: tuple[Overlap, ...]
    """Targets and masks in order of the [SEG] tokens, as in the published evaluation."""
    matched: tuple[Overlap, ...]
    """Targets and masks in their best order."""
    groups: dict[str, str] = field(default_factory=dict)

    @property
    def iou(self) -> float:
        """Mean IoU over its targets, in order."""
        return float(np.mean([part.iou for part in self.in_order]))


@dataclass(frozen=True)
class UnreadableSample:
    """A sample that could not be scored."""

    name: str
    reason: str


@dataclass(frozen=True)
class Scores:
    """Result of a whole run."""

    records: tuple[ScoredInstruction, ...]
    failures: tuple[UnreadableSample, ...]


def score_samples(
    predictor: Predictor,
    samples: Sequence[ReferringSample],
    *,
    overlays: Path | None = None,
    worst: int = 20,
    on_sample: Callable[[], None] = lambda: None,
) -> Scores:
    """Predict and compare all samples; each image is encoded once for all its samples.

    Parameters
    ----------
    predictor
        The model.
    samples
        Of one benchmark.
    overlays
        Folder that receives a picture of each of the worst; None draws none.
    worst
        How many of them.
    on_sample
        Called after each sample.

    Returns
    -------
    Scores
        Records in order of the samples' images. A sample that cannot be read is a failure with its reason.
    """
    records: list[ScoredInstruction] = []
    failures: list[UnreadableSample] = []
    lowest: list[tuple[float, str]] = []
    for image, group in groupby(sorted(samples, key=lambda sample: str(sample.image)), lambda s: s.image):
        for record, failure, drawn in _score_image(predictor, image, list(group)):
            if failure is not None:
                failures.append(failure)
            if record is not None:
                records.append(record)
                if overlays is not None and drawn is not None:
                    _keep_if_worst(lowest, record, drawn, overlays, worst)
            on_sample()
    return Scores(tuple(records), tuple(failures))


def _score_image(
    predictor: Predictor, image: Path, samples: list[ReferringSample]
) -> Iterator[tuple[ScoredInstruction | None, UnreadableSample | None, Callable[[Path], None] | None]]:
    usable: list[tuple[ReferringSample, list[Mask]]] = []
    pixels: NDArray[np.uint8] | None = None
    for sample in samples:
        try:
            pixels = read_rgb(image) if pixels is None else pixels
            masks = sample.truth()
            if any(mask.shape != pixels.shape[:2] for mask in masks):
                raise DatasetError(f"mask is {masks[0].shape}, image is {pixels.shape[:2]}")
            if not sample.instruction:
                raise DatasetError("the instruction is empty")
            usable.append((sample, masks))
        except DatasetError as error:
            yield None, UnreadableSample(sample.name, str(error)), None
    if not usable or pixels is None:
        return
    asked_for = [sample.instruction for sample, _ in usable]
    answers = predictor.segment([pixels], asked_for, in_view=True)[0]
    side = predictor.tile_px
    for (sample, masks), answer in zip(usable, answers, strict=True):
        truth = [processor.make_truth_view(mask, side) for mask in masks]
        found = [logits > 0 for logits in answer.mask_logits]
        record = score_prediction(sample, truth, found, answer.text)
        yield record, None, _make_overlay(pixels, side, truth, found)


def score_prediction(
    sample: ReferringSample, truth: Sequence[Mask], found: Sequence[Mask], text: str
) -> ScoredInstruction:
    """Compare one prediction with its truth; without targets, everything predicted is compared with an empty mask."""
    if truth:
        in_order, matched = (
            metrics.compare_in_order(found, truth),
            metrics.compare_in_best_order(found, truth),
        )
    else:
        wrong = int(np.logical_or.reduce(found).sum()) if found else 0
        in_order = matched = [Overlap(0, wrong)]
    return ScoredInstruction(
        sample.name, text, len(truth), len(found), tuple(in_order), tuple(matched), dict(sample.groups)
    )


def summarise_by_group(records: Sequence[ScoredInstruction]) -> dict[str, dict[str, Any]]:
    """Return group -> metrics, "all" first, then ``dimension: group``.

    Raises
    ------
    InputError
        There are no records.
    """
    groups: dict[str, list[ScoredInstruction]] = {"all": list(records)}
    for record in records:
        for dimension, group in sorted(record.groups.items()):
            groups.setdefault(f"{dimension}: {group}", []).append(record)
    ordered = [name for name in groups if name != "all"]
    return {name: _summary(groups[name]) for name in ["all", *sorted(ordered)]}


def _summary(records: Sequence[ScoredInstruction]) -> dict[str, Any]:
    ordered = metrics.summarise([part for record in records for part in record.in_order])
    matched = metrics.summarise([part for record in records for part in record.matched])
    return {
        "instructions": len(records),
        **_figures(ordered),
        "matched": _figures(matched),
        "too_few_masks": sum(record.masks < record.targets for record in records),
        "too_many_masks": sum(record.masks > record.targets for record in records),
    }


def _figures(summary: Summary) -> dict[str, Any]:
    return {
        "targets": summary.targets,
        "gIoU": summary.g_iou,
        "cIoU": summary.c_iou,
        "oIoU": summary.c_iou,
        "mIoU": summary.g_iou,
        **{f"Pr@{threshold}": share for threshold, share in summary.precision_at.items()},
    }


def build_report(scores: Scores, *, dataset: str, split: str, model: str) -> dict[str, Any]:
    """Build a JSON-ready document of all results."""
    return {
        "dataset": dataset,
        "split": split,
        "model": model,
        "results": summarise_by_group(scores.records) if scores.records else {},
        "published": {
            "source": published.SOURCE,
            "results": {group: asdict(one) for group, one in published.get_figures(dataset, split).items()},
        },
        "failures": [asdict(failure) for failure in scores.failures],
        "records": [
            {
                "name": record.name,
                "text": record.text,
                "targets": record.targets,
                "masks": record.masks,
                "iou": record.iou,
                "groups": record.groups,
            }
            for record in scores.records
        ],
    }


def format_markdown(document: dict[str, Any]) -> str:
    """Format the document's results as a Markdown table, beside the paper's where it has any."""
    thresholds = [f"Pr@{value}" for value in metrics.THRESHOLDS]
    columns = ["group", "instructions", "targets", "gIoU (mIoU)", "cIoU (oIoU)", *thresholds]
    columns += ["gIoU, best order", "too few masks", "too many masks"]
    quoted = {group.casefold(): row for group, row in document["published"]["results"].items()}
    if quoted:
        columns += ["paper gIoU", "paper cIoU"]
    lines = [
        f"# {document['dataset']}, {document['split']}: {document['model']}",
        "",
        f"{len(document['failures'])} samples could not be read.",
        "",
        "| " + " | ".join(columns) + " |",
        "| " + " | ".join("---" for _ in columns) + " |",
    ]
    for group, row in document["results"].items():
        cells = [group, str(row["instructions"]), str(row["targets"])]
        cells += [f"{row[name]:.4f}" for name in ("gIoU", "cIoU", *thresholds)]
        cells += [f"{row['matched']['gIoU']:.4f}", str(row["too_few_masks"]), str(row["too_many_masks"])]
        if quoted:
            theirs = quoted.get(group.casefold(), {})
            cells += [_format_share(theirs.get(name)) for name in ("g_iou", "c_iou")]
        lines.append("| " + " | ".join(cells) + " |")
    if quoted:
        lines += ["", f"Paper: {document['published']['source']}."]
    return "\n".join(lines) + "\n"


def _format_share(share: float | None) -> str:
    return "" if share is None else f"{share:.3f}"


def write_report(document: dict[str, Any], folder: Path) -> None:
    """Write ``results.json`` and ``results.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(format_markdown(document), encoding="utf-8")


def _make_overlay(
    pixels: NDArray[np.uint8], side: int, truth: Sequence[Mask], found: Sequence[Mask]
) -> Callable[[Path], None]:
    def draw(path: Path) -> None:
        height, width = processor.compute_resized_shape(processor.ImageShape(*pixels.shape[:2]), side)
        empty = np.zeros((side, side), np.bool_)
        true = np.logical_or.reduce([empty, *truth])[:height, :width]
        seen = np.logical_or.reduce([empty, *found])[:height, :width]
        view = processor.resize_for_mask(pixels, side)[:, :height, :width]
        picture = view.permute(1, 2, 0).numpy().astype(np.float32)
        for where, colour in ((true & seen, HIT), (seen & ~true, WRONG), (true & ~seen, MISSED)):
            picture[where] = 0.45 * picture[where] + 0.55 * np.array(colour, np.float32)
        Image.fromarray(picture.round().astype(np.uint8)).save(path)

    return draw


def _keep_if_worst(
    lowest: list[tuple[float, str]],
    record: ScoredInstruction,
    draw: Callable[[Path], None],
    folder: Path,
    worst: int,
) -> None:
    """Keep the overlays of the worst samples so far, and no others."""
    name = "".join(letter if letter.isalnum() else "_" for letter in record.name)[:80] + ".png"
    entry = (-record.iou, name)
    if len(lowest) >= worst and entry <= lowest[0]:
        return
    folder.mkdir(parents=True, exist_ok=True)
    draw(folder / name)
    if len(lowest) < worst:
        heapq.heappush(lowest, entry)
    else:
        _, gone = heapq.heapreplace(lowest, entry)
        (folder / gone).unlink(missing_ok=True)
