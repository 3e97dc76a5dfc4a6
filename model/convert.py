"""An official checkpoint to this project's safetensors, every key accounted for, nothing executed.

The official layout is a folder of ``pytorch_model*.bin`` or ``*.safetensors`` shards with an index, a
``config.json`` of its own kind and the tokenizer's files. Pickled shards are read by torch's restricted
reader, which knows tensors and nothing else.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from segwatch.model import build, checkpoint, identity, tokenizer
from segwatch.model.config import SegEarthConfig
from segwatch.model.errors import CheckpointError

_PICKLED_INDEX = "pytorch_model.bin.index.json"
_LORA = re.compile(r"\.lora_[AB]\.|^base_model\.")


@dataclass(frozen=True)
class ConvertReport:
    """What a conversion did."""

    version: str
    """Name and digest that results of this model will carry."""
    keys: int
    """Keys written."""
    unused: tuple[str, ...]
    """Keys of the source that no forward pass reads; left out."""
    parameters: int
    """Numbers written."""


def convert(
    source: Path,
    target: Path,
    *,
    config_file: Path | None = None,
    dtype: torch.dtype | None = None,
    on_file: Callable[[int, int], None] = lambda done, files: None,
) -> ConvertReport:
    """Convert a folder; the target appears whole or not at all.

    Memory holds one shard at a time.

    Args:
        source: official folder, LoRA merged.
        target: new folder, see :func:`segwatch.model.build.from_pretrained`.
        config_file: ``config.json`` in this project's form; the official dimensions by default.
        dtype: what to store floating-point weights as; as they are by default.
        on_file: told (shards done, shards in all).

    Raises:
        CheckpointError: for unreadable or unsafe files, keys that are missing, surplus, misshapen or twice
            there, values that are not finite, or a target that exists.
        TokenizerError: if the tokenizer's files are missing or do not fit.
        ConfigError: for dimensions that no model can have.
    """
    if target.exists():
        raise CheckpointError(f"{target} exists and is left as it is; give a folder that does not exist")
    files = shards(source)
    shapes, place = shard_shapes(files)
    if lora := sorted(key for key in shapes if _LORA.search(key)):
        raise CheckpointError(
            f"{source}: {lora[0]} and {len(lora) - 1} more are LoRA weights beside the model's; merge them first "
            "(peft: merge_and_unload)"
        )
    config = _config(source, config_file, shapes)
    report = checkpoint.check(build.empty(config), shapes, config.siglip.layers_used, where=str(source))
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        tokenizer.load(source).save_pretrained(partial)
        text = json.dumps(config.to_dict(), indent=2) + "\n"
        (partial / "config.json").write_text(text, encoding="utf-8")
        wanted = set(shapes) - set(report.unused)
        parameters = _write(files, place, wanted, partial, dtype, on_file)
        version = identity.version(partial)
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return ConvertReport(version, len(wanted), report.unused, parameters)


def _config(source: Path, file: Path | None, shapes: Mapping[str, tuple[int, ...]]) -> SegEarthConfig:
    return build.official_config(source, shapes) if file is None else read_dimensions(file)


def read_dimensions(file: Path) -> SegEarthConfig:
    """A ``config.json`` in this project's form.

    Raises:
        CheckpointError: if it cannot be read.
        ConfigError: for another form.
    """
    try:
        return SegEarthConfig.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: no readable configuration: {error}") from error


def shards(source: Path) -> list[Path]:
    """Files of a published folder: safetensors if there are any, else pickled shards.

    Raises:
        CheckpointError: if there is neither.
    """
    if not source.is_dir():
        raise CheckpointError(f"{source}: no such folder; give the folder of the official checkpoint")
    if (source / checkpoint.INDEX).exists() or any(source.glob("*.safetensors")):
        return checkpoint.weight_files(source)
    if (source / _PICKLED_INDEX).exists():
        return checkpoint.indexed_files(source / _PICKLED_INDEX, ".bin")
    files = sorted(source.glob("pytorch_model*.bin"))
    if not files:
        raise CheckpointError(f"{source}: neither *.safetensors nor pytorch_model*.bin; download it again")
    return files


def shard_shapes(files: list[Path]) -> tuple[dict[str, tuple[int, ...]], dict[str, Path]]:
    """Shape of every tensor in some shards, and the shard that holds it.

    Raises:
        CheckpointError: for an unreadable or unsafe shard, or a tensor that two shards hold.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    place: dict[str, Path] = {}
    for file in files:
        for key, shape in _shapes_of(file).items():
            if key in place:
                raise CheckpointError(
                    f"{key} is in {place[key].name} and in {file.name}; give a folder with one of them"
                )
            shapes[key], place[key] = shape, file
    return shapes, place


def _shapes_of(file: Path) -> dict[str, tuple[int, ...]]:
    if file.suffix == ".safetensors":
        return checkpoint.file_shapes([file])
    return {key: tuple(value.shape) for key, value in _unpickled(file).items()}


def shard_tensors(file: Path, keys: list[str]) -> Iterator[tuple[str, Tensor]]:
    """Some tensors of a shard, one at a time."""
    if file.suffix == ".safetensors":
        yield from checkpoint.tensors(file, keys)
    else:
        state = _unpickled(file)
        for key in keys:
            yield key, state[key]


def _unpickled(file: Path) -> dict[str, Tensor]:
    """Tensors of a pickled shard, mapped rather than read.

    ``weights_only`` builds tensors and containers and refuses every other instruction of the pickle.
    """
    try:
        state: Any = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file}: holds more than tensors, and reading that would run code; it was not read"
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise CheckpointError(f"{file}: not a readable checkpoint ({error}); download it again") from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise CheckpointError(f"{file}: not a mapping of names to tensors; give the model's own weights")
    return state


def _write(
    files: list[Path],
    place: Mapping[str, Path],
    wanted: set[str],
    folder: Path,
    dtype: torch.dtype | None,
    on_file: Callable[[int, int], None],
) -> int:
    """One shard for each of the source's, and the index; returns how many numbers were written."""
    sources = [file for file in files if any(place[key] == file for key in wanted)]
    weight_map: dict[str, str] = {}
    parameters = size = 0
    for number, file in enumerate(sources, start=1):
        on_file(number - 1, len(sources))
        name = f"model-{number:05d}-of-{len(sources):05d}.safetensors"
        state: dict[str, Tensor] = {}
        for key, value in shard_tensors(file, sorted(key for key in wanted if place[key] == file)):
            if not value.is_floating_point():
                raise CheckpointError(f"{file}: {key} is {value.dtype}; quantised weights are not supported")
            if not bool(value.isfinite().all()):
                raise CheckpointError(f"{file}: {key} holds values that are not finite; download it again")
            # shards of tied or sliced tensors share storage, which safetensors refuses
            state[key] = value.to(dtype or value.dtype, copy=True).contiguous()
            if not bool(state[key].isfinite().all()):
                raise CheckpointError(
                    f"{file}: {key} holds values up to {float(value.abs().max()):.3g}, too large for {dtype}; convert "
                    "to bfloat16 or leave the type as it is"
                )
            parameters += value.numel()
            size += state[key].numel() * state[key].element_size()
        save_file(state, folder / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(state, name))
    on_file(len(sources), len(sources))
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / checkpoint.INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return parameters
