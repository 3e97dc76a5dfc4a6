"""Load and save weights as safetensors, translating between this project's parameter names and the published ones.

Files always use the published names, whoever wrote them, and every key is accounted for. Pickles are refused, because
reading one can run code.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from segwatch.model import json_files
from segwatch.model.errors import CheckpointError
from segwatch.model.folder_check import check_header

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_SHOWN = 4
#: Fixed statistics of norms are stored in full precision: their range is too wide for half precision.
_STATISTICS = (".running_mean", ".running_var")

# our parameter name (regular expression) -> published name; the first match applies
_RULES: tuple[tuple[str, str], ...] = (
    (r"language\.lm_head\.", r"lm_head."),
    (r"language\.phi\.", r"model."),
    (r"vision_tower\.siglip\.", r"model.vision_tower.vision_model."),
    (r"projector\.", r"model.mm_projector."),
    (
        r"mask_encoder\.backbone\.swin\.embeddings\.patch_embeddings\.projection\.",
        r"model.vision_tower_mask.patch_embed.proj.",
    ),
    (r"mask_encoder\.backbone\.swin\.embeddings\.norm\.", r"model.vision_tower_mask.patch_embed.norm."),
    (r"mask_encoder\.backbone\.swin\.encoder\.", r"model.vision_tower_mask."),
    (r"pixel_decoder\.(level_embed)$", r"pixel_decoder.transformer.\1"),
    (r"pixel_decoder\.layers\.", r"pixel_decoder.transformer.encoder.layers."),
    (r"query_projector\.", r"SEG_token_projector."),
    (
        r"mask_decoder\.cross_attention\.(\d+)\.attention\.",
        r"predictor.transformer_cross_attention_layers.\1.multihead_attn.",
    ),
    (r"mask_decoder\.cross_attention\.", r"predictor.transformer_cross_attention_layers."),
    (
        r"mask_decoder\.self_attention\.(\d+)\.attention\.",
        r"predictor.transformer_self_attention_layers.\1.self_attn.",
    ),
    (r"mask_decoder\.self_attention\.", r"predictor.transformer_self_attention_layers."),
    (r"mask_decoder\.feedforward\.", r"predictor.transformer_ffn_layers."),
    (r"mask_decoder\.mask_embed\.", r"predictor.mask_embed.layers."),
    (r"mask_decoder\.", r"predictor."),
)
_SWIN_RULES: tuple[tuple[str, str], ...] = (
    (r"\.attention\.o_proj\.", r".attn.proj."),
    (r"\.attention\.relative_position_bias\.", r".attn."),
    (r"\.layernorm_before\.", r".norm1."),
    (r"\.layernorm_after\.", r".norm2."),
)
_ENCODER_LAYER_RULES: tuple[tuple[str, str], ...] = (
    (r"\.self_attn_layer_norm\.", r".norm1."),
    (r"\.final_layer_norm\.", r".norm2."),
    (r"\.fc([12])\.", r".linear\1."),
)
_SWIN_NORM = re.compile(r"mask_encoder\.backbone\.hidden_states_norms\.stage(\d+)\.(\w+)$")
_SWIN_PART = re.compile(r"(.*)\.attention\.([qkv])_proj\.(weight|bias)$")
_UNUSED = re.compile(
    r"predictor\.(query_feat|query_embed|SEG_query_embed|new_query_embed|SEG_proj|CLASS_proj)\."
    r"|criterion\."
    r"|model\.vision_tower\.vision_model\.(head|post_layernorm)\."
    r"|model\.vision_tower_mask\..*\.relative_position_index$"
    r"|model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq$"
    r"|model\.vision_tower\.vision_model\.embeddings\.position_ids$"
)
_SIGLIP_LAYER = re.compile(r"model\.vision_tower\.vision_model\.encoder\.layers\.(\d+)\.")


@dataclass(frozen=True)
class TensorOrigin:
    """The published tensor that one of our parameters comes from."""

    key: str
    part: int | None
    """Which third of the rows (query, key, value); None = the whole tensor."""


@dataclass(frozen=True)
class LoadReport:
    """What a load did with the file's keys."""

    loaded: int
    """Number of keys loaded into the model."""
    unused: tuple[str, ...]
    """Keys that published files contain but no forward pass reads."""


