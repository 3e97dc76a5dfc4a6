"""Encoder of the mask view: Swin with a norm on each of its four outputs.

Source: Swin Transformer, arXiv 2103.14030. The backbone of transformers keeps the window size and pads at every
resolution, as Mask2Former's does.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from transformers import SwinBackbone, SwinConfig

from segwatch.model.config import SwinDims


class MaskEncoder(nn.Module):
    """Encode an image to feature maps at strides 4, 8, 16 and 32."""

    def __init__(self, dims: SwinDims) -> None:
        super().__init__()
        options: dict[str, Any] = {
            "embed_dim": dims.embed_dim,
            "depths": list(dims.depths),
            "num_heads": list(dims.num_heads),
            "window_size": dims.window_size,
            "drop_path_rate": 0.0,
            "out_features": [f"stage{index + 1}" for index in range(len(dims.depths))],
        }
        self.backbone = SwinBackbone(SwinConfig(**options))
        # the norm of the classification head: its output is not among the four maps
        swin: Any = self.backbone.swin
        swin.layernorm = nn.Identity()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encode (B, 3, S, S) normalised -> res2..res5, (B, C * 2**i, S / (4 * 2**i), S / (4 * 2**i))."""
        res2, res3, res4, res5 = cast("tuple[Tensor, ...]", self.backbone(images).feature_maps)
        return res2, res3, res4, res5
