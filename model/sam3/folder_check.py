"""Check a folder of SAM 3 before torch allocates anything: bounds of its configuration, headers of its weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from segwatch.model.errors import CheckpointError

#: ``model_type`` of the image model, and of the video model whose folder the hub has: it holds the former as its
#: detector.
_MODEL_TYPES = ("sam3", "sam3_video")
#: Bounds of numbers anywhere in the configuration; SAM 3 has images of 1008 pixels and widths up to 4736.
_MOST = {
    "image_size": 4096,
    "hidden_size": 16_384,
    "intermediate_size": 65_536,
    "num_hidden_layers": 256,
    "num_layers": 256,
    "num_queries": 10_000,
    "vocab_size": 1_000_000,
    "max_position_embeddings": 65_536,
}
_MAX_CONFIG_BYTES, _MAX_HEADER_BYTES = 1 << 20, 100 << 20
#: Of a tensor, so that the product of its sides is not computed from thousands of long numbers.
_MAX_SIDES, _MAX_SIDE = 16, 1 << 40
_ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip


def check_folder(folder: Path) -> None:
    """Check ``config.json`` and every ``*.safetensors`` of a folder of SAM 3.

    Raises
    ------
    CheckpointError
        A file is unreadable or cut, of another model, or has numbers beyond all bounds.
    """
    _check_config(folder / "config.json")
    for file in sorted(folder.glob("*.safetensors")):
        _check_weights(file)


def _check_config(file: Path) -> None:
    try:
        if file.stat().st_size > _MAX_CONFIG_BYTES:
            raise CheckpointError(f"{file}: more than {_MAX_CONFIG_BYTES} bytes; take that of facebook/sam3")
        data: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: not readable ({error}); take that of facebook/sam3") from error
    kind = data.get("model_type") if isinstance(data, dict) else None
    if kind not in _MODEL_TYPES:
        raise CheckpointError(
            f"{file}: model_type is {kind!r}, not 'sam3'; give the folder of facebook/sam3, or leave SEGWATCH_MODEL "
            "out for weights of SegEarth-R2"
        )
    for name, value in _list_numbers(data):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST[name]:
            raise CheckpointError(
                f"{file}: {name} is {value!r}, not a whole number from 1 to {_MOST[name]}; take that of facebook/sam3"
            )


def _list_numbers(node: Any) -> Iterator[tuple[str, Any]]:
    """List the bounded numbers of a configuration, in its parts, too."""
    waiting = [node]
    while waiting:
        part = waiting.pop()
        for name, value in part.items() if isinstance(part, dict) else ():
            if name in _MOST and value is not None:
                yield name, value
            else:
                waiting.append(value)


def _check_weights(file: Path) -> None:
    """Compare the header of a safetensors file with its size: 8 bytes of length, JSON, then the tensors."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
            raise CheckpointError(f"{file}: no header of safetensors, or a cut one; download it again")
        try:
            header: Any = json.loads(stream.read(length))
            tensors = {name: one for name, one in header.items() if name != "__metadata__"}
            ends = [_check_tensor(file, name, one) for name, one in tensors.items()]
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise CheckpointError(
                f"{file}: the header of safetensors is not readable; download it again"
            ) from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise CheckpointError(
            f"{file}: {size} bytes instead of {expected}; it is cut or damaged, download it again"
        )


def _check_tensor(file: Path, name: str, one: Any) -> int:
    """Check that a tensor has as many bytes as its shape and type need; return where it ends."""
    begin, end = (int(at) for at in one["data_offsets"])
    if len(one["shape"]) > _MAX_SIDES or not all(0 <= int(side) <= _MAX_SIDE for side in one["shape"]):
        raise ValueError("a shape that no tensor has")
    needed = prod(int(side) for side in one["shape"]) * _ITEM_BYTES[one["dtype"]]
    if end - begin != needed:
        raise CheckpointError(
            f"{file}: {name} has {end - begin} bytes, its shape needs {needed}; download it again"
        )
    return end
