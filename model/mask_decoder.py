"""Mask decoder: one query per target, masked attention over three scales.

Source: Mask2Former, arXiv 2112.01527, with the queries of SegEarth-R2, arXiv 2512.20013. Every target is decoded
independently. The queries of one image still share its keys: only self-attention could mix them, and self-attention
over a single key is its value projection.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segwatch.model.config import MaskDims
from segwatch.model.pixel_decoder import PixelFeatures
from segwatch.model.position_encoding import encode_positions

_LEVELS = 3


class MaskDecoder(nn.Module):
    """Decode segmentation queries and pixel features to mask logits."""

    def __init__(self, dims: MaskDims) -> None:
        super().__init__()
        width, heads = dims.width, dims.num_heads
        self.level_embed = nn.Embedding(_LEVELS, width)
        self.cross_attention = nn.ModuleList(
            _CrossAttention(width, heads) for _ in range(dims.decoder_layers)
        )
        self.self_attention = nn.ModuleList(
            _SingleQueryAttention(width, heads) for _ in range(dims.decoder_layers)
        )
        self.feedforward = nn.ModuleList(
            _FeedForward(width, dims.decoder_feedforward) for _ in range(dims.decoder_layers)
        )
        self.decoder_norm = nn.LayerNorm(width)
        self.mask_embed = nn.ModuleList(nn.Linear(width, width) for _ in range(3))

    def forward(self, pixels: PixelFeatures, queries: Tensor) -> tuple[list[Tensor], Tensor]:
        """Decode the masks of Q queries per image.

        Parameters
        ----------
        pixels
            Features of B images.
        queries
            (B, Q, width).

        Returns
        -------
        masks : list of Tensor
            Mask logits (B, Q, S / 4, S / 4), one tensor before the first layer and one after each.
        queries : Tensor
            (B, Q, width) after the last layer.
        """
        memory, keys = [], []
        for level, features in enumerate(pixels.scales):
            value = (features.flatten(2) + self.level_embed.weight[level][:, None]).transpose(1, 2)
            _, width, height, wide = features.shape
            position = encode_positions(height, wide, width, features.device)
            memory.append(value)
            keys.append(value + position.flatten(2).transpose(1, 2).to(value.dtype))
        masks = [self._predict(queries, pixels.mask_features)]
        for index in range(len(self.cross_attention)):
            level = index % _LEVELS
            blocked = _compute_blocked(masks[-1], pixels.scales[level].shape[2:])
            queries = self.cross_attention[index](queries, keys[level], memory[level], blocked)
            queries = self.self_attention[index](queries)
            queries = self.feedforward[index](queries)
            masks.append(self._predict(queries, pixels.mask_features))
        return masks, queries

    def _predict(self, queries: Tensor, mask_features: Tensor) -> Tensor:
        embedding = self.decoder_norm(queries)
        for linear in self.mask_embed[:-1]:
            embedding = F.relu(linear(embedding))
        return torch.einsum("bqc,bchw->bqhw", self.mask_embed[-1](embedding), mask_features)


@torch.no_grad()
def _compute_blocked(logits: Tensor, size: torch.Size) -> Tensor:
    """Return (B, Q, h * w) bool: cells a query must not attend to; a row that would block everything blocks nothing."""
    resized = F.interpolate(logits.detach(), size=tuple(size), mode="bilinear", align_corners=False)
    blocked = resized.flatten(2).sigmoid() < 0.5
    return blocked & ~blocked.all(dim=2, keepdim=True)


class _CrossAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, blocked: Tensor) -> Tensor:
        mask = blocked.repeat_interleave(self.attention.num_heads, dim=0)
        update = self.attention(queries, keys, values, attn_mask=mask, need_weights=False)[0]
        return cast(Tensor, self.norm(queries + update))


class _SingleQueryAttention(nn.Module):
    """Self-attention of a single query: softmax over one key is 1, so only the value projection remains."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def forward(self, queries: Tensor) -> Tensor:
        width = queries.shape[-1]
        value = F.linear(
            queries, self.attention.in_proj_weight[2 * width :], self.attention.in_proj_bias[2 * width :]
        )
        return cast(Tensor, self.norm(queries + self.attention.out_proj(value)))


class _FeedForward(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, inner)
        self.linear2 = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, queries: Tensor) -> Tensor:
        return cast(Tensor, self.norm(queries + self.linear2(F.relu(self.linear1(queries)))))
