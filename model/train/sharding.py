"""Spread a model over the processes of a run with FSDP, and gather it for saving.

Each process keeps a part of every weight, gradient and optimizer value and gathers one layer at a time. Source: PyTorch
FSDP, arXiv 2304.11277, in its second version (``fully_shard``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from segwatch.model.errors import ConfigError
from segwatch.model.segearth import SegEarthR2

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
_PARTIAL = StateDictOptions(full_state_dict=True, strict=False)


def shard_objective(objective: nn.Module, model: SegEarthR2, accelerator: Accelerator) -> None:
    """Spread an objective over all processes: the layers of both transformers one by one, the rest as one piece.

    Raises
    ------
    ConfigError
        There is only one process.
    """
    if not torch.distributed.is_initialized():
        raise ConfigError(
            "run.shard=true needs several processes: start with torchrun --nproc_per_node N -m segwatch.flows.cli "
            "model train RECIPE, or set run.shard=false"
        )
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    phi: Any = model.language.phi
    siglip: Any = model.vision_tower.siglip
    for layer in (*phi.layers, *siglip.encoder.layers):
        fully_shard(layer, mesh=mesh)
    fully_shard(objective, mesh=mesh, reshard_after_forward=False)


def is_spread(objective: nn.Module) -> bool:
    """Return whether an objective was spread over processes."""
    return isinstance(objective, FSDPModule)


def touch_trained(parts: Iterable[nn.Module]) -> Tensor:
    """Return a zero that depends on every trained parameter of the parts.

    A batch without targets leaves the mask branch without gradients in one process while others have them; processes
    that reduce different gradients would wait for each other forever.
    """
    trained = [value for part in parts for value in part.parameters() if value.requires_grad]
    return cast(Tensor, sum(value.float().sum() for value in trained)) * 0.0


def gather_weights(model: nn.Module) -> dict[str, Tensor]:
    """Gather the whole weights on the CPU of the first process; the others get nothing."""
    return cast("dict[str, Tensor]", get_model_state_dict(model, options=_WHOLE))


def gather_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Gather the whole optimizer state, by parameter name, on the CPU of the first process."""
    return get_optimizer_state_dict(model, optimizer, options=_WHOLE)


def spread_state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    weights: Mapping[str, Tensor],
    state: Mapping[str, Any],
) -> None:
    """Spread gathered weights, which may leave out frozen ones, and a gathered optimizer state."""
    set_model_state_dict(model, dict(weights), options=_PARTIAL)
    set_optimizer_state_dict(model, optimizer, dict(state), options=_PARTIAL)
