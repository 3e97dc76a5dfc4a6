"""Load a model from a folder, and save one to a folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from transformers.models.phi.modeling_phi import PhiRotaryEmbedding
from transformers.models.siglip.modeling_siglip import SiglipVisionEmbeddings
from transformers.models.swin.modeling_swin import SwinRelativePositionBias

from segwatch.model import checkpoint, folder_check, json_files, prompt, tokenizer
from segwatch.model.config import FORMAT, SegEarthConfig, make_base_config
from segwatch.model.errors import CheckpointError, ConfigError, InputError
from segwatch.model.segearth import SegEarthR2

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode with its tokenizer."""

    model: SegEarthR2
    tokenizer: PreTrainedTokenizerBase
    report: checkpoint.LoadReport


def resolve_device(device: str | torch.device) -> torch.device:
    """Resolve a device name; "auto" = the first CUDA device if there is one, else the CPU.

    Raises
    ------
    InputError
        There is no such device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {device!r} is unknown; give auto, cpu, cuda or cuda:N") from error
    if place.type == "cuda" and (place.index or 0) >= (count := torch.cuda.device_count()):
        raise InputError(
            f"device {str(device)!r} is not available: torch {torch.__version__} sees {count} CUDA devices; give auto "
            "or cpu, or install a CUDA build of torch and the GPU's driver"
        )
    return place


def read_config(directory: Path) -> SegEarthConfig:
    """Read a folder's configuration; official folders get the official dimensions.

    For an official folder the size of the vocabulary comes from the weights and the two special ids from the
    tokenizer, because a released file has as many rows as its tokenizer has tokens.

    Raises
    ------
    CheckpointError
        The folder has no readable ``config.json`` or no weights, or numbers beyond all bounds.
    ConfigError, TokenizerError
        The configuration, or the tokenizer of an official folder, cannot be used.
    """
    data = folder_check.read_config(directory / folder_check.CONFIG_FILE)
    if data.get("model_type") in folder_check.SAM3_TYPES:
        raise CheckpointError(
            f"{directory} has weights of SAM 3, not of SegEarth-R2; SEGWATCH_MODEL=sam3 uses them"
        )
    if data.get("format") == FORMAT:
        return SegEarthConfig.from_dict(data)
    found = read_official_config(directory, checkpoint.read_shapes(checkpoint.list_weight_files(directory)))
    if (repair := describe_wrong_end(directory, found)) is not None:
        _log.warning("%s: %s", directory, repair)
    return replace(found, name=json_files.read_name(data, found.name))


def describe_wrong_end(directory: Path, config: SegEarthConfig) -> str | None:
    """Say that a folder's ``config.json`` names another end of text than its tokenizer; None if it does not.

    Merged SegEarth-R2 folders were seen with ``eos_token_id`` 2, an ordinary token: texts would not end where they
    should.
    """
    try:
        theirs = json_files.read_object(directory / "config.json").get("eos_token_id")
    except CheckpointError:
        return None
    if theirs is None or theirs == config.eos_token_id:
        return None
    own = f"{config.eos_token_id}, the tokenizer's {prompt.END}, is used"
    return f"config.json gives eos_token_id {theirs!s:.40}; {own}"


def read_official_config(directory: Path, shapes: Mapping[str, tuple[int, ...]]) -> SegEarthConfig:
    """Return the official dimensions with the vocabulary size of a folder's weights and the ids of its tokenizer.

    Raises
    ------
    ConfigError
        The tokenizer has more tokens than the weights have rows.
    TokenizerError
        There is no usable tokenizer.
    """
    rows = shapes.get("model.embed_tokens.weight", (make_base_config().phi.vocab_size,))[0]
    words = tokenizer.load_tokenizer(directory)
    return replace(
        make_base_config(),
        name=directory.resolve().name,
        phi=replace(make_base_config().phi, vocab_size=rows),
        seg_token_id=tokenizer.get_token_id(words, prompt.SEG),
        eos_token_id=tokenizer.get_token_id(words, prompt.END),
    )


def build_on_meta(config: SegEarthConfig) -> SegEarthR2:
    """Build a model on the "meta" device: shapes without values.

    Raises
    ------
    ConfigError
        The dimensions do not fit each other.
    """
    try:
        with torch.device("meta"):
            return SegEarthR2(config)
    except (ValueError, RuntimeError, TypeError, AssertionError, ArithmeticError) as error:
        raise ConfigError(f"no model can have these dimensions: {error}") from error


def build_from_weights(
    config: SegEarthConfig,
    files: list[Path],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    prefix: str = "",
) -> tuple[SegEarthR2, checkpoint.LoadReport]:
    """Build a model in evaluation mode from weight files.

    Parameters
    ----------
    config
        Dimensions.
    files
        Safetensors files with the published key names.
    device
        Device to run on.
    dtype
        Of the language model and the vision tower; the mask branch is always float32.
    prefix
        Prefix of every key in the files.
    """
    model = build_on_meta(config)
    report = checkpoint.load_weights(model, files, config.siglip.layers_used, prefix=prefix)
    _fill_buffers(model)
    return model.keep_in(dtype).to(resolve_device(device)).eval().requires_grad_(False), report


def check_pretrained(directory: Path) -> None:
    """Check that :func:`load_pretrained` could load a folder, without reading its weights.

    Raises
    ------
    CheckpointError
        A file is missing, cut or beyond all bounds, or weights and configuration do not match.
    ConfigError
        No model can have these dimensions.
    TokenizerError
        There is no usable tokenizer.
    """
    config = read_config(directory)
    shapes = checkpoint.read_shapes(checkpoint.list_weight_files(directory))
    checkpoint.check_keys(build_on_meta(config), shapes, config.siglip.layers_used, where=str(directory))
    tokenizer.load_tokenizer(directory)


def load_pretrained(
    directory: Path, device: str | torch.device = "auto", dtype: torch.dtype = torch.float32
) -> LoadedModel:
    """Load the model of a folder with ``config.json``, ``*.safetensors`` and tokenizer files.

    Raises
    ------
    CheckpointError
        Weights and configuration do not match; the message names the keys.
    TokenizerError
        There is no usable tokenizer.
    """
    config = read_config(directory)
    model, report = build_from_weights(
        config, checkpoint.list_weight_files(directory), device=device, dtype=dtype
    )
    return LoadedModel(model, tokenizer.load_tokenizer(directory), report)


def save_pretrained(
    model: SegEarthR2,
    words: PreTrainedTokenizerBase,
    directory: Path,
    dtype: torch.dtype | None = None,
    *,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write ``model.safetensors``, ``config.json`` and the tokenizer files.

    Parameters
    ----------
    model
        The model.
    words
        Its tokenizer.
    directory
        Folder, created if missing.
    dtype
        Stored dtype of the weights; None = unchanged.
    state
        The weights, if they are not simply the model's.
    """
    directory.mkdir(parents=True, exist_ok=True)
    words.save_pretrained(directory)
    checkpoint.save_weights(
        model.state_dict() if state is None else state, directory / checkpoint.WEIGHTS_FILE, dtype
    )
    text = json.dumps(model.config.to_dict(), indent=2) + "\n"
    (directory / "config.json").write_text(text, encoding="utf-8")


def _fill_buffers(model: nn.Module) -> None:
    """Compute the tables that no file contains and that "meta" left without values."""
    for module in model.modules():
        if isinstance(module, PhiRotaryEmbedding):
            frequencies, _ = module.compute_default_rope_parameters(module.config, device="cpu")
            module.inv_freq = nn.Buffer(frequencies, persistent=False)
            module.original_inv_freq = nn.Buffer(frequencies.clone(), persistent=False)
        elif isinstance(module, SiglipVisionEmbeddings):
            indices = torch.arange(module.num_positions).expand((1, -1))
            module.position_ids = nn.Buffer(indices, persistent=False)
        elif isinstance(module, SwinRelativePositionBias):
            index = module._create_relative_position_index().view(-1)
            module.relative_position_index = nn.Buffer(index, persistent=False)
    left = [name for name, value in (*model.named_parameters(), *model.named_buffers()) if value.is_meta]
    if left:
        raise CheckpointError(
            f"no values for {', '.join(left)}; this version of transformers is not supported"
        )
