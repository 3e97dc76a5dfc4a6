"""Add low-rank adapters to the language model through peft, and merge them back into plain weights.

Source: LoRA, arXiv 2106.09685.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor

from segwatch.model.segearth import SegEarthR2
from segwatch.model.train.config import Lora

_ADAPTER = "default"
_TARGETS = ["q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"]


def add_adapters(model: SegEarthR2, config: Lora) -> None:
    """Add adapters to every layer of the language model.

    In the language branch only adapters, embedding, head and projector are trained; the vision tower is frozen.
    The mask branch is trained whole.
    """
    options = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=_TARGETS
    )
    phi: Any = model.language.phi
    inject_adapter_in_model(options, phi, adapter_name=_ADAPTER)
    model.vision_tower.requires_grad_(False)
    for part in (phi.embed_tokens, phi.final_layernorm):
        part.requires_grad_(True)


@torch.no_grad()
def merge_adapters(model: SegEarthR2) -> dict[str, Tensor]:
    """Return the weights under the names of a model without adapters, each adapter merged into its layer on the CPU."""
    state: dict[str, Tensor] = dict(model.state_dict())
    for name, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        layer: Any = module
        for key in [key for key in state if key.startswith(f"{name}.")]:
            value = state.pop(key)
            if key == f"{name}.base_layer.weight":
                merged = value + layer.get_delta_weight(_ADAPTER).to(value.dtype)
                # a second copy of every layer would not fit on the device
                state[f"{name}.weight"] = merged.cpu()
            elif key == f"{name}.base_layer.bias":
                state[f"{name}.bias"] = value
    return state
