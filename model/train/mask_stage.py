"""Train the mask branch alone on labelled pictures and simulated scenes, with queries of a frozen language branch.

Every crop is drawn for one target, present or absent with equal probability; further targets of the crop are chosen so
that rare ones are present as often as absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from segwatch.model import model_version, pretrained, processor
from segwatch.model.config import SegEarthConfig
from segwatch.model.lite_encoder import LiteEncoder
from segwatch.model.segearth import SegEarthR2
from segwatch.model.train import crop_pool, lite_weights, query_bank, scenes
from segwatch.model.train.config import TrainConfig
from segwatch.model.train.labelled_sample import UNKNOWN, Labels
from segwatch.model.train.loop import Trainer
from segwatch.model.train.prefetch import Prefetcher

_EARLIER_LAYER_WEIGHT = 0.4  # weight of the predictions of earlier decoder layers
_EMPTY_DICE_WEIGHT = 0.35  # weight of the dice loss where the target is absent
_BANK_PICTURES = 12


@dataclass(frozen=True)
class CropBatch:
    """B crops with T targets in order of crop, as worker processes make them."""

    images: Tensor
    """(B, 3, S, S) uint8."""
    counts: tuple[int, ...]
    """B numbers: targets of each crop."""
    targets: tuple[str, ...]
    """T target names."""
    picks: tuple[int, ...]
    """T indices into the target's queries in the bank."""
    covered: Tensor
    """(T, S / 4, S / 4) share of the labelled part of each cell that the target covers, 0..1."""
    known: Tensor
    """(T, S / 4, S / 4) 1 where most of the cell is labelled; other cells do not count."""
    present: Tensor
    """(T,) 1 where the target is present, 0 where it is absent."""


@dataclass(frozen=True)
class MaskBatch:
    """A :class:`CropBatch` with its queries, ready for the objective."""

    images: Tensor
    """(B, 3, S, S) float32 mask views, normalised."""
    counts: tuple[int, ...]
    """As in :class:`CropBatch`; so are ``covered``, ``known`` and ``present``."""
    queries: Tensor
    """(T, width)."""
    covered: Tensor
    known: Tensor
    present: Tensor

    def to(self, device: torch.device) -> MaskBatch:
        """Move the batch to a device."""
        return replace(
            self,
            images=self.images.to(device),
            queries=self.queries.to(device),
            covered=self.covered.to(device),
            known=self.known.to(device),
            present=self.present.to(device),
        )


