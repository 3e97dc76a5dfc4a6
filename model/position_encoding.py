"""Sine position encoding of feature maps. Source: DETR, arXiv 2005.12872."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TEMPERATURE = 10000.0


def encode_positions(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Encode pixel positions, normalised to one turn over the map.

    Returns
    -------
    Tensor
        (1, channels, height, width) float32: the first half of the channels from y, the second from x.
    """
    half = channels // 2
    index = torch.arange(half, dtype=torch.float32, device=device)
    frequency = _TEMPERATURE ** (2 * torch.div(index, 2, rounding_mode="floor") / half)

    def axis(length: int) -> Tensor:
        steps = torch.arange(1, length + 1, dtype=torch.float32, device=device)
        angle = (steps / (length + 1e-6) * 2 * math.pi)[:, None] / frequency
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)

    rows = axis(height)[:, None].expand(height, width, half)
    columns = axis(width)[None].expand(height, width, half)
    return torch.cat((rows, columns), dim=2).permute(2, 0, 1)[None]
