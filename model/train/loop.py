"""Training loop: AdamW with warm-up and cosine decay, in one process or several, with exact resumption.

Every pass draws its images, points and dropout only from the run's seed and its own number, so a run that is killed and
resumed, or spread over processes instead of passes, sees the same data.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from segwatch.model.errors import CheckpointError
from segwatch.model.language import AttentionProbe
from segwatch.model.segearth import SegEarthR2
from segwatch.model.splice import splice_labels
from segwatch.model.train import batches, sharding
from segwatch.model.train.config import Optimizer, TrainConfig
from segwatch.model.train.losses import (
    compute_attention_loss,
    compute_language_loss,
    compute_point_losses,
    sample_points,
)

_log = logging.getLogger(__name__)

STATE_FILE = "training.pt"
LOSSES_FILE = "losses.jsonl"
Weights = Mapping[str, Tensor]
"""Parameter or buffer name -> value."""


@dataclass
class Progress:
    """Progress of a run."""

    step: int = 0
    seconds: float = 0.0

    def share(self, config: Optimizer) -> float:
        """Return the completed share, 0..1."""
        return min(self.step / config.steps, 1.0)


class TrainingObjective(nn.Module):
    """Model and losses as one forward pass."""

    def __init__(self, model: SegEarthR2) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: batches.Batch, num_points: int, seed: int) -> dict[str, Tensor]:
        """Compute the unweighted losses of a batch: cross_entropy, dice, attention, language, presence.

        Each image is encoded once for all its instructions.
        """
        model = self.model
        tokens = model.image_tokens(batch.images_clip)
        tokens = tokens[batch.image_of_pair.to(tokens.device, non_blocking=True)]
        ids = [example.input_ids for example in batch.ids]
        spliced = model.splice(ids, tokens, [example.refer_ids for example in batch.ids])
        counts, pair, position = model.targets(ids, spliced, [example.answer_start for example in batch.ids])
        probe = AttentionProbe(pair, position, spliced.image_start, model.config.num_image_tokens)
        hidden, _ = model.language(spliced.embeds, probe=probe if len(pair) else None)
        labels = splice_labels([example.labels for example in batch.ids], spliced)
        language = compute_language_loss(model.language.lm_head(hidden), labels)
        if not len(pair):
            zero = language * 0.0
            if sharding.is_spread(self):
                zero = zero + sharding.touch_trained(model.mask_half)
            return {
                "cross_entropy": zero,
                "dice": zero,
                "attention": zero,
                "language": language,
                "presence": zero,
            }
        per_image = [0] * len(batch.images)
        for image, count in zip(batch.image_of_pair.tolist(), counts, strict=True):
            per_image[image] += count
        decoded = model.decode_targets(
            model.pixel_features(batch.images), model.queries(hidden[pair, position]), per_image
        )
        generator = torch.Generator().manual_seed(seed)
        pairs = [
            compute_point_losses(
                logits, batch.masks, sample_points(logits, num_points, generator), batch.known
            )
            for logits in decoded.masks
        ]
        return {
            "cross_entropy": torch.stack([value for value, _ in pairs]).sum(),
            "dice": torch.stack([value for _, value in pairs]).sum(),
            "attention": torch.stack(
                [compute_attention_loss(rows, batch.grids) for rows in probe.rows]
            ).sum(),
            "language": language,
            "presence": language * 0.0
            if decoded.presence is None
            else F.binary_cross_entropy_with_logits(decoded.presence.float(), batch.present),
        }


def compute_learning_rate(config: Optimizer, progress: Progress) -> float:
    """Compute the learning rate: linear warm-up, then half a cosine down to 2 %."""
    warm = min((progress.step + 1) / max(config.warmup_steps, 1), 1.0)
    gone = min(progress.step / (config.decay_steps or config.steps), 1.0)
    fall = 0.5 * (1.0 + math.cos(math.pi * gone))
    return config.learning_rate * warm * (0.02 + 0.98 * fall)


class Trainer:
    """A run: model, optimizer and progress."""

    def __init__(
        self,
        model: SegEarthR2,
        tokenizer: Any,
        source: batches.InstructionSource,
        config: TrainConfig,
        accelerator: Accelerator,
    ) -> None:
        self.model = model.train()
        self.tokenizer = tokenizer
        self.source = source
        self.config = config
        self.accelerator = accelerator
        self.progress = Progress()
        objective = self.make_objective()
        if config.run.shard:
            sharding.shard_objective(objective, self.model, accelerator)
        optimizer = torch.optim.AdamW(
            self.list_parameter_groups(),
            lr=config.optimizer.learning_rate,
            weight_decay=config.optimizer.weight_decay,
        )
        if config.run.shard:
            self.objective, self.optimizer = objective, accelerator.prepare(optimizer)
        else:
            self.objective, self.optimizer = accelerator.prepare(objective, optimizer)
        self.average = self._copy_trained() if config.optimizer.average else {}
        """Running average of the trained weights, by name; empty unless configured."""

    def make_objective(self) -> nn.Module:
        """Make the module that computes unweighted losses from a batch, a number of points and a seed."""
        return TrainingObjective(self.model)

    def list_parameter_groups(self) -> list[dict[str, Any]]:
        """List the trained parameters; a group's ``share`` is its learning rate relative to the run's."""
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return [{"params": learning, "share": 1.0}]

    def batch(self, number: int, size: int) -> Any:
        """Make the batch of a pass, on the CPU; a pure function of the run's seed and the pass.

        Parameters
        ----------
        number
            Of the pass, counted over all processes.
        size
            Side of the mask view, pixels.
        """
        return batches.build_batch(
            self.source,
            self.tokenizer,
            self.model.config,
            seed=self.config.run.seed,
            step=number,
            images=self.config.optimizer.images,
            pairs_per_image=self.config.optimizer.pairs_per_image,
            size=size,
        )

    def step(self) -> dict[str, float]:
        """Run one optimizer step; return the mean losses of its passes."""
        config, begun = self.config.optimizer, time.monotonic()
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * compute_learning_rate(config, self.progress)
        losses = [self._pass(number) for number in range(config.accumulate)]
        mean = self.accelerator.reduce(torch.stack(losses).mean(dim=0), reduction="mean")
        self.progress.step += 1
        self._update_average()
        self.progress.seconds += time.monotonic() - begun
        return dict(zip(("total", *self.config.loss.weights()), mean.tolist(), strict=True))

    def _pass(self, number: int) -> Tensor:
        """Run forward and backward of one batch; return total and terms."""
        config, accelerator = self.config.optimizer, self.accelerator
        passes = self.progress.step * config.accumulate + number
        mine = passes * accelerator.num_processes + accelerator.process_index
        full = self.model.config.image_size
        coarse = self.progress.share(config) < config.coarse_share
        batch = self.batch(mine, full // 2 if coarse else full).to(accelerator.device)
        seed = self.config.run.seed * 1_000_003 + mine
        torch.manual_seed(seed)
        with accelerator.accumulate(self.objective):
            with accelerator.autocast():
                parts = self.objective(batch, self.config.loss.points, seed)
            weights = self.config.loss.weights()
            total = torch.stack([parts[name].float() * weights[name] for name in weights]).sum()
            accelerator.backward(total)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(self.objective.parameters(), config.clip_norm)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return torch.stack([total, *(parts[name].float() for name in weights)]).detach()

    def run(self, on_checkpoint: Callable[[Trainer, Weights], None] = lambda run, weights: None) -> None:
        """Train to the end or for ``run.stop_after_minutes``, saving every few minutes and at the end.

        Parameters
        ----------
        on_checkpoint
            Called with this trainer and its whole weights after each save, in the first process alone.
        """
        settings = self.config.run
        saved = begun = self.progress.seconds
        limit = math.inf if settings.stop_after_minutes is None else 60 * settings.stop_after_minutes
        mean: dict[str, float] = {}
        ended = False
        while not ended and self.progress.step < self.config.optimizer.steps:
            losses = self.step()
            self._record(losses)
            mean = {name: 0.95 * mean.get(name, value) + 0.05 * value for name, value in losses.items()}
            if self.progress.step % settings.log_every == 0 and self.accelerator.is_main_process:
                _log.info(
                    "step %d of %d  %.0f s, %.0f s left  %s",
                    self.progress.step,
                    self.config.optimizer.steps,
                    self.progress.seconds,
                    self.progress.seconds
                    / self.progress.step
                    * (self.config.optimizer.steps - self.progress.step),
                    "  ".join(f"{name} {value:.3f}" for name, value in mean.items()),
                )
            ended = limit < math.inf and self._agree(self.progress.seconds - begun > limit)
            if not ended and self._agree(self.progress.seconds - saved > 60 * settings.checkpoint_minutes):
                saved = self.progress.seconds
                self._save_and_report(on_checkpoint)
        self._save_and_report(on_checkpoint)

    def save(self, weights: Weights | None = None) -> None:
        """Save everything that a resumed run needs, whole or not at all, in a file that loads with ``weights_only``.

        Every process calls it, because weights may be spread over them; the first one writes.

        Parameters
        ----------
        weights
            The whole weights if they are gathered already.
        """
        weights = self.gather_weights() if weights is None else weights
        optimizer = (
            sharding.gather_optimizer(self.model, self.optimizer.optimizer)
            if self.config.run.shard
            else self.optimizer.state_dict()
        )
        if not self.accelerator.is_main_process:
            return
        folder = self.config.run.state
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{STATE_FILE}.partial"
        scaler = self.accelerator.scaler
        torch.save(
            {
                "model": self._select_saved(weights),
                "average": self.average,
                "optimizer": optimizer,
                "scaler": None if scaler is None else scaler.state_dict(),
                "step": self.progress.step,
                "seconds": self.progress.seconds,
                "learned": json.dumps(self._get_fixed_settings()),
            },
            partial,
        )
        os.replace(partial, folder / STATE_FILE)

    def resume(self) -> None:
        """Continue from the state that :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            There is no state, or it belongs to a run with other settings.
        """
        file = self.config.run.state / STATE_FILE
        if not file.exists():
            raise CheckpointError(f"{self.config.run.state} has no {STATE_FILE}; start a new run")
        place = "cpu" if self.config.run.shard else self.accelerator.device
        state = torch.load(file, map_location=place, weights_only=True)
        theirs, ours = self.config.complete(json.loads(state["learned"])), self._get_fixed_settings()
        if other := sorted(key for key in {*theirs, *ours} if theirs.get(key) != ours.get(key)):
            raise CheckpointError(
                f"{file} belongs to a run with another {', '.join(other)}; use its configuration, another "
                "run.state, or start a new run"
            )
        # frozen weights are not in the state; they are as at the start of the run
        if self.config.run.shard:
            sharding.spread_state(self.model, self.optimizer.optimizer, state["model"], state["optimizer"])
        else:
            self.model.load_state_dict({**self.model.state_dict(), **state["model"]})
            self.optimizer.load_state_dict(state["optimizer"])
        self.average = state["average"]
        if state["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.progress = Progress(int(state["step"]), float(state["seconds"]))
        if self.accelerator.is_main_process:
            self._forget_later_losses()

    def _copy_trained(self) -> dict[str, Tensor]:
        """Copy the trained weights, by name."""
        return {
            name: value.detach().clone()
            for name, value in self.model.named_parameters()
            if value.requires_grad
        }

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move the average towards the weights, faster in the first steps."""
        wanted = self.config.optimizer.average or 0.0
        keep = min(wanted, (1.0 + self.progress.step) / (10.0 + self.progress.step))
        own = dict(self.model.named_parameters())
        for name, value in self.average.items():
            value.lerp_(own[name].detach(), 1.0 - keep)

    def gather_weights(self) -> Weights:
        """Return the whole weights in the first process; every process calls it."""
        state: dict[str, Tensor] = (
            sharding.gather_weights(self.model) if self.config.run.shard else self.model.state_dict()
        )
        return state

    def _select_saved(self, weights: Weights) -> dict[str, Tensor]:
        """Select the weights to save; with adapters, frozen weights are still the checkpoint's and are left out."""
        start = self.config.start
        if self.config.lora is None or start.checkpoint is None or start.pixel_steps or start.word_steps:
            return dict(weights)
        still = {name for name, value in self.model.named_parameters() if not value.requires_grad}
        return {name: value for name, value in weights.items() if name not in still}

    def _get_fixed_settings(self) -> dict[str, Any]:
        """Return the settings that a resumed run must share; the number of passes per step is one of them."""
        passes = self.config.optimizer.accumulate * self.accelerator.num_processes
        return {**self.config.learned(), "passes": passes}

    def _agree(self, wish: bool) -> bool:
        """Share the first process's wish with all: their clocks differ, and whoever saves waits for the others."""
        shared = torch.tensor(
            float(wish and self.accelerator.is_main_process), device=self.accelerator.device
        )
        return bool(self.accelerator.reduce(shared, reduction="sum") > 0)

    def _save_and_report(self, on_checkpoint: Callable[[Trainer, Weights], None]) -> None:
        weights = self.gather_weights()
        self.save(weights)
        if self.accelerator.is_main_process:
            on_checkpoint(self, weights)
        self.accelerator.wait_for_everyone()

    def _record(self, losses: dict[str, float]) -> None:
        if not self.accelerator.is_main_process:
            return
        self.config.run.state.mkdir(parents=True, exist_ok=True)
        row = json.dumps({"step": self.progress.step, **losses})
        with (self.config.run.state / LOSSES_FILE).open("a", encoding="utf-8") as stream:
            stream.write(row + "\n")

    def _forget_later_losses(self) -> None:
        """Remove the losses of steps after the last save, which will be repeated."""
        file = self.config.run.state / LOSSES_FILE
        if not file.exists():
            return
        rows = [row for row in file.read_text(encoding="utf-8").splitlines() if row.endswith("}")]
        kept = [row for row in rows if json.loads(row)["step"] <= self.progress.step]
        file.write_text("".join(f"{row}\n" for row in kept), encoding="utf-8")


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Set up device, precision, processes and gradient accumulation of a run."""
    return Accelerator(
        cpu=config.run.device == "cpu",
        mixed_precision=config.run.precision,
        gradient_accumulation_steps=config.optimizer.accumulate,
        # a batch without any target leaves the mask branch without gradients
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