def draw_crops(
    source: crop_pool.CropPool, *, seed: int, step: int, images: int, targets: float, phrases: int, size: int
) -> CropBatch:
    """Draw the crops of a step; the same arguments always give the same crops.

    Parameters
    ----------
    source
        What to draw from.
    seed
        Of the run.
    step
        Of the run, from 0.
    images
        B.
    targets
        Mean number of targets per crop.
    phrases
        Queries of each target to pick from.
    size
        S, a multiple of 32.
    """
    rng = np.random.default_rng((seed, 4, step))
    drawn: list[tuple[crop_pool.Crop, list[str]]] = []
    while len(drawn) < images:
        crop, names = _draw_crop(rng, source, targets, size)
        if names:
            drawn.append((crop, names))
    asked = [(crop, name) for crop, names in drawn for name in names]
    cells = [compute_cells(crop.labels[name], size // 4) for crop, name in asked]
    return CropBatch(
        images=torch.stack([torch.from_numpy(crop.image.copy()).permute(2, 0, 1) for crop, _ in drawn]),
        counts=tuple(len(names) for _, names in drawn),
        targets=tuple(name for _, name in asked),
        picks=tuple(rng.integers(phrases, size=len(asked)).tolist()),
        covered=torch.stack([covered for covered, _ in cells]),
        known=torch.stack([known for _, known in cells]),
        present=torch.tensor([float(crop.state(name) is True) for crop, name in asked]),
    )


def _draw_crop(
    rng: np.random.Generator, source: crop_pool.CropPool, count: float, size: int
) -> tuple[crop_pool.Crop, list[str]]:
    """Draw a crop and about ``count`` targets whose presence in it is known.

    One is the target it was drawn for. Each other target is added with a probability inverse to the share of
    crops that show (or lack) it, so that over a run all are used about equally often, present as often as
    absent.
    """
    crop, target = source.draw_any(rng, size)
    names = [target] if crop.state(target) is not None else []
    each = (count - 1.0) / (2 * len(source.targets))
    for name in sorted(crop.labels):
        if name != target and rng.random() < each * source.rate_further(crop, name):
            names.append(name)
    return crop, names


def compute_cells(label: Labels, count: int) -> tuple[Tensor, Tensor]:
    """Return (count, count) covered share of each cell's labelled part, and whether most of the cell is labelled."""
    values = torch.from_numpy(label)[None]
    both = torch.stack([values > 0, values != int(UNKNOWN)], 1).float()
    covered, known = F.interpolate(both, (count, count), mode="area")[0]
    return covered / known.clamp(min=1e-3), (known > 0.5).float()


class MaskObjective(nn.Module):
    """Mask branch and losses as one forward pass."""

    def __init__(self, model: SegEarthR2) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: MaskBatch, num_points: int, seed: int) -> dict[str, Tensor]:
        """Compute the unweighted losses over all labelled cells; points and seed are for objectives that sample."""
        pixels = self.model.pixel_features(batch.images)
        decoded = self.model.decode_targets(pixels, batch.queries, batch.counts)
        parts = [compute_cell_losses(masks.float(), batch) for masks in decoded.masks]
        weights = [_EARLIER_LAYER_WEIGHT] * (len(parts) - 1) + [1.0]
        cross_entropy, dice = (
            torch.stack([weight * part[which] for weight, part in zip(weights, parts, strict=True)]).sum()
            for which in (0, 1)
        )
        zero = cross_entropy * 0.0
        presence = zero
        if decoded.presence is not None:
            presence = self.compute_presence_loss(decoded.presence.float(), batch)
        return {
            "cross_entropy": cross_entropy,
            "dice": dice,
            "attention": zero,
            "language": zero,
            "presence": presence,
        }

    def compute_presence_loss(self, logits: Tensor, batch: MaskBatch) -> Tensor:
        """Compute the mean loss of (T,) presence logits."""
        return F.binary_cross_entropy_with_logits(logits, batch.present)


def compute_cell_losses(logits: Tensor, batch: MaskBatch) -> tuple[Tensor, Tensor]:
    """Compute mean cross-entropy and dice of (T, S / 4, S / 4) logits; unlabelled cells count in neither."""
    covered, known = batch.covered, batch.known
    each = F.binary_cross_entropy_with_logits(logits, covered, reduction="none") * known
    cross_entropy = each.sum((1, 2)) / known.sum((1, 2)).clamp(min=1.0)
    share, truth = logits.sigmoid() * known, covered * known
    overlap = 2.0 * (share * truth).sum((1, 2)) + 1.0
    dice = 1.0 - overlap / (share.sum((1, 2)) + truth.sum((1, 2)) + 1.0)
    return cross_entropy.mean(), torch.where(batch.present > 0, dice, _EMPTY_DICE_WEIGHT * dice).mean()


class MaskTrainer(Trainer):
    """A run on the mask branch, see :class:`~segwatch.model.train.loop.Trainer`; as a context it stops its workers."""

    def __init__(
        self,
        model: SegEarthR2,
        tokenizer: PreTrainedTokenizerBase,
        config: TrainConfig,
        accelerator: Accelerator,
    ) -> None:
        assert config.masks is not None  # noqa: S101 - this class is only for recipes with [masks]
        self.masks = config.masks
        super().__init__(model, tokenizer, _NoInstructions(), config, accelerator)
        self._prefetcher = Prefetcher(
            CropMaker(config, model.config.image_size), self.masks.workers, accelerator.num_processes
        )
        self._bank = self._prepare_bank()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._prefetcher.close()

    def make_objective(self) -> nn.Module:
        """See :meth:`.Trainer.make_objective`."""
        return MaskObjective(self.model)

    def list_parameter_groups(self) -> list[dict[str, Any]]:
        """Give the mask encoder its own learning rate."""
        encoder = list(self.model.mask_encoder.parameters())
        own = {id(parameter) for parameter in encoder}
        rest = [one for one in self.model.parameters() if one.requires_grad and id(one) not in own]
        return [{"params": encoder, "share": self.masks.encoder_share}, {"params": rest, "share": 1.0}]

    def batch(self, number: int, size: int) -> MaskBatch:
        """See :meth:`Trainer.batch`."""
        found = self._prefetcher.get(number)
        queries = [self._bank[name][pick] for name, pick in zip(found.targets, found.picks, strict=True)]
        return MaskBatch(
            images=processor.normalise_mask_view(found.images),
            counts=found.counts,
            queries=torch.stack(queries),
            covered=found.covered,
            known=found.known,
            present=found.present,
        )

    def _prepare_bank(self) -> query_bank.QueryBank:
        """Load the bank of an earlier start, or compute and save it."""
        settings = self.config.run
        file = settings.state / query_bank.BANK_FILE
        if not file.exists() and self.accelerator.is_main_process:
            pictures = draw_bank_pictures(self._prefetcher.make.pool())
            made = query_bank.compute_bank(
                self.model,
                self.tokenizer,
                self.config.data.targets,
                pictures,
                self.masks.phrases,
                settings.seed,
            )
            query_bank.save_bank({name: value.cpu() for name, value in made.items()}, file)
        self.accelerator.wait_for_everyone()
        return query_bank.load_bank(file)


def draw_bank_pictures(source: crop_pool.CropPool) -> Sequence[Any]:
    """Draw the pictures on which the bank's queries are computed."""
    rng = np.random.default_rng(0)
    names = [source.targets[index % len(source.targets)] for index in range(_BANK_PICTURES)]
    return [
        source.draw(rng, name, scenes.SCENE_PX, present=bool(index % 2)).image
        for index, name in enumerate(names)
    ]


class CropMaker:
    """Makes the crops of a pass; each process reads the pictures itself, once."""

    def __init__(self, config: TrainConfig, size: int) -> None:
        self._config, self._size = config, size
        self._pool: crop_pool.CropPool | None = None

    def __reduce__(self) -> tuple[type[Self], tuple[TrainConfig, int]]:
        """Leave the pictures out of what worker processes get: a pool takes more than a gigabyte."""
        return type(self), (self._config, self._size)

    def pool(self) -> crop_pool.CropPool:
        """Return the pool to draw from."""
        if self._pool is None:
            data = self._config.data
            self._pool = crop_pool.load_pool(
                data.root,
                data.demo,
                data.scenes,
                data.made_share,
                scenes.SceneSettings(data.targets, data.gsd_m),
            )
        return self._pool

    def __call__(self, number: int) -> CropBatch:
        """Make the crops of a pass."""
        config = self._config
        assert config.masks is not None  # noqa: S101 - see MaskTrainer
        return draw_crops(
            self.pool(),
            seed=config.run.seed,
            step=number,
            images=config.optimizer.images,
            targets=config.masks.targets_per_image,
            phrases=config.masks.phrases,
            size=self._size,
        )


class _NoInstructions:
    """Placeholder for the trainer's source of instructions, which this stage does not use."""

    def draw_image(self, rng: np.random.Generator, max_pairs: int) -> Any:
        raise NotImplementedError


def load_start_model(config: TrainConfig, *, resuming: bool) -> tuple[SegEarthR2, PreTrainedTokenizerBase]:
    """Load the language branch of ``start.checkpoint`` (default: the shipped model), frozen.

    The mask branch is the checkpoint's if it has a lite0 encoder and a presence head; otherwise it is new, with
    the encoder's ImageNet weights.

    Raises
    ------
    CheckpointError
        The initial weights are missing or do not fit.
    """
    start = pretrained.load_pretrained(config.start.checkpoint or model_version.SHIPPED_MODEL, "cpu")
    model = start.model
    if model.config.mask_encoder != "lite0" or model.presence is None:
        model = _renew_mask_branch(
            start.model, make_lite_config(start.model.config, len(config.data.targets))
        )
        assert config.masks is not None  # noqa: S101 - this stage is only for recipes with [masks]
        assert isinstance(model.mask_encoder, LiteEncoder)  # noqa: S101
        if not resuming:
            lite_weights.load_encoder_weights(
                model.mask_encoder, lite_weights.find_weights(config.masks.encoder)
            )
    model.requires_grad_(False)
    for part in model.mask_half:
        part.requires_grad_(part is not model.query_projector)
    return model, start.tokenizer


def make_lite_config(config: SegEarthConfig, targets: int) -> SegEarthConfig:
    """Return the same dimensions with a lite0 mask encoder and a presence head."""
    return replace(config, mask_encoder="lite0", presence_targets=targets)


def _renew_mask_branch(old: SegEarthR2, config: SegEarthConfig) -> SegEarthR2:
    """Build a new model with the language branch of an old one."""
    model = SegEarthR2(config)
    halves = ("language.", "vision_tower.", "projector.", "query_projector.")
    known = {name: value for name, value in old.state_dict().items() if name.startswith(halves)}
    model.load_state_dict({**model.state_dict(), **known})
    return model
