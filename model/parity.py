"""Compare this implementation with numbers recorded from the published code, stage by stage.

A record is a folder with ``config.json``, ``weights.safetensors`` and ``stages.safetensors``: small random weights, two
images, teacher-forced texts, and the output of every stage of the published code.

A stage is recorded whole as ``stage.NAME``, or thinned: ``shape.NAME``, every n-th element in C order as
``sampled.NAME``, and for each axis longer than one ``mean.NAME.AXIS``, the means over all other axes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from segwatch.model import pretrained, text_generation
from segwatch.model.config import SegEarthConfig
from segwatch.model.errors import CheckpointError
from segwatch.model.segearth import SegEarthOutput, SegEarthR2
from segwatch.model.splice import IGNORE_LABEL
from segwatch.model.train import losses

_FILES = ("config.json", "weights.safetensors", "stages.safetensors")
_NOT_COMPUTED = frozenset({"stage.gt_masks", "stage.loss_points"})


@dataclass(frozen=True)
class StageDiff:
    """Difference of one stage from the record."""

    stage: str
    shape: tuple[int, ...]
    max_abs_diff: float
    """Infinite if shapes differ. For token ids 0 if equal; for binary masks the share of pixels that differ."""


@torch.inference_mode()
def compare_with_reference(
    directory: Path, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> list[StageDiff]:
    """Compute every recorded stage and compare it with the record.

    Parameters
    ----------
    directory
        The record.
    dtype
        Of the language model and the vision tower, see :meth:`.SegEarthR2.keep_in`.
    device
        Device to run on.

    Raises
    ------
    InputError
        There is no such device.
    CheckpointError
        A file of the record is missing, the weights do not match, or a recorded stage is unknown.
    """
    if gone := [name for name in _FILES if not (directory / name).exists()]:
        raise CheckpointError(f"{directory}: no {', '.join(gone)}; give a folder with {', '.join(_FILES)}")
    settings = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    config = SegEarthConfig.from_oracle(settings)
    model, _ = pretrained.build_from_weights(
        config, [directory / "weights.safetensors"], device=device, dtype=dtype, prefix="weights."
    )
    record = load_file(directory / "stages.safetensors")
    # ids and labels stay on the CPU, where they are read
    for key in ("images", "images_clip"):
        record[f"input.{key}"] = record[f"input.{key}"].to(model.device)
    wanted = _list_recorded(record) - _NOT_COMPUTED
    diffs = []
    for stage, ours in _compute_stages(model, record, int(settings["prompt_length"])):
        if stage in wanted:
            wanted.remove(stage)
            diffs.append(_compare_stage(stage.removeprefix("stage."), ours.cpu(), record))
    if wanted:
        raise CheckpointError(f"{directory}: no comparison for {', '.join(sorted(wanted))}")
    return diffs


def _list_recorded(record: dict[str, Tensor]) -> set[str]:
    """Return the keys of the recorded stages, whole or thinned, as ``stage.NAME``."""
    whole = {key for key in record if key.startswith("stage.")}
    return whole | {f"stage.{key.removeprefix('shape.')}" for key in record if key.startswith("shape.")}


def _compare_stage(stage: str, ours: Tensor, record: dict[str, Tensor]) -> StageDiff:
    theirs = record.get(f"stage.{stage}")
    shape = record[f"shape.{stage}"].tolist() if theirs is None else theirs.shape
    if list(ours.shape) != list(shape):
        return StageDiff(stage, tuple(ours.shape), float("inf"))
    pairs = _pair_thinned(stage, ours, record) if theirs is None else [(ours, theirs)]
    distances = [(one.double() - other.double()).abs() for one, other in pairs if one.numel()]
    binary = ours.dtype == torch.uint8
    return StageDiff(
        stage,
        tuple(ours.shape),
        max((float(distance.mean() if binary else distance.max()) for distance in distances), default=0.0),
    )


def _pair_thinned(stage: str, ours: Tensor, record: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    sampled = record[f"sampled.{stage}"]
    step = -(-ours.numel() // len(sampled))
    pairs = [(ours.flatten()[::step], sampled)]
    for axis in range(ours.ndim):
        if (means := record.get(f"mean.{stage}.{axis}")) is not None:
            others = [other for other in range(ours.ndim) if other != axis]
            pairs.append((ours.double().mean(others), means))
    return pairs


def _compute_stages(
    model: SegEarthR2, record: dict[str, Tensor], prompt_length: int
) -> Iterator[tuple[str, Tensor]]:
    ids = list(record["input.input_ids"])
    images, clip = record["input.images"], record["input.images_clip"]
    marks = list(record["input.seg_token_mask"].bool())
    answers = [torch.where(torch.arange(len(row)) >= prompt_length, row, IGNORE_LABEL) for row in ids]
    out = model(ids, images, clip, seg_token_mask=marks, labels=answers, output_attentions=True)
    yield from _language_stages(model, record, ids, out)
    yield from _pixel_stages(model, images)
    yield from _mask_stages(model, out)
    yield from _loss_stages(model, record, out)
    yield from _generated_stages(model, record, prompt_length)


def _language_stages(
    model: SegEarthR2, record: dict[str, Tensor], ids: list[Tensor], out: SegEarthOutput
) -> Iterator[tuple[str, Tensor]]:
    features = model.vision_tower(record["input.images_clip"].to(model.dtype))
    tokens = model.projector(features)
    embeds = model.splice(ids, tokens).embeds
    _, layers = model.language(embeds, all_layers=True)
    yield "stage.siglip_features", features
    yield "stage.projected_image_tokens", tokens
    yield "stage.inputs_embeds", embeds
    for index, hidden in enumerate(layers):
        yield f"stage.hidden_states.{index}", hidden
    yield "stage.last_hidden_state", out.hidden
    for index, rows in enumerate(out.attentions or []):
        yield f"stage.seg_image_attention.{index}", rows
    kept = record["stage.logits_at_answer"].shape[1]
    yield "stage.logits_at_answer", out.logits[:, -kept:]
    yield "stage.seg_embedding", out.seg_embedding[:, None]


def _pixel_stages(model: SegEarthR2, images: Tensor) -> Iterator[tuple[str, Tensor]]:
    maps = model.mask_encoder(images)
    pixels = model.pixel_decoder(maps)
    for index, level in enumerate(maps):
        yield f"stage.swin.res{index + 2}", level
    yield "stage.mask_features", pixels.mask_features
    yield "stage.transformer_encoder_features", pixels.scales[0]
    for index, scale in enumerate(pixels.scales):
        yield f"stage.multi_scale_features.{index}", scale


def _mask_stages(model: SegEarthR2, out: SegEarthOutput) -> Iterator[tuple[str, Tensor]]:
    *earlier, final = out.pred_masks
    for index, masks in enumerate(earlier):
        yield f"stage.aux_pred_masks.{index}", masks[:, None]
    yield "stage.pred_masks", final[:, None]
    upsampled = model.upsample(final)
    yield "stage.upsampled_mask_logits", upsampled[:, None]
    yield "stage.mask_area_fraction", (upsampled > 0).float().mean(dim=(1, 2))


def _loss_stages(
    model: SegEarthR2, record: dict[str, Tensor], out: SegEarthOutput
) -> Iterator[tuple[str, Tensor]]:
    truth = record["stage.gt_masks"][:, 0].float().to(model.device)
    grid = losses.make_attention_grid(truth, model.config.siglip.grid_side)
    yield "stage.gt_masks_27", grid
    per_layer = [losses.compute_attention_loss(rows, grid) for rows in out.attentions or []]
    for index, loss in enumerate(per_layer):
        yield f"stage.attention_loss.{index}", loss
    yield "stage.attention_loss_total", torch.stack(per_layer).sum()
    cross_entropy, dice = losses.compute_point_losses(
        out.pred_masks[-1], truth, record["stage.loss_points"].to(model.device)
    )
    yield "stage.loss_mask_at_points", cross_entropy
    yield "stage.loss_dice_at_points", dice
    if out.labels is not None:
        yield "stage.loss_language", losses.compute_language_loss(out.logits, out.labels)


def _generated_stages(
    model: SegEarthR2, record: dict[str, Tensor], prompt_length: int
) -> Iterator[tuple[str, Tensor]]:
    for image in range(record["input.input_ids"].shape[0]):
        recorded = record[f"stage.generated_ids.{image}"]
        asked = record["input.input_ids"][image, :prompt_length]
        clip = record["input.images_clip"][image : image + 1]
        embeds = model.splice([asked], model.image_tokens(clip)).embeds
        prefix = text_generation.prefill(model, embeds[:, :-1])
        answer = text_generation.generate_texts(
            model, prefix, [embeds[0, -1:]], max_new_tokens=len(recorded) - prompt_length
        )[0]
        yield f"stage.generated_ids.{image}", torch.cat([asked, answer.ids])
        # the published code drops the last token's state before it looks for [SEG]
        states = answer.hidden[:-1][(answer.ids[:-1] == model.config.seg_token_id).to(model.device)]
        pixels = model.pixel_features(record["input.images"][image : image + 1])
        masks = model.decode(pixels, model.queries(states), [len(states)])[-1]
        yield f"stage.generated_masks.{image}", (model.upsample(masks)[:, None] > 0).to(torch.uint8)
