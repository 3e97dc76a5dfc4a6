"""Estimate how many tiles and concepts SAM 3 takes at once; :mod:`segwatch.model.gpu_memory` plans and halves."""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.sam3.configuration_sam3 import Sam3Config

from segwatch.model.gpu_memory import MemorySizes


def estimate_sizes(config: Sam3Config, dtype: torch.dtype) -> MemorySizes:
    """Estimate peak bytes of a tile being encoded, and of one concept on one tile being predicted."""
    item, full = dtype.itemsize, 4
    # transformers types every part of a configuration as optional
    parts: Any = config
    vision, encoder, decoder = parts.vision_config, parts.detr_encoder_config, parts.detr_decoder_config
    backbone = vision.backbone_config
    size = int(backbone.image_size)
    side = size // int(backbone.patch_size)
    tokens = side**2
    levels = [int(side * factor) ** 2 for factor in vision.scale_factors]
    width = vision.fpn_hidden_size
    kept = 2 * sum(levels) * width * item
    # block input, normalised input, q, k, v and their rotated copies, the MLP
    block = tokens * item * (8 * backbone.hidden_size + 2 * backbone.intermediate_size)
    # the finest level is upsampled twice, first at the backbone's width
    neck = levels[0] * item * (backbone.hidden_size + 2 * width)
    fused = tokens * item * (10 * encoder.hidden_size + 2 * encoder.intermediate_size)
    # relative positions of boxes: queries x tokens for every head
    attention = decoder.num_queries * tokens * item * 3 * decoder.num_attention_heads
    copies = sum(levels[:3]) * width * item * 3
    masks = levels[0] * item * (decoder.num_queries + 3 * width)
    at_tile_size = size**2 * full * 4
    return MemorySizes(
        tile=kept + max(block, neck), row=copies + max(fused + attention, masks) + at_tile_size
    )
