"""Check a model's folder before torch allocates anything: bounds of its configuration, headers of its weights.

The same for SegEarth-R2 and SAM 3. Needs no torch. Names and shapes of the weights are compared in
:mod:`segwatch.model.checkpoint`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from segwatch.model import json_files
from segwatch.model.errors import CheckpointError

CONFIG_FILE = "config.json"
#: ``model_type`` of SAM 3's image model, and of the video model whose folder the hub has: it holds the former as its
#: detector.
SAM3_TYPES = ("sam3", "sam3_video")
#: Bounds of numbers anywhere in a configuration, far above those of the published models.
_MAX_NUMBERS = {
    "image_size": 4096,
    "patch_size": 256,
    "hidden_size": 16_384,
    "fpn_hidden_size": 16_384,
    "intermediate_size": 65_536,
    "num_hidden_layers": 256,
    "num_layers": 256,
    "num_attention_heads": 1024,
    "num_heads": 1024,
    "num_queries": 10_000,
    "vocab_size": 1_000_000,
    "max_position_embeddings": 65_536,
    "max_positions": 65_536,
    "max_new_tokens": 4096,
    "embed_dim": 4096,
    "depths": 256,
    "window_size": 256,
    "width": 4096,
    "encoder_layers": 256,
    "decoder_layers": 256,
    "encoder_feedforward": 65_536,
    "decoder_feedforward": 65_536,
}
_MAX_CONFIG_BYTES, _MAX_HEADER_BYTES = 1 << 20, 100 << 20
#: Of a tensor, so that the product of its sides is not computed from thousands of long numbers.
_MAX_SIDES, _MAX_SIDE = 16, 1 << 40
_ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip


def read_config(file: Path) -> dict[str, Any]:
    """Read a model's configuration, a JSON object whose dimensions are within bounds.

    Raises
    ------
    CheckpointError
        The file is missing, unreadable or too large, is no object, or has a number beyond all bounds or a width that
        its heads cannot share.
    """
    if not file.exists():
        raise CheckpointError(
            f"{file.parent}: no {file.name}; give a folder with {file.name} and *.safetensors"
        )
    data = json_files.read_object(file, most_bytes=_MAX_CONFIG_BYTES)
    for name, value in _list_numbers(data):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_NUMBERS[name]:
            raise CheckpointError(
                f"{file}: {name} is {value!r}, not a whole number from 1 to {_MAX_NUMBERS[name]}; take the one of "
                "these weights"
            )
    for width, heads in _list_widths(data):
        if width % heads:
            raise CheckpointError(
                f"{file}: hidden_size {width} is not a multiple of {heads} heads; take the one of these weights"
            )
    return data


def _list_parts(node: Any) -> Iterator[dict[str, Any]]:
    """List the objects of a configuration, however deeply they lie."""
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()


def _list_widths(node: Any) -> Iterator[tuple[int, int]]:
    """List width and number of heads of every part of a configuration whose numbers are within bounds."""
    for part in _list_parts(node):
        width, heads = part.get("hidden_size"), part.get("num_attention_heads") or part.get("num_heads")
        if isinstance(width, int) and isinstance(heads, int):
            yield width, heads


def _list_numbers(node: Any) -> Iterator[tuple[str, Any]]:
    """List the bounded numbers of a configuration, in its parts and lists, too."""
    for part in _list_parts(node):
        for name in part.keys() & _MAX_NUMBERS.keys():
            for value in part[name] if isinstance(part[name], list) else [part[name]]:
                if value is not None and not isinstance(value, dict):
                    yield name, value


def check_header(file: Path) -> None:
    """Compare the header of a safetensors file with its size: 8 bytes of length, JSON, then the tensors.

    Raises
    ------
    CheckpointError
        The file is unreadable, no safetensors file, cut or damaged.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
                raise CheckpointError(
                    f"{file}: not a readable safetensors file: no header, or a cut one; download it again"
                )
            header: Any = json.loads(stream.read(length))
        tensors = {name: one for name, one in header.items() if name != "__metadata__"}
        ends = [_check_tensor(file, name, one) for name, one in tensors.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise CheckpointError(
            f"{file}: not a readable safetensors file: its header is damaged; download it again"
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
