"""SegEarth-R2: from an image and an instruction to text and one mask for each [SEG] in it.

Source: SegEarth-R2, arXiv 2512.20013, and its published code, which decides where the two differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwatch.model.config import SegEarthConfig
from segwatch.model.errors import InputError
from segwatch.model.language import AttentionProbe, LanguageModel
from segwatch.model.lite_encoder import LiteEncoder
from segwatch.model.mask_decoder import MaskDecoder
from segwatch.model.mask_encoder import MaskEncoder
from segwatch.model.pixel_decoder import PixelDecoder, PixelFeatures
from segwatch.model.presence_head import PresenceHead
from segwatch.model.splice import Spliced, splice, splice_labels
from segwatch.model.vision_tower import VisionTower, build_projector


@dataclass(frozen=True)
class SegEarthOutput:
    """Everything that a loss needs, for B sequences and T targets in order of sequence, then of appearance."""

    logits: Tensor
    """(B, L, vocabulary) next-token logits over the spliced, right-padded sequences."""
    labels: Tensor | None
    """(B, L) int64 labels at spliced positions, -100 elsewhere; None if none were given."""
    hidden: Tensor
    """(B, L, hidden) last hidden states."""

    seg_counts: list[int]
    """Number of targets of each sequence."""
    seg_batch: Tensor
    """(T,) int64 sequence of each target."""

    seg_embedding: Tensor
    """(T, width) segmentation queries."""
    pred_masks: list[Tensor]
    """(T, S / 4, S / 4) mask logits, before the first decoder layer and after each; the last one is the prediction."""
    presence: Tensor | None
    """(T,) see :class:`Decoded`."""
    attentions: list[Tensor] | None
    """Per language layer (T, N) attention of each [SEG] to the image tokens, summed over heads."""


@dataclass(frozen=True)
class Decoded:
    """Masks and presence of T targets."""

    masks: list[Tensor]
    """(T, S / 4, S / 4) logits, one tensor per decoder layer and one before them; the last one is the prediction."""
    presence: Tensor | None
    """(T,) calibrated logits, > 0 where the target is probably present; None without a presence head."""


class SegEarthR2(nn.Module):
    """The whole model. The mask branch stays in float32 whatever the dtype of the language branch."""

    def __init__(self, config: SegEarthConfig) -> None:
        super().__init__()
        self.config = config
        self.language = LanguageModel(config.phi)
        self.vision_tower = VisionTower(config.siglip)
        self.projector = build_projector(config.siglip.hidden_size, config.phi.hidden_size)
        lite = config.mask_encoder == "lite0"
        self.mask_encoder: nn.Module = LiteEncoder() if lite else MaskEncoder(config.swin)
        self.pixel_decoder = PixelDecoder(config.mask, config.mask_channels)
        self.query_projector = nn.Linear(config.phi.hidden_size, config.mask.width)
        self.mask_decoder = MaskDecoder(config.mask)
        self.presence = (
            PresenceHead(config.mask.width, config.presence_targets) if config.presence_targets else None
        )

    @property
    def mask_half(self) -> tuple[nn.Module, ...]:
        """The parts of the mask branch."""
        parts = (self.mask_encoder, self.pixel_decoder, self.query_projector, self.mask_decoder)
        return parts if self.presence is None else (*parts, self.presence)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.query_projector.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the language model, the vision tower and the projector."""
        return self.language.lm_head.weight.dtype

    def keep_in(self, dtype: torch.dtype) -> SegEarthR2:
        """Convert the language model, vision tower and projector to ``dtype``, the mask branch to float32.

        In the language branch only parameters are converted: rotary frequencies in half precision would shift
        late positions.
        """
        for part in (self.language, self.vision_tower, self.projector):
            for parameter in part.parameters():
                parameter.data = parameter.data.to(dtype)
        for module in self.mask_half:
            for value in (*module.parameters(), *module.buffers()):
                if value.is_floating_point():
                    value.data = value.data.float()
        return self

    def image_tokens(self, images_clip: Tensor) -> Tensor:
        """Compute image tokens from the language view: (B, 3, S, S) in -1..1 -> (B, N, hidden)."""
        return cast(Tensor, self.projector(self.vision_tower(images_clip.to(self.dtype))))

    def pixel_features(self, images: Tensor) -> PixelFeatures:
        """Compute the mask decoder's input from the normalised mask view (B, 3, S, S)."""
        return cast(PixelFeatures, self.pixel_decoder(self.mask_encoder(images.float())))

    def splice(
        self, input_ids: Sequence[Tensor], image_tokens: Tensor, refer_ids: Sequence[Tensor] | None = None
    ) -> Spliced:
        """Embed ids and replace the placeholders, see :func:`segwatch.model.splice.splice`."""
        return splice(input_ids, image_tokens, refer_ids, self.language.embed)

    def queries(self, hidden: Tensor) -> Tensor:
        """Project hidden states at [SEG] to segmentation queries: (T, hidden) -> (T, width) float32."""
        return cast(Tensor, self.query_projector(hidden.float()))

    def decode(self, pixels: PixelFeatures, queries: Tensor, counts: Sequence[int]) -> list[Tensor]:
        """Decode the masks of all targets.

        Parameters
        ----------
        pixels
            Features of B images.
        queries
            (T, width), image by image.
        counts
            B numbers: targets of each image.

        Returns
        -------
        list of Tensor
            (T, S / 4, S / 4) logits, one tensor per prediction; the last one counts.
        """
        return self.decode_targets(pixels, queries, counts).masks

    def decode_targets(self, pixels: PixelFeatures, queries: Tensor, counts: Sequence[int]) -> Decoded:
        """Decode masks and presence of all targets; parameters as of :meth:`decode`."""
        # pad the targets of each image to a common count; padding rows are dropped again
        place = [(image, row) for image, count in enumerate(counts) for row in range(count)]
        image, row = (
            torch.tensor(place, dtype=torch.long).view(-1, 2).to(queries.device, non_blocking=True).unbind(1)
        )
        padded = queries.new_zeros(len(counts), max(*counts, 1), queries.shape[1])
        padded = padded.index_put((image, row), queries)
        masks, decoded = self.mask_decoder(pixels, padded)
        presence = None
        if self.presence is not None:
            presence = self.presence(pixels, padded, decoded, masks[-1])[image, row]
        return Decoded([each[image, row] for each in masks], presence)

    def forward(
        self,
        input_ids: Sequence[Tensor],
        images: Tensor,
        images_clip: Tensor,
        *,
        refer_ids: Sequence[Tensor] | None = None,
        answer_start: Sequence[int] | None = None,
        seg_token_mask: Sequence[Tensor] | None = None,
        labels: Sequence[Tensor] | None = None,
        output_attentions: bool = False,
    ) -> SegEarthOutput:
        """Run a teacher-forced pass over B pairs of image and text.

        Parameters
        ----------
        input_ids
            B tensors (n,) int64 of ids with one -200 (image) and possibly one -204 (instruction). Ids, labels
            and marks are on the CPU.
        images
            (B, 3, S, S) float32 mask view, normalised.
        images_clip
            (B, 3, C, C) float32 language view in -1..1.
        refer_ids
            B tensors (m,) int64 that replace -204.
        answer_start
            Per sequence, index into ``input_ids`` from which [SEG] counts as a target.
        seg_token_mask
            Instead of ``answer_start``: B tensors (n,) that mark the targets.
        labels
            B tensors (n,) int64, -100 where a position does not count.
        output_attentions
            Also read the attention rows of the targets.

        Raises
        ------
        InputError
            Placeholders and counts do not match, or targets are not marked in exactly one way.
        """
        spliced = self.splice(input_ids, self.image_tokens(images_clip), refer_ids)
        counts, batch, position = self.targets(input_ids, spliced, answer_start, seg_token_mask)
        probe = AttentionProbe(batch, position, spliced.image_start, self.config.num_image_tokens)
        hidden, _ = self.language(spliced.embeds, probe=probe if output_attentions else None)
        queries = self.queries(hidden[batch, position])
        decoded = self.decode_targets(self.pixel_features(images), queries, counts)
        return SegEarthOutput(
            logits=self.language.lm_head(hidden),
            labels=None if labels is None else splice_labels(labels, spliced),
            hidden=hidden,
            seg_counts=counts,
            seg_batch=batch,
            seg_embedding=queries,
            pred_masks=decoded.masks,
            presence=decoded.presence,
            attentions=probe.rows if output_attentions else None,
        )

    def upsample(self, mask_logits: Tensor) -> Tensor:
        """Resize (T, h, w) logits to (T, S, S), the size of the mask view."""
        size = (self.config.image_size, self.config.image_size)
        return F.interpolate(mask_logits[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]

    def targets(
        self,
        input_ids: Sequence[Tensor],
        spliced: Spliced,
        answer_start: Sequence[int] | None,
        seg_token_mask: Sequence[Tensor] | None = None,
    ) -> tuple[list[int], Tensor, Tensor]:
        """Find the [SEG] that count as targets, see :meth:`forward`.

        Returns
        -------
        counts : list of int
            Targets of each sequence.
        batch, position : Tensor
            (T,) int64 sequence and spliced position of each target.

        Raises
        ------
        InputError
            Targets are not marked in exactly one way.
        """
        if (answer_start is None) == (seg_token_mask is None):
            raise InputError(
                "give exactly one of answer_start and seg_token_mask: they say which [SEG] count"
            )
        position = []
        for index, (ids, place) in enumerate(zip(input_ids, spliced.places, strict=True)):
            if seg_token_mask is not None:
                chosen = seg_token_mask[index].bool()
            else:
                begin = cast("Sequence[int]", answer_start)[index]
                chosen = (ids == self.config.seg_token_id) & (torch.arange(len(ids)) >= begin)
            position.append(place[chosen])
        counts = [len(places) for places in position]
        batch = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        batch, positions = (each.to(self.device, non_blocking=True) for each in (batch, torch.cat(position)))
        return counts, batch, positions
