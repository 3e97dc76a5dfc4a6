"""Count what a training run costs: memory on each GPU and time, before any GPU is rented.

Parameters, operations and saved activations are counted exactly, by running one pass at the run's dimensions on the
"meta" device, which computes shapes alone. Memory of the allocator and of libraries, and the speed of a GPU, are
assumptions (:class:`Assumptions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from segwatch.model import pretrained
from segwatch.model.config import SegEarthConfig, make_base_config
from segwatch.model.errors import ConfigError
from segwatch.model.kv_cache import PrefixRecorder
from segwatch.model.segearth import SegEarthR2
from segwatch.model.train import lora
from segwatch.model.train.config import TrainConfig

_GIB = 1024**3
_ADAM_BYTES = 8  # two float32 values per trained parameter


@dataclass(frozen=True)
class Assumptions:
    """What a plan takes for granted; nothing of it was measured."""

    peak_tflops: float = 989.0
    """Peak of a GPU in bfloat16, TFLOP/s: an H100 SXM's, without sparsity."""
    utilisation: float = 0.2
    """Share of the peak that training reaches."""
    link_gb_per_second: float = 200.0
    """Speed at which each GPU exchanges weights and gradients with the others, GB/s."""
    text_tokens: int = 220
    """Prompt and generated text of one example, without the image's tokens."""
    targets: int = 2
    """Targets of one example."""
    spare_gib: float = 3.0
    """Memory of CUDA, libraries and the allocator's fragments on each GPU."""


@dataclass(frozen=True)
class PassCost:
    """One forward and backward pass over one process's images."""

    forward_flops: int
    backward_flops: int
    saved_bytes: int
    """Activations kept for the backward pass."""


@dataclass(frozen=True)
class GpuPlan:
    """Cost of a run on a number of GPUs."""

    gpus: int
    sharded: bool
    """Whether weights, gradients and optimizer are spread over the GPUs."""
    accumulate: int
    """Passes of each process per step."""
    weights_gib: float
    gradients_gib: float
    optimizer_gib: float
    activations_gib: float
    total_gib: float
    """On each GPU, the assumed spare memory included."""
    step_seconds: float
    hours: float
    gpu_hours: float


@dataclass(frozen=True)
class TrainingPlan:
    """Cost of a recipe."""

    trained: int
    """Trained parameters, adapters included."""
    frozen: int
    steps: int
    passes_per_step: int
    cost: PassCost
    gpus: tuple[GpuPlan, ...]
    host_gib: float
    """Memory that each process takes on the host while it loads the start, which it holds in float32."""
    assumptions: Assumptions

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)


def plan_training(
    config: TrainConfig, counts: Sequence[int] = (1, 4, 8), assumptions: Assumptions | None = None
) -> TrainingPlan:
    """Count memory and time of a recipe on several numbers of GPUs.

    Parameters
    ----------
    config
        Recipe that trains a whole model; its start decides the dimensions, the official ones if it does not exist yet.
    counts
        Numbers of GPUs; each must divide the passes of one step, which all keep.
    assumptions
        None = the defaults.

    Raises
    ------
    ConfigError
        The recipe trains the mask branch alone, or a number of GPUs does not divide its passes.
    """
    if config.masks is not None:
        raise ConfigError(
            "recipes with [masks] train the mask branch alone; plan one that trains a whole model"
        )
    passes = config.optimizer.accumulate
    if bad := [count for count in counts if count < 1 or passes % count]:
        raise ConfigError(
            f"{bad[0]} GPUs do not divide the {passes} passes per step (optimizer.accumulate); give other numbers"
        )
    given = Assumptions() if assumptions is None else assumptions
    start = config.start.checkpoint
    known = start is not None and (start / "config.json").exists()
    dims = pretrained.read_config(start) if start is not None and known else make_base_config()
    model = build_model(dims, config)
    cost = count_pass(model, config, given)
    trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    total = sum(value.numel() for value in model.parameters())
    return TrainingPlan(
        trained=trained,
        frozen=total - trained,
        steps=config.optimizer.steps,
        passes_per_step=passes,
        cost=cost,
        gpus=tuple(_plan_gpus(model, config, cost, count, given) for count in counts),
        host_gib=total * 4 / _GIB,
        assumptions=given,
    )