def find_origin(name: str) -> TensorOrigin:
    """Find the published name of one of our parameters."""
    if match := _SWIN_NORM.match(name):
        return TensorOrigin(f"model.vision_tower_mask.norm{int(match[1]) - 1}.{match[2]}", None)
    part = None
    key = name
    if name.startswith("mask_encoder.") and (match := _SWIN_PART.match(name)):
        part = "qkv".index(match[2])
        key = f"{match[1]}.attn.qkv.{match[3]}"
    extra = _SWIN_RULES if name.startswith("mask_encoder.") else ()
    extra = _ENCODER_LAYER_RULES if name.startswith("pixel_decoder.layers.") else extra
    for pattern, replacement in extra:
        key = re.sub(pattern, replacement, key)
    for pattern, replacement in _RULES:
        key, hits = re.subn("^" + pattern, replacement, key)
        if hits:
            break
    return TensorOrigin(key, part)


def list_expected_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """List the shape of every key that the model needs, by published name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, value in model.state_dict().items():
        source = find_origin(name)
        shape = tuple(value.shape)
        shapes[source.key] = shape if source.part is None else (3 * shape[0], *shape[1:])
    return shapes


def is_unused(key: str, siglip_layers_used: int) -> bool:
    """Return whether a published file may contain a key that no forward pass reads."""
    if match := _SIGLIP_LAYER.match(key):
        return int(match[1]) >= siglip_layers_used
    return _UNUSED.match(key) is not None


def check_keys(
    model: nn.Module, shapes: Mapping[str, tuple[int, ...]], siglip_layers_used: int, *, where: str
) -> LoadReport:
    """Compare a file's keys and shapes with those the model needs.

    Raises
    ------
    CheckpointError
        Keys are missing, unexpected or have another shape; the message names them.
    """
    wanted = list_expected_shapes(model)
    unused = tuple(sorted(key for key in shapes if key not in wanted and is_unused(key, siglip_layers_used)))
    used = {key: shape for key, shape in shapes.items() if key not in unused}
    compare_shapes(wanted, used, where=where, advice="use the config.json of these weights")
    return LoadReport(loaded=len(wanted), unused=unused)


def compare_shapes(
    wanted: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
    *,
    where: str,
    advice: str,
) -> None:
    """Compare names and shapes of weights with those that a model of the configuration has.

    Parameters
    ----------
    wanted
        Shape by name of what the model needs.
    found
        Shape by name of what the files hold for it.
    where
        Files or folder, for the message.
    advice
        What to do about it, for the message.

    Raises
    ------
    CheckpointError
        Names are missing, unexpected or have another shape; the message names them with both shapes.
    """
    misshapen = [
        f"{key} {found[key]} instead of {wanted[key]}"
        for key in sorted(set(wanted) & set(found))
        if found[key] != wanted[key]
    ]
    problems = [
        f"{word}: {_shorten(keys)}"
        for word, keys in (
            ("missing", sorted(set(wanted) - set(found))),
            ("unexpected", sorted(set(found) - set(wanted))),
            ("misshapen", misshapen),
        )
        if keys
    ]
    if problems:
        raise CheckpointError(f"{where} does not fit the configuration; {'; '.join(problems)}; {advice}")


def list_weight_files(directory: Path) -> list[Path]:
    """List the safetensors files of a folder, from its index if it has one.

    Raises
    ------
    CheckpointError
        There are none, one is missing, or an index names a file outside the folder.
    """
    index = directory / INDEX_FILE
    if index.exists():
        return list_indexed_files(index, ".safetensors")
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        pickles = sorted(
            file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in directory.glob(pattern)
        )
        hint = (
            f" ({_shorten(pickles)} would run code when read; use segwatch model convert)" if pickles else ""
        )
        raise CheckpointError(f"{directory}: no .safetensors file{hint}")
    return files


def list_indexed_files(index: Path, suffix: str) -> list[Path]:
    """List the files that an index names, all in its own folder.

    Raises
    ------
    CheckpointError
        The index is unreadable, a file is missing, or it names a file outside the folder.
    """
    try:
        names = sorted({str(one) for one in json_files.read_object(index)["weight_map"].values()})
    except (CheckpointError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{index}: not a readable index ({error}); download it again") from error
    if outside := [name for name in names if Path(name).name != name or not name.endswith(suffix)]:
        raise CheckpointError(f"{index}: {_shorten(outside)} is not a {suffix} file of this folder")
    files = [index.parent / name for name in names]
    if gone := [file.name for file in files if not file.exists()]:
        raise CheckpointError(
            f"{index.parent}: {_shorten(gone)} named in {index.name} is missing; download it again"
        )
    return files


def read_tensors(file: Path, keys: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
    """Read some tensors of a file, one at a time."""
    with _open(file) as stream:
        for key in keys:
            yield key, stream.get_tensor(key)


def read_shapes(files: Iterable[Path], prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Read the shape of every tensor from the headers of the files; keys without ``prefix``.

    Raises
    ------
    CheckpointError
        A file is unreadable, or two files contain the same tensor.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    place: dict[str, Path] = {}
    for file in files:
        with _open(file) as tensors:
            for key in tensors.keys():  # noqa: SIM118 - not a mapping
                if (other := place.setdefault(key, file)) != file:
                    raise CheckpointError(
                        f"{key} is in {other.name} and in {file.name} of {file.parent}; give a folder with one of them"
                    )
                shapes[key.removeprefix(prefix)] = tuple(tensors.get_slice(key).get_shape())
    return shapes


def load_weights(
    model: nn.Module, files: Iterable[Path], siglip_layers_used: int, *, prefix: str = ""
) -> LoadReport:
    """Load the files' values into a model on any device or on "meta".

    Raises
    ------
    CheckpointError
        A file is unreadable, or its keys do not match the model's.
    """
    files = list(files)
    where = ", ".join(str(file) for file in files)
    report = check_keys(model, read_shapes(files, prefix), siglip_layers_used, where=where)
    place = {}
    for file in files:
        with _open(file) as tensors:
            place.update({key.removeprefix(prefix): file for key in tensors.keys()})  # noqa: SIM118
    by_file: dict[Path, list[str]] = {}
    for name in model.state_dict():
        by_file.setdefault(place[find_origin(name).key], []).append(name)
    for file, names in by_file.items():
        with _open(file) as tensors:
            state = {}
            for name in names:
                source = find_origin(name)
                value: Tensor = tensors.get_tensor(prefix + source.key)
                state[name] = value if source.part is None else value.chunk(3)[source.part].clone()
        model.load_state_dict(state, strict=False, assign=True)
    return report


def save_weights(state: Mapping[str, Tensor], file: Path, dtype: torch.dtype | None = None) -> None:
    """Write a model's weights under the published names, unchanged or as ``dtype``, whole or not at all.

    Raises
    ------
    CheckpointError
        The folder contains other weights, see :func:`check_no_other_weights`.
    """
    check_no_other_weights(file.parent)
    whole: dict[str, Tensor] = {}
    parts: dict[str, dict[int, Tensor]] = {}
    for name, value in state.items():
        source = find_origin(name)
        kept = value.dtype if dtype is None or name.endswith(_STATISTICS) else dtype
        stored = value.detach().to(device="cpu", dtype=kept)
        if source.part is None:
            whole[source.key] = stored.contiguous()
        else:
            parts.setdefault(source.key, {})[source.part] = stored
    for key, thirds in parts.items():
        whole[key] = torch.cat([thirds[index] for index in range(3)])
    partial = file.with_name(file.name + ".partial")
    save_file(whole, partial, metadata={"format": "pt"})
    os.replace(partial, file)


def check_no_other_weights(directory: Path) -> None:
    """Check that a ``model.safetensors`` saved in the folder would be the file that is read.

    Raises
    ------
    CheckpointError
        The folder contains an index or weight files of another model.
    """
    found = [*directory.glob("*.safetensors"), *directory.glob(INDEX_FILE)]
    if other := sorted(file.name for file in found if file.name != WEIGHTS_FILE):
        raise CheckpointError(
            f"{directory} holds the weights of another model ({_shorten(other)}), which would be read instead of "
            "what is saved there; give a new folder"
        )


def _open(file: Path) -> safe_open:
    check_header(file)
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{file}: not a readable safetensors file ({error}); download it again"
        ) from error


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
