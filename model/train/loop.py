"""The training loop: AdamW with warm-up and cosine decay, checkpoints that resume exactly."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from segwatch.model.errors import CheckpointError
from segwatch.model.language import RowProbe
from segwatch.model.segearth import SegEarthR2
from segwatch.model.splice import spliced_labels
from segwatch.model.train import batches
from segwatch.model.train.losses import (
    LossWeights,
    attention_loss,
    language_loss,
    point_losses,
    sample_points,
)

_log = logging.getLogger(__name__)

_MODEL_FILE = "training.safetensors"
_STATE_FILE = "training.pt"


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a run depends on."""

    seed: int = 7
    steps: int = 2400
    minutes: float | None = None
    """Time budget. With one, the schedule follows the clock where that is ahead of the steps, and a run is
    no longer a function of the seed alone."""
    images: int = 6
    """Images per step."""
    pairs_per_image: int = 2
    learning_rate: float = 6e-4
    weight_decay: float = 0.01
    warmup_steps: int = 60
    clip_norm: float = 1.0
    num_points: int = 2048
    """Points per mask in the mask loss."""
    coarse_share: float = 0.5
    """Share of the run on mask views of half the side, at a quarter of the cost."""
    checkpoint_minutes: float = 4.0
    log_every: int = 20
    weights: LossWeights = field(default_factory=LossWeights)


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    seconds: float = 0.0

    def share(self, config: TrainConfig) -> float:
        """0 at the start, 1 at the end."""
        by_clock = 0.0 if config.minutes is None else self.seconds / (60.0 * config.minutes)
        return min(max(self.step / config.steps, by_clock), 1.0)


def losses(
    model: SegEarthR2, batch: batches.Batch, num_points: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Unweighted losses of a batch: cross_entropy, dice, attention, language.

    Pixels of an image are worked through once for all its instructions.
    """
    tokens = model.image_tokens(batch.images_clip)[batch.image_of_pair]
    ids = [example.input_ids for example in batch.ids]
    spliced = model.splice(ids, tokens, [example.refer_ids for example in batch.ids])
    counted = [
        (row == model.config.seg_token_id) & (torch.arange(len(row)) >= example.answer_start)
        for row, example in zip(ids, batch.ids, strict=True)
    ]
    position = torch.cat([place[chosen] for place, chosen in zip(spliced.places, counted, strict=True)])
    pair = torch.cat([torch.full((int(chosen.sum()),), index) for index, chosen in enumerate(counted)])
    probe = RowProbe(pair, position, spliced.image_start, model.config.num_image_tokens)
    hidden, _ = model.language(spliced.embeds, probe=probe if len(pair) else None)
    labels = spliced_labels([example.labels for example in batch.ids], spliced)
    words = language_loss(model.language.lm_head(hidden), labels)
    if not len(pair):
        zero = words * 0.0
        return {"cross_entropy": zero, "dice": zero, "attention": zero, "language": words}
    predictions = model.decode(
        model.pixel_features(batch.images), model.queries(hidden[pair, position]), batch.image_of_pair[pair]
    )
    pairs = [
        point_losses(logits, batch.masks, sample_points(logits, num_points, generator))
        for logits in predictions
    ]
    return {
        "cross_entropy": torch.stack([value for value, _ in pairs]).sum(),
        "dice": torch.stack([value for _, value in pairs]).sum(),
        "attention": torch.stack([attention_loss(rows, batch.grids) for rows in probe.rows]).sum(),
        "language": words,
    }


def learning_rate(config: TrainConfig, progress: Progress) -> float:
    """Linear warm-up by steps, then half a cosine down to 2 %."""
    warm = min((progress.step + 1) / max(config.warmup_steps, 1), 1.0)
    return (
        config.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * progress.share(config))))
    )


class Trainer:
    """A run: model, optimizer and where it stands."""

    def __init__(
        self, model: SegEarthR2, tokenizer: Any, material: batches.Material, config: TrainConfig
    ) -> None:
        self.model = model.train()
        self.tokenizer = tokenizer
        self.material = material
        self.config = config
        self.progress = Progress()
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def step(self) -> dict[str, float]:
        """One optimizer step; the losses it saw."""
        config, begun = self.config, time.monotonic()
        share, full = self.progress.share(config), self.model.config.image_size
        batch = batches.build(
            self.material,
            self.tokenizer,
            self.model.config,
            seed=config.seed,
            step=self.progress.step,
            images=config.images,
            pairs_per_image=config.pairs_per_image,
            size=full // 2 if share < config.coarse_share else full,
        )
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.progress.step)
        parts = losses(self.model, batch, config.num_points, generator)
        weights = asdict(config.weights)
        total = torch.stack([parts[name] * weights[name] for name in weights]).sum()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, self.progress)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimizer.step()
        self.progress.step += 1
        self.progress.seconds += time.monotonic() - begun
        return {
            "total": float(total.detach()),
            **{name: float(value.detach()) for name, value in parts.items()},
        }

    def run(self, directory: Path, on_checkpoint: Callable[[Trainer], None] | None = None) -> None:
        """Train to the end, saving under ``directory`` every few minutes and at the end.

        Args:
            directory: receives the resumable state.
            on_checkpoint: called with this trainer after each save.
        """
        saved = self.progress.seconds
        mean: dict[str, float] = {}
        while self.progress.share(self.config) < 1.0:
            seen = self.step()
            mean = {name: 0.95 * mean.get(name, value) + 0.05 * value for name, value in seen.items()}
            if self.progress.step % self.config.log_every == 0:
                _log.info(
                    "step %d  %.0f s  share %.2f  %s",
                    self.progress.step,
                    self.progress.seconds,
                    self.progress.share(self.config),
                    "  ".join(f"{name} {value:.3f}" for name, value in mean.items()),
                )
            if self.progress.seconds - saved > 60 * self.config.checkpoint_minutes:
                saved = self.progress.seconds
                self._saved(directory, on_checkpoint)
        self._saved(directory, on_checkpoint)

    def save(self, directory: Path) -> None:
        """Weights as safetensors; optimizer and position as a file that loads with ``weights_only``."""
        directory.mkdir(parents=True, exist_ok=True)
        state = {name: value.contiguous().clone() for name, value in self.model.state_dict().items()}
        save_file(state, directory / _MODEL_FILE)
        torch.save(
            {
                "optimizer": self.optimizer.state_dict(),
                "step": self.progress.step,
                "seconds": self.progress.seconds,
                "seed": self.config.seed,
            },
            directory / _STATE_FILE,
        )

    def resume(self, directory: Path) -> None:
        """Go on from what :meth:`save` wrote.

        Raises:
            CheckpointError: if the files are missing or belong to a run of another seed.
        """
        if not (directory / _STATE_FILE).exists():
            raise CheckpointError(f"{directory} holds no {_STATE_FILE}; start without --resume")
        state = torch.load(directory / _STATE_FILE, weights_only=True)
        if state["seed"] != self.config.seed:
            raise CheckpointError(
                f"{directory} belongs to seed {state['seed']}, this run has {self.config.seed}; give the same --seed"
            )
        self.model.load_state_dict(load_file(directory / _MODEL_FILE))
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(int(state["step"]), float(state["seconds"]))

    def _saved(self, directory: Path, on_checkpoint: Callable[[Trainer], None] | None) -> None:
        self.save(directory)
        if on_checkpoint is not None:
            on_checkpoint(self)
