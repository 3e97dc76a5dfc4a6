"""Predict many instructions on one tile: shared work against one full pass per instruction.

The compared loop does what the published code does: for every instruction it computes the image tokens, the whole
prompt, the text token by token with a cache, and the pixel features again. Weights, precision, prompts and texts are
the same. Weights are random, except for the head: it makes every text "Sure, it is [SEG].", like a trained model's.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, bmm_flop, sdpa_flop_count
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from segwatch.benchmarks import machine
from segwatch.model import pretrained, processor, prompt, text_generation, tokenizer
from segwatch.model.config import MaskDims, PhiDims, SegEarthConfig, SiglipDims, SwinDims, make_base_config
from segwatch.model.predictor import EncodedImages, Predictor
from segwatch.model.segearth import SegEarthR2

_ANSWER = "Sure, it is [SEG]."
_TILES = 4
_STAGES = ("language view", "shared prompt", "mask view", "words", "masks")
_VOCABULARY, _SEG, _END = 1024, 1023, 1022

out = Console(width=110, highlight=False)


@dataclass(frozen=True)
class Result:
    """Timings of one number of instructions, both ways."""

    instructions: int
    alone_seconds: float
    shared_seconds: float
    texts_equal: bool
    masks_equal: float
    """Share of pixels with the same sign, among those with a logit beyond 1e-4."""

    @property
    def gain(self) -> float:
        """Speed-up by sharing work."""
        return self.alone_seconds / self.shared_seconds


@dataclass(frozen=True)
class Counted:
    """Floating-point operations of a number of instructions on one tile, both ways."""

    alone: int
    shared: int

    @property
    def gain(self) -> float:
        """Ratio of operations without and with shared work."""
        return self.alone / self.shared


def make_mid_config() -> SegEarthConfig:
    """Make a configuration with the official model's proportions at about a twentieth of its size, for a CPU."""
    return SegEarthConfig(
        name="mid",
        phi=PhiDims(_VOCABULARY, 640, 2560, 12, 8, 0.4, 2048),
        siglip=SiglipDims(384, 1536, 12, 6, 384, 14),
        swin=SwinDims(64, (2, 2, 6, 2), (2, 4, 8, 16), 12),
        mask=MaskDims(128, 8, 4, 512, 9, 1024),
        image_size=512,
        seg_token_id=_SEG,
        eos_token_id=_END,
        max_new_tokens=32,
    )


def make_small_config() -> SegEarthConfig:
    """Make a configuration small enough to run in a minute."""
    dims = make_mid_config()
    return replace(
        dims,
        name="small",
        phi=replace(dims.phi, hidden_size=320, intermediate_size=1280, num_layers=8),
        siglip=replace(dims.siglip, hidden_size=192, intermediate_size=768, num_layers=8, num_heads=3),
        swin=replace(dims.swin, embed_dim=32, depths=(2, 2, 2, 2)),
        image_size=384,
    )


def make_full_config() -> SegEarthConfig:
    """Make a configuration with the official dimensions."""
    return replace(make_base_config(), seg_token_id=_SEG, eos_token_id=_END, max_new_tokens=32)


def run(*, quick: bool, device: str) -> dict[str, Any]:
    """Measure, print tables and return the figures."""
    place = pretrained.resolve_device(device)
    on_gpu = place.type == "cuda"
    dtype = torch.bfloat16 if on_gpu else torch.float32
    config = make_small_config() if quick else make_full_config() if on_gpu else make_mid_config()
    counts = (1, 4, 16) if quick else (1, 4, 16, 64)
    repeats = 2 if quick or not on_gpu else 3
    model, words = _make_talking_model(config, place, dtype)
    predictor = Predictor(model, words, f"{config.name}@random")
    image = _image(config.image_size)
    parameters = sum(value.numel() for value in model.parameters())
    out.print(f"{config.name}: {parameters / 1e6:.0f} M parameters, {place}, {dtype}, one tile")
    top = machine.peak(place, dtype)
    out.print(f"measured peak: {top.flops / 1e12:.2f} TFLOP/s, {top.bytes_per_second / 1e9:.0f} GB/s")
    results = [_compared(predictor, image, _questions(count), repeats) for count in counts]
    _print_results(results)
    asked = _questions(16)
    tiles = _tiles_together(predictor, image, asked, repeats)
    out.print(f"{_TILES} tiles in one call, 16 instructions: {tiles:.2f}x as fast as one by one")
    work = _flops(lambda: predictor.segment([image], asked))
    alone = _flops(lambda: _predict_alone(predictor, image, asked[0]))
    stages = _stages(predictor, image, asked)
    shared_16 = next(result for result in results if result.instructions == 16)
    weights = sum(value.numel() * value.element_size() for value in model.language.parameters())
    steps = len(prompt.tokenize(words, _ANSWER)) + 2  # the prompt, each token, and the end
    used = {
        "flop_share_of_peak": work / shared_16.shared_seconds / top.flops,
        "flop_share_of_peak_alone": 16 * alone / shared_16.alone_seconds / top.flops,
        "words_bandwidth_share_of_peak": weights * steps / stages["words"] / top.bytes_per_second,
    }
    _print_stages(stages, used)
    official = _counted(make_full_config(), counts)
    _print_official(official)
    return {
        "benchmark": "model",
        "quick": quick,
        "device": torch.cuda.get_device_name(place) if on_gpu else "cpu",
        "threads": torch.get_num_threads(),
        "dtype": str(dtype).removeprefix("torch."),
        "parameters": parameters,
        **{f"gain_k{result.instructions}": round(result.gain, 2) for result in results},
        **{
            f"tile_instructions_per_second_k{result.instructions}": round(
                result.instructions / result.shared_seconds, 3
            )
            for result in results
        },
        "gain_tiles_together": round(tiles, 2),
        "arithmetic_gain_k16": round(16 * alone / work, 2),
        **{
            f"official_arithmetic_gain_k{count}": round(counted.gain, 2)
            for count, counted in official.items()
        },
        "texts_equal": all(result.texts_equal for result in results),
        "masks_equal_least": round(min(result.masks_equal for result in results), 6),
        **{name: round(value, 3) for name, value in used.items()},
    }