def build_model(dims: SegEarthConfig, config: TrainConfig) -> SegEarthR2:
    """Build the model of a run on the "meta" device, with what the run adds and freezes."""
    model = pretrained.build_on_meta(dims).train()
    if config.lora is not None:
        with torch.device("meta"):
            lora.add_adapters(model, config.lora)
    # in training mode its layers look at values, which "meta" does not have; nothing else differs
    model.pixel_decoder.eval()
    return model


def count_pass(model: SegEarthR2, config: TrainConfig, given: Assumptions) -> PassCost:
    """Run one pass, and count its operations and what it keeps; on "meta" nothing is computed.

    Losses add nothing worth counting, except the logits of the language loss, which are counted.
    """
    saved: dict[int, int] = {}
    weights = {value.untyped_storage()._cdata for value in model.parameters()}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage.nbytes()
        return value

    # every saved tensor stays alive until the backward pass, so no two of them share an address
    with (
        FlopCounterMode(display=False) as forward,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one),
    ):
        total = _run_pass(model, config, given)
    with FlopCounterMode(display=False) as backward:
        total.backward()  # type: ignore[no-untyped-call]
    return PassCost(forward.get_total_flops(), backward.get_total_flops(), sum(saved.values()))


def _run_pass(model: SegEarthR2, config: TrainConfig, given: Assumptions) -> Tensor:
    dims, images, place = model.config, config.optimizer.images, model.device
    pairs = images * config.optimizer.pairs_per_image
    half = config.run.precision == "bf16"
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        tokens = model.projector(
            model.vision_tower(
                torch.zeros(images, 3, dims.siglip.image_size, dims.siglip.image_size, device=place).to(
                    model.vision_tower.siglip.embeddings.patch_embedding.weight.dtype
                )
            )
        )
        text = model.language.embed(torch.zeros(pairs * given.text_tokens, dtype=torch.long, device=place))
        text = text.view(pairs, given.text_tokens, -1)
        spliced = torch.cat([text, tokens.repeat_interleave(pairs // images, 0)], 1)
        positions = torch.arange(spliced.shape[1], device=place).expand(pairs, -1)
        # the causal pass, without transformers' look into values that "meta" does not have
        hidden = model.language.extend(spliced, PrefixRecorder(), positions)
        logits = model.language.lm_head(hidden).float()
        queries = model.queries(hidden[:, : given.targets].reshape(pairs * given.targets, -1))
        pixels = model.pixel_features(torch.zeros(images, 3, dims.image_size, dims.image_size, device=place))
        padded = queries.view(images, -1, queries.shape[1])
        masks, _ = model.mask_decoder(pixels, padded)
    total: Tensor = logits.log_softmax(2).sum() + torch.stack([one.float().sum() for one in masks]).sum()
    return total


def _plan_gpus(
    model: SegEarthR2, config: TrainConfig, cost: PassCost, count: int, given: Assumptions
) -> GpuPlan:
    sharded = config.run.shard and count > 1
    share = count if sharded else 1
    weights = sum(value.numel() * value.element_size() for value in model.parameters())
    trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    # sharded, one layer and the pieces that are not layers are whole at a time; the latter hold the trained parts
    gathered = trained * 4 if sharded else 0
    accumulate = config.optimizer.accumulate // count
    own = weights / share + gathered
    # processes that are not sharded exchange copies of the gradients
    copies = 2 if count > 1 and not sharded else 1
    gradients, moments = copies * trained * 4 / share, trained * _ADAM_BYTES / share
    spare = given.spare_gib * _GIB
    flops = cost.forward_flops + cost.backward_flops
    compute = accumulate * flops / (given.peak_tflops * 1e12 * given.utilisation)
    # a ring sends almost every byte once for a gather or a reduction, twice for both
    ring = (count - 1) / count
    moved = ring * (accumulate * (2 * weights + trained * 4) if sharded else 2 * trained * 4)
    seconds = compute + moved / (given.link_gb_per_second * 1e9)
    hours = config.optimizer.steps * seconds / 3600
    return GpuPlan(
        gpus=count,
        sharded=sharded,
        accumulate=accumulate,
        weights_gib=own / _GIB,
        gradients_gib=gradients / _GIB,
        optimizer_gib=moments / _GIB,
        activations_gib=cost.saved_bytes / _GIB,
        total_gib=(own + gradients + moments + cost.saved_bytes + spare) / _GIB,
        step_seconds=seconds,
        hours=hours,
        gpu_hours=hours * count,
    )
