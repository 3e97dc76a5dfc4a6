"""Adapt a model to the labelled tiles of one watch, with automatic stop on ground that it does not train on.

A small model trains its mask branch whole, with the queries that its frozen language branch really gives for the
instruction of the watch on each tile. A large model trains low-rank adapters on the language branch beside the mask
branch.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from segwatch.model import checkpoint, model_version, pretrained, processor, prompt
from segwatch.model.errors import CheckpointError, DatasetError
from segwatch.model.predictor import Predictor
from segwatch.model.segearth import SegEarthR2
from segwatch.model.train import adaptation_tiles, lora
from segwatch.model.train.adaptation_scores import (
    TargetScores,
    compute_mean_iou,
    predict_tiles,
    score_masks,
)
from segwatch.model.train.adaptation_tiles import MIN_KNOWN_ABSENT, AdaptationTile, Part
from segwatch.model.train.batches import InstructedImage, TrainingPair
from segwatch.model.train.config import LABELLED, Data, Lora, Loss, Masks, Optimizer, Run, Start, TrainConfig
from segwatch.model.train.labelled_sample import UNKNOWN
from segwatch.model.train.loop import STATE_FILE, Trainer, make_accelerator
from segwatch.model.train.mask_stage import MaskBatch, MaskObjective, compute_cells

_SMALL = 200_000_000
"""Parameters up to which a model counts as small."""
_HISTORY_FILE = "history.json"
_LEAST_GAIN = 1e-4


class Trained(StrEnum):
    """Which part of a model is trained."""

    MASKS = "masks"
    """The mask branch, whole."""
    LANGUAGE = "language"
    """Low-rank adapters on the language branch, and the mask branch."""


@dataclass(frozen=True)
class AdaptationPlan:
    """One adaptation."""

    instruction: str
    targets: tuple[str, ...]
    checkpoint: Path
    """Folder of the model to start from."""
    tiles: Path
    """Folder of the labelled tiles."""
    state: Path
    """Folder of the resumable state."""
    out: Path
    """Folder to write the adapted model to."""
    name: str
    """Name of the adapted model."""
    trained: Trained | None = None
    """None = by the size of the model."""
    steps: int = 400
    """Most steps."""
    every: int = 20
    """Steps between scores on the ground for stopping."""
    patience: int = 5
    """Scores without a gain after which the run stops."""
    images: int = 4
    learning_rate: float = 3e-4
    seed: int = 7


@dataclass(frozen=True)
class Adapted:
    """Outcome of an adaptation."""

    before: list[TargetScores]
    """On the ground for judging."""
    after: list[TargetScores]
    history: list[tuple[int, float]]
    """(step, mean IoU on the ground for stopping)."""
    best_step: int
    """0 = no step was better than the model as it was, and nothing was written."""
    tiles: dict[str, int]
    """Tiles by part."""
    places: dict[str, int]
    trained: Trained
    version_before: str
    version: str | None
    """Version of the written model; None if nothing was written."""


class AdaptationObjective(MaskObjective):
    """Mask branch and losses; the presence of a target counts only where it is certain over the whole tile."""

    def compute_presence_loss(self, logits: Tensor, batch: MaskBatch) -> Tensor:
        """Compute the mean loss of (T,) presence logits over the targets whose presence is certain."""
        sure = ((batch.present > 0) | (batch.known.mean((1, 2)) >= MIN_KNOWN_ABSENT)).float()
        each = F.binary_cross_entropy_with_logits(logits, batch.present, reduction="none")
        return (each * sure).sum() / sure.sum().clamp(min=1.0)


class MaskAdapter(Trainer):
    """A run on the mask branch, with the queries of the model's own texts on each tile."""

    def __init__(
        self,
        model: SegEarthR2,
        words: Any,
        plan: AdaptationPlan,
        tiles: Sequence[AdaptationTile],
        config: TrainConfig,
    ) -> None:
        model.requires_grad_(False)
        for part in model.mask_half:
            part.requires_grad_(part is not model.query_projector)
        queries = _compute_queries(model, words, plan.instruction, tiles)
        self._usable = [(tile, found) for tile, found in zip(tiles, queries, strict=True) if len(found)]
        if not self._usable:
            raise DatasetError(
                f"the model points at nothing for {plan.instruction!r} on any labelled tile, so its masks cannot be "
                "trained; reword the instruction, or adapt the language half (--train language)"
            )
        super().__init__(model, words, TileSource(plan, tiles), config, make_accelerator(config))

    def make_objective(self) -> nn.Module:
        """See :meth:`.Trainer.make_objective`."""
        return AdaptationObjective(self.model)

    def batch(self, number: int, size: int) -> MaskBatch:
        """See :meth:`.Trainer.batch`."""
        rng = np.random.default_rng((self.config.run.seed, number))
        picks = rng.integers(len(self._usable), size=self.config.optimizer.images)
        images, counts, queries, covered, known = [], [], [], [], []
        for pick in picks.tolist():
            tile, found = self._usable[pick]
            rgb, labels = _flip(rng, tile)
            view = processor.resize_for_mask(rgb, size)
            targets = min(len(found), len(labels))
            images.append(view)
            counts.append(targets)
            queries.append(found[:targets])
            for label in labels[:targets]:
                share, where = compute_cells(label, size // 4)
                covered.append(share)
                known.append(where)
        present = torch.tensor([float(share.max() > 0) for share in covered])
        return MaskBatch(
            images=processor.normalise_mask_view(torch.stack(images)),
            counts=tuple(counts),
            queries=torch.cat(queries),
            covered=torch.stack(covered),
            known=torch.stack(known),
            present=present,
        )


class TileSource:
    """Tiles with the watch's instruction, see :class:`segwatch.model.train.batches.InstructionSource`."""

    def __init__(self, plan: AdaptationPlan, tiles: Sequence[AdaptationTile]) -> None:
        self._plan, self._tiles = plan, list(tiles)

    def draw_image(self, rng: np.random.Generator, max_pairs: int) -> InstructedImage:
        """Draw a tile; where every target is certainly absent from it, the text denies them."""
        tile = self._tiles[int(rng.integers(len(self._tiles)))]
        rgb, labels = _flip(rng, tile)
        plan = self._plan
        if not (labels > 0).any() and (labels == 0).mean() >= MIN_KNOWN_ABSENT:
            return InstructedImage(rgb, [TrainingPair(plan.instruction, prompt.NOTHING, ())])
        answer = f"Sure, it is {' and '.join(f'{name} {prompt.SEG}' for name in plan.targets)}."
        pair = TrainingPair(
            plan.instruction,
            answer,
            tuple(label > 0 for label in labels),
            tuple(label != UNKNOWN for label in labels),
        )
        return InstructedImage(rgb, [pair])


def adapt_model(
    plan: AdaptationPlan, *, device: str = "auto", say: Callable[[str], None] = lambda _: None
) -> Adapted:
    """Adapt a model and write it; started again, the run continues where it was interrupted.

    Raises
    ------
    CheckpointError
        The checkpoint cannot be loaded, the state is another run's, or the folder to write to holds a model.
    DatasetError
        The tiles cannot be read, or there are too few.
    """
    if any(plan.out.glob("*.safetensors")):
        raise CheckpointError(f"{plan.out} holds a model already; give a new folder")
    tiles = adaptation_tiles.load_tiles(plan.tiles, plan.seed)
    parts = {part: [one for one in tiles if one.part is part] for part in Part}
    loaded = pretrained.load_pretrained(plan.checkpoint, device)
    model, words = loaded.model, loaded.tokenizer
    version = model_version.compute_version(plan.checkpoint)

    def score(part: Part) -> list[TargetScores]:
        predictor = Predictor(model, words, version)
        masks = predict_tiles(predictor, parts[part], plan.instruction)
        model.train()
        return score_masks(masks, parts[part], plan.targets)

    trained = plan.trained or choose_part(model)
    config = _make_config(plan, trained, device)
    before = score(Part.JUDGE)
    start = compute_mean_iou(score(Part.STOP))
    trainer = _make_trainer(model, words, plan, parts[Part.LEARN], config, trained)
    history = _train(trainer, plan, lambda: compute_mean_iou(score(Part.STOP)), start, say)
    best_step = max(history, key=lambda one: (one[1], -one[0]))[0]
    after, written = before, None
    if best_step:
        weights = load_file(_name_best(plan, best_step))
        written = _write(model, words, plan, weights)
        model = pretrained.load_pretrained(plan.out, device).model
        after = score(Part.JUDGE)
    return Adapted(
        before=before,
        after=after,
        history=history,
        best_step=best_step,
        tiles={part: len(found) for part, found in parts.items()},
        places={part: len({one.place for one in found}) for part, found in parts.items()},
        trained=trained,
        version_before=version,
        version=written,
    )


def choose_part(model: SegEarthR2) -> Trained:
    """Choose what is trained of a model by its size."""
    count = sum(parameter.numel() for parameter in model.parameters())
    return Trained.MASKS if count <= _SMALL else Trained.LANGUAGE


def _make_config(plan: AdaptationPlan, trained: Trained, device: str) -> TrainConfig:
    return TrainConfig(
        start=Start(checkpoint=plan.checkpoint),
        data=Data(kind=LABELLED, root=plan.tiles),
        masks=Masks() if trained is Trained.MASKS else None,
        lora=Lora() if trained is Trained.LANGUAGE else None,
        optimizer=Optimizer(
            steps=plan.steps,
            images=plan.images,
            learning_rate=plan.learning_rate,
            warmup_steps=min(10, plan.steps),
        ),
        loss=Loss(presence=1.0 if trained is Trained.MASKS else 0.0),
        run=Run(seed=plan.seed, out=plan.out, state=plan.state, device="cpu" if device == "cpu" else "auto"),
    )


def _make_trainer(
    model: SegEarthR2,
    words: Any,
    plan: AdaptationPlan,
    tiles: Sequence[AdaptationTile],
    config: TrainConfig,
    trained: Trained,
) -> Trainer:
    torch.manual_seed(plan.seed)
    if trained is Trained.MASKS:
        return MaskAdapter(model, words, plan, tiles, config)
    model.requires_grad_(True)
    lora.add_adapters(model, config.lora or Lora())
    return Trainer(model, words, TileSource(plan, tiles), config, make_accelerator(config))


def _train(
    trainer: Trainer,
    plan: AdaptationPlan,
    score: Callable[[], float],
    start: float,
    say: Callable[[str], None],
) -> list[tuple[int, float]]:
    """Train until the score gains nothing any more; returns the scores by step, that of the start first."""
    if (plan.state / STATE_FILE).exists():
        trainer.resume()
    file, done = plan.state / _HISTORY_FILE, trainer.progress.step
    known = json.loads(file.read_text(encoding="utf-8")) if done and file.exists() else []
    history = [(0, start), *((int(step), float(value)) for step, value in known if 0 < step <= done)]
    while trainer.progress.step < plan.steps and not _has_stalled(history, plan.patience):
        trainer.step()
        step = trainer.progress.step
        if step % plan.every and step < plan.steps:
            continue
        value = score()
        if value > max(one for _, one in history) + _LEAST_GAIN:
            _name_best(plan, step).parent.mkdir(parents=True, exist_ok=True)
            checkpoint.save_weights(lora.merge_adapters(trainer.model), _name_best(plan, step))
        history.append((step, value))
        trainer.save()
        _write_json(file, history)
        _forget_worse(plan, history)
        say(f"step {step}: mean IoU {value:.3f} on the ground for stopping, {start:.3f} before")
    return history


def _has_stalled(history: Sequence[tuple[int, float]], patience: int) -> bool:
    best = max(range(len(history)), key=lambda at: (history[at][1], -at))
    return len(history) - 1 - best >= patience


def _name_best(plan: AdaptationPlan, step: int) -> Path:
    return plan.state / f"best-{step}" / checkpoint.WEIGHTS_FILE


def _forget_worse(plan: AdaptationPlan, history: Sequence[tuple[int, float]]) -> None:
    """Remove the weights of steps that are not the best one."""
    best = _name_best(plan, max(history, key=lambda one: (one[1], -one[0]))[0]).parent
    for folder in plan.state.glob("best-*"):
        if folder != best:
            shutil.rmtree(folder, ignore_errors=True)


def _write(model: SegEarthR2, words: Any, plan: AdaptationPlan, weights: dict[str, Tensor]) -> str:
    """Write the adapted model beside its folder first, so that a folder is whole or missing."""
    partial = plan.out.with_name(f"{plan.out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.config = replace(model.config, name=plan.name)
    pretrained.save_pretrained(model, words, partial, state=weights)
    plan.out.parent.mkdir(parents=True, exist_ok=True)
    if plan.out.exists():
        plan.out.rmdir()
    os.replace(partial, plan.out)
    return model_version.compute_version(plan.out)


def _write_json(file: Path, value: object) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(value), encoding="utf-8")
    os.replace(partial, file)


@torch.no_grad()
def _compute_queries(
    model: SegEarthR2, words: Any, instruction: str, tiles: Sequence[AdaptationTile]
) -> list[Tensor]:
    """Compute the (M, width) queries of the text that the model generates on each tile."""
    predictor = Predictor(model, words, "")
    found = []
    for tile in tiles:
        ((prediction,),) = predictor.segment([tile.rgb], [instruction])
        text = prediction.text.replace(prompt.END, "").strip()
        if prompt.SEG not in text:
            found.append(torch.zeros(0))
            continue
        view = processor.make_language_view(tile.rgb, model.config.siglip.image_size)
        tokens = model.image_tokens(view[None].to(model.device))
        example = prompt.tokenize_example(words, instruction.strip(), text, "ask")
        spliced = model.splice([example.input_ids], tokens, [example.refer_ids])
        _, batch, position = model.targets([example.input_ids], spliced, [example.answer_start])
        hidden, _ = model.language(spliced.embeds)
        found.append(model.queries(hidden[batch, position]).cpu())
    return found


def _flip(
    rng: np.random.Generator, tile: AdaptationTile
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Mirror a tile and its labels at random."""
    rgb, labels = tile.rgb, tile.labels
    for axis in (0, 1):
        if rng.integers(2):
            rgb, labels = np.flip(rgb, axis), np.flip(labels, axis + 1)
    return np.ascontiguousarray(rgb), np.ascontiguousarray(labels)