@torch.no_grad()
def _make_talking_model(
    config: SegEarthConfig, device: torch.device, dtype: torch.dtype
) -> tuple[SegEarthR2, PreTrainedTokenizerBase]:
    """Make a model with random weights that generates the same text for every instruction.

    The embedding outweighs what the layers add, so the last state identifies the last token, and the head maps
    each token of the text to the next.
    """
    torch.manual_seed(0)
    with torch.device(device):
        model = SegEarthR2(config)
    words = _words()
    phi: Any = model.language.phi
    for layer in phi.layers:
        layer.self_attn.dense.weight.mul_((2 * config.phi.num_layers) ** -0.5)
        layer.mlp.fc2.weight.mul_((2 * config.phi.num_layers) ** -0.5)
    phi.embed_tokens.weight.normal_()
    head = model.language.lm_head.weight
    head.normal_(std=1e-3)
    asked = prompt.tokenize_prompt(words, "a").tolist()
    chain = [asked[-1], *dict.fromkeys(prompt.tokenize(words, _ANSWER)), _END]
    for before, after in itertools.pairwise(chain):
        state = phi.embed_tokens.weight[before]
        head[after] += (state - state.mean()) / state.std()
    return model.keep_in(dtype).eval().requires_grad_(False), words


def _words() -> PreTrainedTokenizerFast:
    return tokenizer.train_tokenizer([_ANSWER, *_questions(64)], _VOCABULARY)


def _questions(count: int) -> list[str]:
    kinds = ("water", "flooded roads", "buildings that are new", "burned ground near the river")
    return [f"segment the {kinds[index % 4]} in part {index}" for index in range(count)]


def _image(side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)


@torch.inference_mode()
def _predict_alone(predictor: Predictor, image: NDArray[np.uint8], question: str) -> tuple[str, Tensor]:
    """Predict one instruction as the published code does: nothing is kept from the instruction before."""
    model, words = predictor._model, predictor._tokenizer
    device = model.device
    clip = processor.make_language_view(image, model.config.siglip.image_size)[None].to(device)
    view = processor.make_mask_view(image, model.config.image_size)[None].to(device)
    ids = prompt.tokenize_prompt(words, question)
    embeds = model.splice([ids], model.image_tokens(clip)).embeds
    prefix = text_generation.prefill(model, embeds[:, :-1])
    text = text_generation.generate_texts(
        model, prefix, [embeds[0, -1:]], max_new_tokens=predictor.max_new_tokens
    )[0]
    states = text.hidden[(text.ids == model.config.seg_token_id).to(device)]
    pixels = model.pixel_features(view)
    masks = model.decode(pixels, model.queries(states), [len(states)])[-1]
    shape = processor.ImageShape(*image.shape[:2])
    full_size = processor.restore_image_size(masks, shape, model.config.image_size).cpu()
    return str(words.decode(text.ids.tolist(), skip_special_tokens=False)).strip(), full_size


def _compared(predictor: Predictor, image: NDArray[np.uint8], questions: list[str], repeats: int) -> Result:
    device = predictor._model.device
    # a loop of many equal passes warms up and repeats itself
    looped = len(questions) >= 4
    alone = machine.seconds(
        lambda: [_predict_alone(predictor, image, question) for question in questions],
        device,
        1 if looped else repeats,
        warm=looped,
    )
    shared = machine.seconds(lambda: predictor.segment([image], questions), device, repeats)
    together = predictor.segment([image], questions)[0]
    one_by_one = [_predict_alone(predictor, image, question) for question in questions[:4]]
    same, certain = 0, 0
    for answer, (_, masks) in zip(together, one_by_one, strict=False):
        theirs = masks.numpy()
        clear = np.abs(theirs) > 1e-4
        same += int((((answer.mask_logits > 0) == (theirs > 0)) & clear).sum())
        certain += int(clear.sum())
    texts = [answer.text for answer in together]
    return Result(
        len(questions),
        alone,
        shared,
        texts_equal=set(texts) == {one_by_one[0][0]} and prompt.SEG in texts[0],
        masks_equal=same / max(certain, 1),
    )


