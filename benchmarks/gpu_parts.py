"""The parts of ``gpu_check.sh``: each measures one thing, and keeps every figure as soon as it has it."""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from segwatch.benchmarks import machine
from segwatch.model import model_version, parity, pretrained, prompt
from segwatch.model.predictor import Predictor

_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.15}


@dataclass
class Figures:
    """Figures of a part, in a file that is whole after each of them."""

    file: Path
    values: dict[str, Any] = field(default_factory=dict)

    def add(self, **values: Any) -> None:
        """Keep further figures."""
        self.values.update(values)
        unfinished = self.file.with_name(self.file.name + ".partial")
        unfinished.write_text(json.dumps(self.values), encoding="utf-8")
        os.replace(unfinished, self.file)


def check_parity(options: argparse.Namespace, figures: Figures) -> None:
    """Compare every stage with the record of the published code, in both precisions."""
    # TensorFloat-32 would be a third precision
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    record = options.work / "record"
    root = Path(__file__).resolve().parents[1]
    write_record = [sys.executable, "-m", "tests.support.oracle", str(record.resolve())]
    subprocess.run(write_record, cwd=root, check=True)
    for name, tolerance in _TOLERANCE.items():
        stages = parity.compare_with_reference(record, getattr(torch, name), options.device)
        worst = max(stages, key=lambda stage: stage.max_abs_diff)
        figures.add(
            **{
                f"{name}_worst": worst.max_abs_diff,
                f"{name}_worst_stage": worst.stage,
                f"{name}_within_tolerance": bool(worst.max_abs_diff <= tolerance),
            }
        )


def measure_shared(options: argparse.Namespace, figures: Figures) -> None:
    """Measure many instructions on one tile, shared against one by one, with shares of the card's peaks."""
    from segwatch.benchmarks import model

    place = pretrained.resolve_device(options.device)
    made, words, config = _make_random(options, place)
    predictor, image = Predictor(made, words, "random@gpu-check"), model._image(config.image_size)
    top = machine.peak(place, made.dtype)
    figures.add(
        parameters=sum(value.numel() for value in made.parameters()),
        dtype=str(made.dtype).removeprefix("torch."),
        peak_tflops=round(top.flops / 1e12, 2),
        peak_gb_per_second=round(top.bytes_per_second / 1e9, 1),
    )
    alone_flops = model._flops(lambda: model._predict_alone(predictor, image, model._questions(1)[0]))
    for count in (1, 4) if options.quick else (1, 4, 16, 64):
        if f"gain_k{count}" in figures.values:
            continue  # measured before an interruption
        asked = model._questions(count)
        result = model._compared(predictor, image, asked, 1 if options.quick else 3)
        work = model._flops(partial(predictor.segment, [image], asked))
        stages = model._stages(predictor, image, asked)
        weights = sum(value.numel() * value.element_size() for value in made.language.parameters())
        passes = len(prompt.tokenize(words, model._ANSWER)) + 2  # the prompt, each token, and the end
        figures.add(
            **{
                f"alone_seconds_k{count}": round(result.alone_seconds, 4),
                f"shared_seconds_k{count}": round(result.shared_seconds, 4),
                f"flop_share_k{count}": round(work / result.shared_seconds / top.flops, 4),
                f"flop_share_alone_k{count}": round(
                    count * alone_flops / result.alone_seconds / top.flops, 4
                ),
                f"words_bandwidth_share_k{count}": round(
                    weights * passes / stages["words"] / top.bytes_per_second, 4
                ),
                f"texts_equal_k{count}": result.texts_equal,
                f"masks_equal_k{count}": round(result.masks_equal, 6),
                f"gain_k{count}": round(result.gain, 2),
            }
        )


def measure_memory(options: argparse.Namespace, figures: Figures) -> None:
    """Check that a memory limit holds, and that a batch that does not fit is halved without a lost result."""
    from segwatch.benchmarks import model

    place = pretrained.resolve_device(options.device)
    made, words, config = _make_random(options, place)
    on_gpu = place.type == "cuda"
    weights_gib = torch.cuda.memory_reserved(place) / 2**30 if on_gpu else 0.0
    limit = weights_gib + (0.25 if options.quick else 8.0)
    predictor = Predictor(made, words, "random@gpu-check", memory_gib=limit)
    asked, images = model._questions(8), [model._image(config.image_size)] * (3 if options.quick else 16)
    figures.add(
        limit_gib=round(limit, 2), tiles_planned=predictor.plan.tiles, rows_planned=predictor.plan.rows
    )
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(place)
    expected = predictor.segment(images, asked)
    figures.add(results=sum(len(row) for row in expected))
    if not on_gpu:
        figures.add(halving="needs a GPU: a CPU's memory is not limited")
        return
    peak = torch.cuda.max_memory_reserved(place) / 2**30
    figures.add(peak_gib=round(peak, 2), within_limit=bool(peak <= limit + 0.01))
    predictor._tiles.size = predictor._rows.size = 64
    predictor._free *= 64
    halved = predictor.segment(images * 4, asked)
    figures.add(
        tiles_after_halving=predictor._tiles.size,
        was_halved=bool(predictor._tiles.size < 64 or predictor._rows.size < 64),
        halved_texts_equal=[one.text for one in halved[0]] == [one.text for one in expected[0]],
    )


