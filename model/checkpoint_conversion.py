"""Convert an official checkpoint to this project's safetensors: every key accounted for, nothing executed.

The official layout is a folder of ``pytorch_model*.bin`` or ``*.safetensors`` shards with an index, a ``config.json``
of its own format and tokenizer files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from segwatch.model import checkpoint, model_version, pretrained, published_weights, tokenizer
from segwatch.model.config import SegEarthConfig
from segwatch.model.errors import CheckpointError

_LORA = re.compile(r"\.lora_[AB]\.|^base_model\.")


@dataclass(frozen=True)
class ConversionReport:
    """Result of a conversion."""

    version: str
    """Model version that results will carry: name and digest."""
    keys: int
    """Number of keys written."""
    unused: tuple[str, ...]
    """Keys of the source that no forward pass reads; left out."""
    parameters: int
    """Number of values written."""


def convert_checkpoint(
    source: Path,
    target: Path,
    *,
    config_file: Path | None = None,
    dtype: torch.dtype | None = None,
    on_file: Callable[[int, int], None] = lambda done, files: None,
) -> ConversionReport:
    """Convert a folder, one shard in memory at a time; the target appears whole or not at all.

    Parameters
    ----------
    source
        Official folder, LoRA weights merged.
    target
        New folder, see :func:`segwatch.model.pretrained.load_pretrained`.
    config_file
        ``config.json`` in this project's format; None = the official dimensions.
    dtype
        Stored dtype of floating-point weights; None = unchanged.
    on_file
        Called with (shards done, total shards).

    Raises
    ------
    CheckpointError
        A file is unreadable or unsafe, keys are missing, unexpected, misshapen or duplicate, values are not
        finite, or the target exists.
    TokenizerError
        Tokenizer files are missing or do not fit.
    ConfigError
        No model can have these dimensions.
    """
    if target.exists():
        raise CheckpointError(f"{target} exists and is left unchanged; give a folder that does not exist")
    files = published_weights.list_shards(source)
    shapes, place = published_weights.read_shard_shapes(files)
    if lora := sorted(key for key in shapes if _LORA.search(key)):
        raise CheckpointError(
            f"{source}: {lora[0]} and {len(lora) - 1} more are LoRA weights beside the model's; merge them first "
            "(peft: merge_and_unload)"
        )
    config = _config(source, config_file, shapes)
    report = checkpoint.check_keys(
        pretrained.build_on_meta(config), shapes, config.siglip.layers_used, where=str(source)
    )
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        tokenizer.load_tokenizer(source).save_pretrained(partial)
        text = json.dumps(config.to_dict(), indent=2) + "\n"
        (partial / "config.json").write_text(text, encoding="utf-8")
        wanted = set(shapes) - set(report.unused)
        parameters = _write(files, place, wanted, partial, dtype, on_file)
        version = model_version.compute_version(partial)
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return ConversionReport(version, len(wanted), report.unused, parameters)


def _config(source: Path, file: Path | None, shapes: Mapping[str, tuple[int, ...]]) -> SegEarthConfig:
    return pretrained.read_official_config(source, shapes) if file is None else read_config_file(file)


def read_config_file(file: Path) -> SegEarthConfig:
    """Read a ``config.json`` in this project's format.

    Raises
    ------
    CheckpointError
        The file is unreadable.
    ConfigError
        It has another format.
    """
    try:
        return SegEarthConfig.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: not a readable configuration: {error}") from error


def _write(
    files: list[Path],
    place: Mapping[str, Path],
    wanted: set[str],
    folder: Path,
    dtype: torch.dtype | None,
    on_file: Callable[[int, int], None],
) -> int:
    """Write one shard for each of the source's, and the index; return the number of values written."""
    sources = [file for file in files if any(place[key] == file for key in wanted)]
    weight_map: dict[str, str] = {}
    parameters = size = 0
    for number, file in enumerate(sources, start=1):
        on_file(number - 1, len(sources))
        name = f"model-{number:05d}-of-{len(sources):05d}.safetensors"
        state: dict[str, Tensor] = {}
        for key, value in published_weights.read_shard_tensors(
            file, sorted(key for key in wanted if place[key] == file)
        ):
            if not value.is_floating_point():
                raise CheckpointError(f"{file}: {key} is {value.dtype}; quantised weights are not supported")
            if not bool(value.isfinite().all()):
                raise CheckpointError(f"{file}: {key} holds values that are not finite; download it again")
            # copy: tied or sliced tensors share storage, which safetensors refuses
            state[key] = value.to(dtype or value.dtype, copy=True).contiguous()
            if not bool(state[key].isfinite().all()):
                raise CheckpointError(
                    f"{file}: {key} holds values up to {float(value.abs().max()):.3g}, too large for {dtype}; convert "
                    "to bfloat16 or keep the dtype"
                )
            parameters += value.numel()
            size += state[key].numel() * state[key].element_size()
        save_file(state, folder / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(state, name))
    on_file(len(sources), len(sources))
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / checkpoint.INDEX_FILE).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return parameters
