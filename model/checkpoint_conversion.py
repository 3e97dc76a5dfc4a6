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
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from segwatch.model import (
    checkpoint,
    folder_check,
    model_version,
    pretrained,
    prompt,
    published_weights,
    tokenizer,
)
from segwatch.model.config import SegEarthConfig
from segwatch.model.errors import CheckpointError

_MERGE_ADVICE = (
    "lm_head, pixel_decoder, predictor and SEG_token_projector are trained outside the adapter, so merging the adapter "
    "alone leaves an untrained decoder. Merge with the authors' scripts/merge_lora_weights.sh on the DeepSpeed "
    "checkpoint, and convert the folder that it writes"
)
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
    repairs: tuple[str, ...]
    """What was wrong in the source's configuration, and what was written instead."""


def convert_checkpoint(
    source: Path,
    target: Path,
    *,
    config_file: Path | None = None,
    prompt_file: Path | None = None,
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
    prompt_file
        Text file of the prompt that the weights were trained with, see :attr:`.SegEarthConfig.prompt`; None = the
        configuration's.
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
    _require_merged(source)
    files = published_weights.list_shards(source)
    shapes, place = published_weights.read_shard_shapes(files)
    if lora := sorted(key for key in shapes if _LORA.search(key)):
        raise CheckpointError(
            f"{source}: {lora[0]} and {len(lora) - 1} more are LoRA weights beside the model's, not merged; "
            f"{_MERGE_ADVICE}"
        )
    text_tokenizer = tokenizer.load_tokenizer(source)
    config, repairs = _configure(source, config_file, prompt_file, shapes, text_tokenizer)
    report = checkpoint.check_keys(
        pretrained.build_on_meta(config), shapes, config.siglip.layers_used, where=str(source)
    )
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        text_tokenizer.save_pretrained(partial)
        text = json.dumps(config.to_dict(), indent=2) + "\n"
        (partial / "config.json").write_text(text, encoding="utf-8")
        wanted = set(shapes) - set(report.unused)
        parameters = _write(files, place, wanted, partial, dtype, on_file)
        version = model_version.compute_version(partial)
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return ConversionReport(version, len(wanted), report.unused, parameters, repairs)


def _require_merged(source: Path) -> None:
    """Reject training checkpoints, which look like a model's folder and are none.

    Raises
    ------
    CheckpointError
        The folder holds ZeRO shards, or an adapter without the model; the message says what to run.
    """
    shards = [*source.glob("*_model_states.pt"), *source.glob("global_step*/*_model_states.pt")]
    if shards or (source / "zero_to_fp32.py").exists():
        raise CheckpointError(f"{source}: a DeepSpeed (ZeRO) checkpoint, not merged weights; {_MERGE_ADVICE}")
    if (source / "adapter_config.json").exists() and not (source / checkpoint.INDEX_FILE).exists():
        weights = {file.name for pattern in ("*.safetensors", "*.bin") for file in source.glob(pattern)}
        if all(name.startswith("adapter_") for name in weights):
            raise CheckpointError(f"{source}: an adapter without the model it belongs to; {_MERGE_ADVICE}")
    inside = sorted(path.name for path in source.glob("checkpoint-*") if path.is_dir())
    if inside and not any(source.glob("*.safetensors")) and not any(source.glob("*.bin")):
        raise CheckpointError(
            f"{source}: no weights, but training checkpoints ({', '.join(inside[:4])}); {_MERGE_ADVICE}"
        )


def _configure(
    source: Path,
    file: Path | None,
    prompt_file: Path | None,
    shapes: Mapping[str, tuple[int, ...]],
    text_tokenizer: PreTrainedTokenizerBase,
) -> tuple[SegEarthConfig, tuple[str, ...]]:
    """Return the configuration with the tokenizer's ids, and what had to be repaired for that."""
    if file is None:
        config = pretrained.read_official_config(source, shapes)
        repair = pretrained.describe_wrong_end(source, config)
        repairs = [] if repair is None else [repair]
    else:
        config, repairs = read_config_file(file), []
        end, seg = (tokenizer.get_token_id(text_tokenizer, token) for token in (prompt.END, prompt.SEG))
        for name, found, wanted, token in (
            ("eos_token_id", config.eos_token_id, end, prompt.END),
            ("seg_token_id", config.seg_token_id, seg, prompt.SEG),
        ):
            if found != wanted:
                repairs.append(f"{file} gives {name} {found}; {wanted}, the tokenizer's {token}, is written")
        config = replace(config, eos_token_id=end, seg_token_id=seg)
    return (config if prompt_file is None else replace(config, prompt=read_prompt(prompt_file))), tuple(
        repairs
    )


def read_prompt(file: Path) -> str:
    """Read a prompt; a single line feed at its end is not part of it.

    Raises
    ------
    CheckpointError
        The file is unreadable.
    """
    try:
        return file.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: not a readable prompt: {error}") from error


def read_config_file(file: Path) -> SegEarthConfig:
    """Read a ``config.json`` in this project's format.

    Raises
    ------
    CheckpointError
        The file is unreadable, or has numbers beyond all bounds.
    ConfigError
        It has another format, or fields of another kind.
    """
    return SegEarthConfig.from_dict(folder_check.read_config(file))


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
