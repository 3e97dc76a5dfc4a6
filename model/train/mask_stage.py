"""A stage on the mask branch alone: labelled pictures and made scenes, with queries of a frozen language half.

Every crop is drawn for one target that shall be there or absent, both equally often; the other targets asked for on it
are picked so that rare ones are not denied more often than they are shown.
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

_EARLIER = 0.4  # weight of the predictions before the last
_EMPTY_DICE = 0.35  # weight of the dice loss where the target is absent
_BANK_PICTURES = 12


@dataclass(frozen=True)
class CropBatch:
    """B crops with T targets in order of crop; made in any process."""

    images: Tensor
    """(B, 3, S, S) uint8."""
    counts: tuple[int, ...]
    """B numbers: targets of each crop."""
    targets: tuple[str, ...]
    """T names."""
    picks: tuple[int, ...]
    """T numbers: which of a target's queries asks."""
    covered: Tensor
    """(T, S / 4, S / 4) share of the labelled part of each cell that is the target, 0..1."""
    known: Tensor
    """(T, S / 4, S / 4) 1 where most of the cell is labelled, else 0: such cells do not count."""
    present: Tensor
    """(T,) 1 where the target is there, 0 where it is absent."""


@dataclass(frozen=True)
class MaskBatch:
    """:class:`CropBatch` with its queries, ready for the objective."""

    images: Tensor
    """(B, 3, S, S) float32 mask views, normalised."""
    counts: tuple[int, ...]
    """As of :class:`CropBatch`, and so the other three."""
    queries: Tensor
    """(T, width)."""
    covered: Tensor
    known: Tensor
    present: Tensor

    def to(self, device: torch.device) -> MaskBatch:
        """The same batch on a device."""
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
    """The crops of a step; the same arguments always give the same ones.

    Args:
        source: what to draw from.
        seed: of the run.
        step: of the run, from 0.
        images: B.
        targets: about how many are asked for on each crop.
        phrases: queries of each target to pick from.
        size: S, a multiple of 32.
    """
    rng = np.random.default_rng((seed, 4, step))
    drawn: list[tuple[crop_pool.Crop, list[str]]] = []
    while len(drawn) < images:
        crop, names = _drawn(rng, source, targets, size)
        if names:
            drawn.append((crop, names))
    asked = [(crop, name) for crop, names in drawn for name in names]
    cells = [_cells(crop.labels[name], size // 4) for crop, name in asked]
    return CropBatch(
        images=torch.stack([torch.from_numpy(crop.image.copy()).permute(2, 0, 1) for crop, _ in drawn]),
        counts=tuple(len(names) for _, names in drawn),
        targets=tuple(name for _, name in asked),
        picks=tuple(rng.integers(phrases, size=len(asked)).tolist()),
        covered=torch.stack([covered for covered, _ in cells]),
        known=torch.stack([known for _, known in cells]),
        present=torch.tensor([float(crop.state(name) is True) for crop, name in asked]),
    )


def _drawn(
    rng: np.random.Generator, source: crop_pool.CropPool, count: float, size: int
) -> tuple[crop_pool.Crop, list[str]]:
    """A crop, and about ``count`` targets that are surely there or surely absent.

    One is what it was drawn for. Each other is taken the more likely the fewer crops show (or lack) it, so that over a
    run all are asked for about equally often, and each as often where it is there as where it is absent.
    """
    crop, target = source.draw_any(rng, size)
    names = [target] if crop.state(target) is not None else []
    each = (count - 1.0) / len(source.shares)
    for name in sorted(crop.labels):
        state = crop.state(name)
        if name != target and state is not None and rng.random() < each / source.shares[name, state]:
            names.append(name)
    return crop, names


def _cells(label: Labels, count: int) -> tuple[Tensor, Tensor]:
    """(count, count) covered share of what is labelled, and whether most of the cell is labelled."""
    values = torch.from_numpy(label)[None]
    both = torch.stack([values > 0, values != int(UNKNOWN)], 1).float()
    covered, known = F.interpolate(both, (count, count), mode="area")[0]
    return covered / known.clamp(min=1e-3), (known > 0.5).float()


class MaskObjective(nn.Module):
    """The mask branch and its losses as one forward pass."""

    def __init__(self, model: SegEarthR2) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: MaskBatch, num_points: int, seed: int) -> dict[str, Tensor]:
        """Unweighted losses over all labelled cells; points and seed are for objectives that sample."""
        pixels = self.model.pixel_features(batch.images)
        decoded = self.model.decode_targets(pixels, batch.queries, batch.counts)
        parts = [compute_cell_losses(masks.float(), batch) for masks in decoded.masks]
        weights = [_EARLIER] * (len(parts) - 1) + [1.0]
        cross_entropy, dice = (
            torch.stack([weight * part[which] for weight, part in zip(weights, parts, strict=True)]).sum()
            for which in (0, 1)
        )
        zero = cross_entropy * 0.0
        presence = zero
        if decoded.presence is not None:
            presence = F.binary_cross_entropy_with_logits(decoded.presence.float(), batch.present)
        return {
            "cross_entropy": cross_entropy,
            "dice": dice,
            "attention": zero,
            "language": zero,
            "presence": presence,
        }


def compute_cell_losses(logits: Tensor, batch: MaskBatch) -> tuple[Tensor, Tensor]:
    """Cross-entropy and dice of (T, S / 4, S / 4) logits, means over targets; unlabelled cells count in neither."""
    covered, known = batch.covered, batch.known
    each = F.binary_cross_entropy_with_logits(logits, covered, reduction="none") * known
    cross_entropy = each.sum((1, 2)) / known.sum((1, 2)).clamp(min=1.0)
    share, truth = logits.sigmoid() * known, covered * known
    overlap = 2.0 * (share * truth).sum((1, 2)) + 1.0
    dice = 1.0 - overlap / (share.sum((1, 2)) + truth.sum((1, 2)) + 1.0)
    return cross_entropy.mean(), torch.where(batch.present > 0, dice, _EMPTY_DICE * dice).mean()


class MaskTrainer(Trainer):
    """A run on the mask branch, see :class:`~segwatch.model.train.loop.Trainer`; a context that ends its workers."""

    def __init__(
        self,
        model: SegEarthR2,
        tokenizer: PreTrainedTokenizerBase,
        config: TrainConfig,
        accelerator: Accelerator,
    ) -> None:
        assert config.masks is not None  # noqa: S101 - what this class is for
        self.masks = config.masks
        super().__init__(model, tokenizer, _NoInstructions(), config, accelerator)
        self._coming = Prefetcher(
            CropMaker(config, model.config.image_size), self.masks.workers, accelerator.num_processes
        )
        self._bank = self._queries()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._coming.close()

    def losses(self) -> nn.Module:
        """See :meth:`Trainer.losses`."""
        return MaskObjective(self.model)

    def groups(self) -> list[dict[str, Any]]:
        """The mask encoder at its own pace, and the rest of the mask branch."""
        encoder = list(self.model.mask_encoder.parameters())
        own = {id(parameter) for parameter in encoder}
        rest = [one for one in self.model.parameters() if one.requires_grad and id(one) not in own]
        return [{"params": encoder, "share": self.masks.encoder_share}, {"params": rest, "share": 1.0}]

    def batch(self, number: int, size: int) -> MaskBatch:
        """See :meth:`Trainer.batch`."""
        found = self._coming.get(number)
        queries = [self._bank[name][pick] for name, pick in zip(found.targets, found.picks, strict=True)]
        return MaskBatch(
            images=processor.normalise_mask_view(found.images),
            counts=found.counts,
            queries=torch.stack(queries),
            covered=found.covered,
            known=found.known,
            present=found.present,
        )

    def _queries(self) -> query_bank.QueryBank:
        """The bank: the earlier start's if there was one."""
        settings = self.config.run
        file = settings.state / query_bank.BANK_FILE
        if not file.exists() and self.accelerator.is_main_process:
            pictures = draw_bank_pictures(self._coming.make.pool())
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
    """Pictures that the bank's questions are asked on."""
    rng = np.random.default_rng(0)
    names = [source.targets[index % len(source.targets)] for index in range(_BANK_PICTURES)]
    return [
        source.draw(rng, name, scenes.SCENE_PX, present=bool(index % 2)).image
        for index, name in enumerate(names)
    ]


class CropMaker:
    """Makes the crops of a pass; each process that does so reads the pictures itself, once."""

    def __init__(self, config: TrainConfig, size: int) -> None:
        self._config, self._size = config, size
        self._pool: crop_pool.CropPool | None = None

    def pool(self) -> crop_pool.CropPool:
        """What is drawn from."""
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
        """The crops of a pass."""
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
    """The trainer's source of instructions, which this stage does not use."""

    def shown(self, rng: np.random.Generator, pairs: int) -> Any:
        raise NotImplementedError


def load_start_model(config: TrainConfig, *, resuming: bool) -> tuple[SegEarthR2, PreTrainedTokenizerBase]:
    """A model with the language half of ``start.checkpoint`` (by default the shipped model's), frozen.

    Its mask branch is the checkpoint's where that has a lite0 encoder and a presence head, else begins anew from the
    encoder's ImageNet weights.

    Raises:
        CheckpointError: if the first weights do not fit or are missing.
    """
    start = pretrained.load_pretrained(config.start.checkpoint or model_version.TINY, "cpu")
    model = start.model
    if model.config.mask_encoder != "lite0" or model.presence is None:
        model = _renewed(start.model, make_lite_config(start.model.config, len(config.data.targets)))
        assert config.masks is not None  # noqa: S101 - what this stage is for
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
    """The same dimensions with a lite0 mask encoder and a presence head."""
    return replace(config, mask_encoder="lite0", presence_targets=targets)


def _renewed(old: SegEarthR2, config: SegEarthConfig) -> SegEarthR2:
    """A new model with the language half of an old one."""
    model = SegEarthR2(config)
    halves = ("language.", "vision_tower.", "projector.", "query_projector.")
    known = {name: value for name, value in old.state_dict().items() if name.startswith(halves)}
    model.load_state_dict({**model.state_dict(), **known})
    return model
