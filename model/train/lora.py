"""Add low-rank adapters to the language model through peft, and merge them back into plain weights.

Source: LoRA, arXiv 2106.09685.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from segwatch.model.segearth import SegEarthR2
from segwatch.model.train.config import Lora

_ADAPTER = "default"


def add_adapters(model: SegEarthR2, config: Lora) -> None:
    """Add adapters to the language model, and freeze what the configuration does not train."""
    options = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(config.layers),
    )
    phi: Any = model.language.phi
    model.requires_grad_(False)
    inject_adapter_in_model(options, phi, adapter_name=_ADAPTER)
    parts: dict[str, nn.Module | None] = {
        "embedding": phi.embed_tokens,
        "final_norm": phi.final_layernorm,
        "lm_head": model.language.lm_head,
        "projector": model.projector,
        "mask_encoder": model.mask_encoder,
        "pixel_decoder": model.pixel_decoder,
        "query_projector": model.query_projector,
        "mask_decoder": model.mask_decoder,
        "presence": model.presence,
    }
    for name in config.whole:
        if (part := parts[name]) is not None:
            part.requires_grad_(True)
    for half in (model.language, model.vision_tower, model.projector):
        for parameter in half.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(getattr(torch, config.frozen))


@torch.no_grad()
def merge_adapters(model: SegEarthR2, weights: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Merge each adapter into its layer on the CPU.

    Parameters
    ----------
    model
        Model with or without adapters.
    weights
        Its whole weights, if the model holds only a part of them; None = the model's own.

    Returns
    -------
    dict of str to Tensor
        Weights under the names of a model without adapters; merged ones are float32, so that nothing is rounded before
        they are stored.
    """
    state: dict[str, Tensor] = dict(model.state_dict() if weights is None else weights)
    for name, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        own = {key: state.pop(key).cpu() for key in list(state) if key.startswith(f"{name}.")}
        down, up = (own[f"{name}.lora_{which}.{_ADAPTER}.weight"].float() for which in "AB")
        delta = module.scaling[_ADAPTER] * (up @ down)
        state[f"{name}.weight"] = own[f"{name}.base_layer.weight"].float() + delta
        if (bias := own.get(f"{name}.base_layer.bias")) is not None:
            state[f"{name}.bias"] = bias
    return state