def _tiles_together(predictor: Predictor, image: NDArray[np.uint8], asked: list[str], repeats: int) -> float:
    device = predictor._model.device
    one = machine.seconds(lambda: predictor.segment([image], asked), device, repeats, warm=True)
    several = machine.seconds(lambda: predictor.segment([image] * _TILES, asked), device, repeats, warm=True)
    return _TILES * one / several


def _flops(work: Any) -> int:
    aten = torch.ops.aten
    # register operations that torch does not count: attention fused on a CPU, and products with another output
    # dtype
    known = {aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops, aten.bmm: _product_flops}
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        work()
    return int(counter.get_total_flops())


def _product_flops(one: Any, other: Any, *rest: Any, **options: Any) -> int:
    """From shapes."""
    return int(bmm_flop(one, other))


def _attention_flops(query: Any, key: Any, value: Any, *rest: Any, **options: Any) -> int:
    """From shapes."""
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _counted(config: SegEarthConfig, counts: Sequence[int]) -> dict[int, Counted]:
    """Count both ways on the "meta" device, so any size will do."""
    words = _words()
    model = pretrained.build_on_meta(config).keep_in(torch.bfloat16).requires_grad_(False)
    predictor = Predictor(model, words, f"{config.name}@none")
    seen: list[EncodedImages] = []
    encoding = _flops(lambda: seen.append(predictor.encode([_image(config.image_size)])))
    asked, text_tokens = _questions(max(counts)), len(prompt.tokenize(words, _ANSWER))

    @torch.inference_mode()
    def answer(count: int) -> None:
        embedded = [
            model.language.embed(prompt_end.to(model.device))
            for prompt_end in (
                prompt.tokenize_prompt(words, one)[len(predictor._prefix_ids) :] for one in asked[:count]
            )
        ]
        batch = text_generation.DecodingBatch(model, seen[0].prefix, embedded, text_tokens + 1)
        for _ in range(text_tokens):
            batch.compute_logits()
            hidden = batch.append(torch.empty(count, dtype=torch.long, device=model.device))
        batch.compute_logits()
        model.decode(seen[0].pixels, model.queries(hidden), [count])

    answering = {count: _flops(partial(answer, count)) for count in {1, *counts}}
    return {
        count: Counted(count * (encoding + answering[1]), encoding + answering[count]) for count in counts
    }


def _stages(predictor: Predictor, image: NDArray[np.uint8], questions: list[str]) -> dict[str, float]:
    """Return seconds in each stage of one shared prediction, on the device's clock if it has one."""
    on_gpu = predictor._model.device.type == "cuda"
    activities = [torch.profiler.ProfilerActivity.CPU]
    if on_gpu:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        predictor.segment([image], questions)
    found = {row.key: row for row in profile.key_averages()}
    seconds = {}
    for stage in _STAGES:
        row: Any = found[stage]
        seconds[stage] = (row.device_time_total if on_gpu else row.cpu_time_total) / 1e6
    return seconds


def _print_results(results: list[Result]) -> None:
    table = Table("instructions", "one by one", "shared", "gain", "tile x instructions / s", "masks equal")
    for result in results:
        table.add_row(
            str(result.instructions),
            f"{result.alone_seconds:.2f} s",
            f"{result.shared_seconds:.2f} s",
            f"{result.gain:.1f}x",
            f"{result.instructions / result.shared_seconds:.2f}",
            f"{result.masks_equal:.4%}",
        )
    out.print(table)


def _print_official(official: dict[int, Counted]) -> None:
    table = Table("instructions, official shapes", "TFLOP one by one", "TFLOP shared", "ratio")
    for count, counted in official.items():
        table.add_row(
            str(count), f"{counted.alone / 1e12:.1f}", f"{counted.shared / 1e12:.1f}", f"{counted.gain:.1f}x"
        )
    out.print(table)


def _print_stages(stages: dict[str, float], used: dict[str, float]) -> None:
    table = Table("stage, 16 instructions", "seconds", "share")
    whole = sum(stages.values())
    for stage, seconds in stages.items():
        table.add_row(stage, f"{seconds:.3f}", f"{seconds / whole:.0%}")
    out.print(table)
    out.print(
        f"shared: {used['flop_share_of_peak']:.0%} of the measured peak FLOP/s; one by one: "
        f"{used['flop_share_of_peak_alone']:.0%}; words: {used['words_bandwidth_share_of_peak']:.0%} of the "
        "measured bandwidth for the weights alone"
    )