def measure_compile(options: argparse.Namespace, figures: Figures) -> None:
    """Measure torch.compile against eager, and compare their masks."""
    from segwatch.benchmarks import model

    # after sizes that differ from those compiled before, torch would trace with symbolic sizes, which takes minutes
    torch.compiler.reset()
    place = pretrained.resolve_device(options.device)
    made, words, config = _make_random(options, place)
    image, asked = model._image(config.image_size), model._questions(4)
    eager = Predictor(made, words, "random@gpu-check")
    expected = eager.segment([image], asked)[0]
    eager_seconds = machine.seconds(lambda: eager.segment([image], asked), place, 3)
    figures.add(eager_seconds=round(eager_seconds, 4))
    # a CPU would need a C++ compiler and minutes for inductor
    backend = "eager" if options.quick else "inductor"
    compiled = Predictor(made, words, "random@gpu-check", compiler=backend)
    got = compiled.segment([image], asked)[0]
    compiled_seconds = machine.seconds(lambda: compiled.segment([image], asked), place, 3)
    same = [
        float(((one.mask_logits > 0) == (other.mask_logits > 0)).mean())
        for one, other in zip(got, expected, strict=True)
    ]
    figures.add(
        backend=backend,
        compiled_seconds=round(compiled_seconds, 4),
        gain=round(eager_seconds / compiled_seconds, 2),
        pixels_equal_least=round(min(same), 6),
        texts_equal=[one.text for one in got] == [one.text for one in expected],
    )


def train_default(options: argparse.Namespace, figures: Figures) -> None:
    """Train the default model's mask branch from its last checkpoint, resumable, within the time limit."""
    from segwatch.model.train.config import load_config
    from segwatch.model.train.run import run_training

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    on_gpu = options.device.startswith("cuda")
    sizes = (2, 6, 20) if options.quick else (64, 2500, 1600)
    changes = [
        f"data.root={options.train}",
        f"optimizer.images={sizes[0]}",
        f"optimizer.steps={sizes[1]}",
        f"data.scenes={sizes[2]}",
        "optimizer.learning_rate=2e-3",
        f"run.device={'auto' if on_gpu else 'cpu'}",
        f"run.precision={'bf16' if on_gpu else 'no'}",
        f"masks.workers={max((os.cpu_count() or 2) - 2, 0) if on_gpu else 0}",
        f"run.out={options.work / 'model'}",
        f"run.state={options.work / 'state'}",
        "run.checkpoint_minutes=1",
        f"run.stop_after_minutes={max(options.seconds / 60 - 1.0, 0.05)}",
        "run.nice=0",
        f"start.checkpoint={options.start or model_version.SHIPPED_MODEL}",
    ]
    recipes = Path(model_version.__file__).parent / "train" / "recipes"
    chosen = load_config(
        recipes / "default.toml", [*changes, *(["masks.phrases=2"] if options.quick else [])]
    )
    # the demo's imagery does not travel
    chosen = chosen.model_copy(update={"data": chosen.data.model_copy(update={"demo": None})})
    trainer = run_training(chosen)
    done = trainer.progress
    figures.add(
        steps=done.step,
        of=chosen.optimizer.steps,
        training_seconds=round(done.seconds, 1),
        images_per_second=round(done.step * chosen.optimizer.images / max(done.seconds, 1e-9), 2),
        model=str(options.work / "model"),
    )
    if done.step < chosen.optimizer.steps:
        raise SystemExit(
            f"{done.step} of {chosen.optimizer.steps} steps are saved; run the same command again"
        )


def _make_random(options: argparse.Namespace, place: torch.device) -> tuple[Any, Any, Any]:
    """Make a model with random weights, full-size unless quick, its tokenizer and its configuration."""
    from segwatch.benchmarks import model

    if options.quick:
        small = model.make_small_config()
        config = replace(
            small,
            phi=replace(small.phi, hidden_size=64, intermediate_size=128, num_layers=2, num_heads=4),
            siglip=replace(small.siglip, hidden_size=48, intermediate_size=96, num_layers=3, image_size=112),
            mask=replace(small.mask, width=32, num_heads=4, encoder_layers=1, decoder_layers=2),
            image_size=128,
        )
    else:
        config = model.make_full_config()
    dtype = torch.bfloat16 if place.type == "cuda" else torch.float32
    made, words = model._make_talking_model(config, place, dtype)
    return made, words, config


_PARTS: dict[str, Callable[[argparse.Namespace, Figures], None]] = {
    "parity": check_parity,
    "shared": measure_shared,
    "memory": measure_memory,
    "compile": measure_compile,
    "train": train_default,
}


def main(arguments: list[str] | None = None) -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("part", choices=_PARTS)
    parser.add_argument("--device", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--start", type=Path)
    options = parser.parse_args(arguments)
    kept = json.loads(options.result.read_text(encoding="utf-8")) if options.result.exists() else {}
    figures = Figures(options.result, kept)
    _PARTS[options.part](options, figures)
    if any(
        value is False for key, value in figures.values.items() if key.endswith(("tolerance", "within_limit"))
    ):
        raise SystemExit(f"{options.part}: outside its tolerance or limit: {figures.values}")


if __name__ == "__main__":
    main()
