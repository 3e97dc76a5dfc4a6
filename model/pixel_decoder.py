"""Pixel decoder: deformable attention over three scales, then one step up to stride 4.

Source: Mask2Former, arXiv 2112.01527. The encoder layers come from transformers. The step to stride 4 does not: here
both convolutions have a bias and end in a ReLU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoderEncoderLayer

from segwatch.model.config import MaskDims
from segwatch.model.position_encoding import encode_positions

_LEVELS = 3
_POINTS = 4
_GROUPS = 32


@dataclass(frozen=True)
class PixelFeatures:
    """Input of the mask decoder; one row per image."""

    mask_features: Tensor
    """(B, width, S / 4, S / 4)."""
    scales: tuple[Tensor, Tensor, Tensor]
    """(B, width, h, w) at strides 32, 16, 8."""

    def select(self, begin: int, end: int) -> PixelFeatures:
        """Select the images ``begin`` to ``end``, without copying."""
        s32, s16, s8 = (scale[begin:end] for scale in self.scales)
        return PixelFeatures(self.mask_features[begin:end], (s32, s16, s8))


class PixelDecoder(nn.Module):
    """Decode res2..res5 to :class:`PixelFeatures`."""

    def __init__(self, dims: MaskDims, channels: Sequence[int]) -> None:
        super().__init__()
        width = dims.width
        coarse_first = channels[:0:-1]
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, width, 1), nn.GroupNorm(_GROUPS, width))
            for inputs in coarse_first
        )
        self.level_embed = nn.Parameter(torch.empty(_LEVELS, width))
        config = Mask2FormerConfig(
            feature_size=width,
            num_attention_heads=dims.num_heads,
            encoder_feedforward_dim=dims.encoder_feedforward,
            dropout=0.0,
        )
        self.layers = nn.ModuleList(
            Mask2FormerPixelDecoderEncoderLayer(config) for _ in range(dims.encoder_layers)
        )
        self.adapter_1 = _conv_norm_relu(channels[0], width, kernel=1)
        self.layer_1 = _conv_norm_relu(width, width, kernel=3)
        self.mask_features = nn.Conv2d(width, width, 1)
        self._reset(dims.num_heads)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor, Tensor]) -> PixelFeatures:
        """Decode four feature maps of the mask view, finest first."""
        res2, *rest = maps
        inputs = [project(level) for project, level in zip(self.input_proj, reversed(rest), strict=True)]
        shapes = [(level.shape[2], level.shape[3]) for level in inputs]
        width, device = inputs[0].shape[1], res2.device
        positions = torch.cat(
            [
                encode_positions(height, wide, width, device).flatten(2).transpose(1, 2) + embed
                for (height, wide), embed in zip(shapes, self.level_embed, strict=True)
            ],
            dim=1,
        ).to(res2.dtype)
        reference = _reference_points(shapes, device).to(res2.dtype)
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in inputs], dim=1)
        for layer in self.layers:
            tokens = layer(
                tokens,
                attention_mask=None,
                position_embeddings=positions.expand(tokens.shape[0], -1, -1),
                reference_points=reference.expand(tokens.shape[0], -1, -1, -1),
                spatial_shapes_list=shapes,
            )[0]
        parts = torch.split(tokens, [height * wide for height, wide in shapes], dim=1)
        s32, s16, s8 = (
            part.transpose(1, 2).reshape(-1, width, *shape) for part, shape in zip(parts, shapes, strict=True)
        )
        upsampled = F.interpolate(s8, size=res2.shape[-2:], mode="bilinear", align_corners=False)
        fine = self.layer_1(self.adapter_1(res2) + upsampled)
        return PixelFeatures(self.mask_features(fine), (s32, s16, s8))

    @torch.no_grad()
    def _reset(self, heads: int) -> None:
        """Initialise as Deformable DETR does: each head samples in its own direction, farther out at each point."""
        nn.init.normal_(self.level_embed)
        projections: Any = self.input_proj
        layers: Any = self.layers
        for project in projections:
            nn.init.xavier_uniform_(project[0].weight)
            nn.init.zeros_(project[0].bias)
        angle = torch.arange(heads, dtype=torch.float32) * (2 * math.pi / heads)
        direction = torch.stack((angle.cos(), angle.sin()), dim=1)
        direction = direction / direction.abs().amax(dim=1, keepdim=True)
        reach = torch.arange(1, _POINTS + 1, dtype=torch.float32)
        bias = (direction[:, None, None] * reach[:, None]).expand(heads, _LEVELS, _POINTS, 2).flatten()
        for layer in layers:
            attention = layer.self_attn
            nn.init.zeros_(attention.sampling_offsets.weight)
            if not attention.sampling_offsets.bias.is_meta:
                attention.sampling_offsets.bias.copy_(bias)
            nn.init.zeros_(attention.attention_weights.weight)
            nn.init.zeros_(attention.attention_weights.bias)
            for linear in (attention.value_proj, attention.output_proj):
                nn.init.xavier_uniform_(linear.weight)
                nn.init.zeros_(linear.bias)


def _conv_norm_relu(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.GroupNorm(_GROUPS, outputs), nn.ReLU()
    )


def _reference_points(shapes: list[tuple[int, int]], device: torch.device) -> Tensor:
    """Return (1, sum of h * w, levels, 2): pixel centres, x then y in 0..1, the same for every level."""
    points = []
    for height, width in shapes:
        y = (torch.arange(height, dtype=torch.float32, device=device) + 0.5) / height
        x = (torch.arange(width, dtype=torch.float32, device=device) + 0.5) / width
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        points.append(torch.stack((columns, rows), dim=2).flatten(0, 1))
    return torch.cat(points)[None, :, None].expand(-1, -1, _LEVELS, -1)
