"""Read weights as their authors publish them: safetensors, or pickled shards through torch's restricted reader.

Nothing in a file is executed: the restricted reader builds tensors and containers and refuses everything else.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segwatch.model import checkpoint
from segwatch.model.errors import CheckpointError

_PICKLED_INDEX = "pytorch_model.bin.index.json"


def list_shards(source: Path) -> list[Path]:
    """List the shards of a published folder: safetensors if there are any, else pickled shards.

    Raises
    ------
    CheckpointError
        The folder is missing or has neither.
    """
    if not source.is_dir():
        raise CheckpointError(f"{source}: no such folder; give one with *.safetensors or pytorch_model*.bin")
    if (source / checkpoint.INDEX_FILE).exists() or any(source.glob("*.safetensors")):
        return checkpoint.list_weight_files(source)
    if (source / _PICKLED_INDEX).exists():
        return checkpoint.list_indexed_files(source / _PICKLED_INDEX, ".bin")
    files = sorted(source.glob("pytorch_model*.bin"))
    if not files:
        raise CheckpointError(f"{source}: neither *.safetensors nor pytorch_model*.bin; download it again")
    return files


def read_shard_shapes(files: list[Path]) -> tuple[dict[str, tuple[int, ...]], dict[str, Path]]:
    """Read the shape of every tensor in some shards, and the shard that contains it.

    Raises
    ------
    CheckpointError
        A shard is unreadable or unsafe, or two shards contain the same tensor.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    place: dict[str, Path] = {}
    for file in files:
        for key, shape in _read_shapes(file).items():
            if key in place:
                raise CheckpointError(
                    f"{key} is in {place[key].name} and in {file.name}; give a folder with one of them"
                )
            shapes[key], place[key] = shape, file
    return shapes, place


def _read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    if file.suffix == ".safetensors":
        return checkpoint.read_shapes([file])
    return {key: tuple(value.shape) for key, value in _load_pickled(file).items()}


def read_shard_tensors(file: Path, keys: list[str]) -> Iterator[tuple[str, Tensor]]:
    """Read some tensors of a shard, one at a time."""
    if file.suffix == ".safetensors":
        yield from checkpoint.read_tensors(file, keys)
    else:
        state = _load_pickled(file)
        for key in keys:
            yield key, state[key]


def _load_pickled(file: Path) -> dict[str, Tensor]:
    """Load the tensors of a pickled shard, memory-mapped.

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
