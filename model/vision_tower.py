"""Vision tower of the language view: SigLIP up to the layer whose output is the feature.

Source: SigLIP, arXiv 2303.15343, through the module of transformers.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from segwatch.model.config import SiglipDims


class VisionTower(nn.Module):
    """Encode an image to tokens. Later layers, the final norm and the pooling head never run and are not built."""

    def __init__(self, dims: SiglipDims) -> None:
        super().__init__()
        config = SiglipVisionConfig(
            hidden_size=dims.hidden_size,
            intermediate_size=dims.intermediate_size,
            num_hidden_layers=dims.layers_used,
            num_attention_heads=dims.num_heads,
            image_size=dims.image_size,
            patch_size=dims.patch_size,
            hidden_act="gelu_pytorch_tanh",
            layer_norm_eps=1e-6,
            vision_use_head=False,
        )
        tower: Any = SiglipVisionModel(config)
        tower.post_layernorm = nn.Identity()
        self.siglip = tower

    def forward(self, images: Tensor) -> Tensor:
        """Encode (B, 3, S, S) in -1..1 -> (B, N, hidden), N = (S // patch) ** 2, row by row."""
        return cast(Tensor, self.siglip(pixel_values=images).last_hidden_state)


def build_projector(vision_width: int, language_width: int) -> nn.Sequential:
    """Build two linear layers with an exact GELU between: (B, N, vision) -> (B, N, language)."""
    return nn.Sequential(
        nn.Linear(vision_width, language_width), nn.GELU(), nn.Linear(language_width, language_width)
    )
