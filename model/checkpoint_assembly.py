"""Assemble an untrained SegEarth-R2 from the public parts that its authors start from.

Language model, projector and tokenizer come from Mipha-3B, the vision tower from SigLIP so400m, and mask encoder, pixel
decoder and mask decoder from Mask2Former (Swin-B, IN21k). Every parameter is accounted for: it comes from a named file
or is initialised in a stated way. Source: SegEarth-R2, arXiv 2512.20013.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from segwatch.model import (
    checkpoint,
    detectron2_weights,
    model_version,
    pretrained,
    prompt,
    published_weights,
    tokenizer,
)
from segwatch.model.config import SegEarthConfig, make_base_config
from segwatch.model.errors import CheckpointError

ACCOUNT_FILE = "assembly.json"
"""File in the assembled folder that states where each parameter came from."""
TABLE_FILE = "assembly.md"
"""The same by module, to be read."""
ASSEMBLED_NAME = "segearth-r2-assembled"
_SEED = 0
_SHARD_BYTES = 2 * 1024**3
_VOCABULARY = ("model.embed_tokens.weight", "lm_head.weight")


class PublicPart(StrEnum):
    """Origin of values."""

    MIPHA = "mipha"
    SIGLIP = "siglip"
    MASK2FORMER = "mask2former"
    FRESH = "fresh"


@dataclass(frozen=True, slots=True)
class ParameterOrigin:
    """Origin of one parameter of the assembled model."""

    part: PublicPart
    key: str
    """Name in the part's file; for ``fresh`` the kind of initialisation."""
    file: str = ""
    """Name of the file that holds it; empty for ``fresh``."""


@dataclass(frozen=True, slots=True)
class ParameterAccount:
    """Origin of every parameter, and the unused keys of the parts."""

    origins: Mapping[str, ParameterOrigin]
    """Published key of the assembled model -> origin."""
    unused: Mapping[PublicPart, tuple[str, ...]]
    """Keys of each part's file that the architecture does not use."""

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-ready dict."""
        return {
            "origins": {
                key: [one.part.value, one.key, one.file] for key, one in sorted(self.origins.items())
            },
            "unused": {part.value: list(keys) for part, keys in self.unused.items()},
        }


@dataclass(frozen=True, slots=True)
class AssemblyReport:
    """Result of an assembly."""

    version: str
    parameters: Mapping[PublicPart, int]
    """Number of values by origin."""
    account: ParameterAccount


Shapes = Mapping[str, tuple[int, ...]]


class PartWeights(Protocol):
    """Tensors of one part by name."""

    @property
    def shapes(self) -> Shapes:
        """Shape by key."""

    @property
    def files(self) -> Mapping[str, str]:
        """Name of the file that holds each key."""

    def get(self, key: str) -> Tensor:
        """Return the values of one key."""


# name in the part -> published name; keys that match no rule are unused
_RULES: Mapping[PublicPart, tuple[tuple[str, str], ...]] = {
    PublicPart.MIPHA: (
        (r"(model\.(?:embed_tokens|final_layernorm|mm_projector)\..*)", r"\1"),
        (r"(model\.layers\..*)", r"\1"),
        (r"(lm_head\.weight)", r"\1"),
    ),
    PublicPart.SIGLIP: ((r"(vision_model\..*)", r"model.vision_tower.\1"),),
    PublicPart.MASK2FORMER: (
        (r"backbone\.(.*)", r"model.vision_tower_mask.\1"),
        (r"sem_seg_head\.(pixel_decoder\.(?:adapter_1|layer_1))\.norm\.(.*)", r"\1.1.\2"),
        (r"sem_seg_head\.(pixel_decoder\.(?:adapter_1|layer_1))\.(.*)", r"\1.0.\2"),
        (r"sem_seg_head\.(pixel_decoder\..*)", r"\1"),
        (r"sem_seg_head\.(predictor\..*)", r"\1"),
    ),
}
#: Parameters that no part has: the query projector is SegEarth-R2's own; Mask2Former's two convolutions have no
#: bias.
_FRESH = {
    "SEG_token_projector.weight": "uniform, +-1 / sqrt(inputs)",
    "SEG_token_projector.bias": "uniform, +-1 / sqrt(inputs)",
    "pixel_decoder.adapter_1.0.bias": "zeros",
    "pixel_decoder.layer_1.0.bias": "zeros",
}


def plan_assembly(
    parts: Mapping[PublicPart, Shapes],
    config: SegEarthConfig,
    files: Mapping[PublicPart, Mapping[str, str]] | None = None,
) -> ParameterAccount:
    """Find the origin of every parameter.

    Parameters
    ----------
    parts
        Shapes of each part's file, by its own names.
    config
        Dimensions; the vocabulary may be smaller than Mipha's, whose last rows are padding.
    files
        Name of the file of each key, for the account.

    Raises
    ------
    CheckpointError
        A parameter is in none of the parts, or its shape differs; the message names the keys.
    """
    model = pretrained.build_on_meta(config)
    wanted = checkpoint.list_expected_shapes(model)
    origins: dict[str, ParameterOrigin] = {
        key: ParameterOrigin(PublicPart.FRESH, how) for key, how in _FRESH.items()
    }
    unused: dict[PublicPart, list[str]] = {part: [] for part in parts}
    problems: list[str] = []
    for part, shapes in parts.items():
        for key, shape in sorted(shapes.items()):
            ours = _rename(part, key)
            if ours not in wanted:
                unused[part].append(key)
            elif not _fits(ours, shape, wanted[ours]):
                problems.append(f"{part}: {key} is {shape} instead of {wanted[ours]}")
            else:
                file = "" if files is None else files[part][key]
                origins[ours] = ParameterOrigin(part, key, file)
    problems += [f"no part has {key}" for key in sorted(set(wanted) - set(origins))]
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise CheckpointError(
            "the parts do not make a SegEarth-R2: "
            + "; ".join(problems[:8])
            + more
            + ". Needed are Mipha-3B, "
            "SigLIP so400m patch14-384 and Mask2Former Swin-B (IN21k)"
        )
    return ParameterAccount(origins, {part: tuple(keys) for part, keys in unused.items()})


def _rename(part: PublicPart, key: str) -> str | None:
    for pattern, ours in _RULES[part]:
        if match := re.fullmatch(pattern, key):
            return match.expand(ours)
    return None


def _fits(key: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    if key in _VOCABULARY:
        return len(shape) == 2 and shape[1] == wanted[1] and shape[0] >= wanted[0] - 1
    return shape == wanted


def assemble_checkpoint(
    mipha: Path,
    siglip: Path,
    mask2former: Path,
    out: Path,
    *,
    dimensions: SegEarthConfig | None = None,
    dtype: torch.dtype | None = None,
    on_key: Callable[[int, int], None] = lambda done, keys: None,
) -> AssemblyReport:
    """Assemble a folder that :func:`segwatch.model.pretrained.load_pretrained` reads; it appears whole or not at all.

    The vocabulary is Mipha's with ``[SEG]`` added; its row starts as the mean of the other rows.

    Parameters
    ----------
    mipha, siglip
        Published folders, safetensors or ``pytorch_model*.bin``.
    mask2former
        Published ``.pkl`` file of arrays.
    out
        New folder.
    dimensions
        Dimensions of the model; None = the official ones.
    dtype
        Stored dtype of the weights; None = unchanged.
    on_key
        Called with (keys written, total keys).

    Raises
    ------
    CheckpointError
        A part is unreadable or does not fit (the message names the keys), or ``out`` exists.
    TokenizerError
        Mipha's folder has no usable tokenizer.
    """
    if out.exists():
        raise CheckpointError(f"{out} exists and is left unchanged; give a folder that does not exist")
    text_tokenizer = tokenizer.load_tokenizer(mipha)
    config = _adapt_vocabulary(dimensions or make_base_config(), text_tokenizer)
    parts: dict[PublicPart, PartWeights] = {
        PublicPart.MIPHA: _Folder(mipha),
        PublicPart.SIGLIP: _Folder(siglip),
        PublicPart.MASK2FORMER: _Pickle(mask2former),
    }
    account = plan_assembly(
        {part: weights.shapes for part, weights in parts.items()},
        config,
        {part: weights.files for part, weights in parts.items()},
    )
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        text_tokenizer.save_pretrained(partial)
        text = json.dumps(config.to_dict(), indent=2) + "\n"
        (partial / "config.json").write_text(text, encoding="utf-8")
        (partial / ACCOUNT_FILE).write_text(json.dumps(account.to_dict(), indent=1) + "\n", encoding="utf-8")
        counts = _write(partial, _values(account, parts, config), len(account.origins), dtype, on_key)
        (partial / TABLE_FILE).write_text(format_account(account, counts), encoding="utf-8")
        version = model_version.compute_version(partial)
        os.replace(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    numbers: Counter[PublicPart] = Counter()
    for key, count in counts.items():
        numbers[account.origins[key].part] += count
    return AssemblyReport(version, dict(numbers), account)


def _adapt_vocabulary(dimensions: SegEarthConfig, text_tokenizer: PreTrainedTokenizerBase) -> SegEarthConfig:
    seg = tokenizer.get_token_id(text_tokenizer, prompt.SEG)
    return replace(
        dimensions,
        name=ASSEMBLED_NAME,
        phi=replace(dimensions.phi, vocab_size=seg + 1),
        seg_token_id=seg,
        eos_token_id=tokenizer.get_token_id(text_tokenizer, prompt.END),
    )


class _Folder:
    """Weights of a published folder; one shard is open at a time."""

    def __init__(self, folder: Path) -> None:
        self.shapes, self._place = published_weights.read_shard_shapes(published_weights.list_shards(folder))
        self.files: Mapping[str, str] = {key: file.name for key, file in self._place.items()}

    def get(self, key: str) -> Tensor:
        """Return the values of one key."""
        return next(value for _, value in published_weights.read_shard_tensors(self._place[key], [key]))


class _Pickle:
    """Weights of Mask2Former's file."""

    def __init__(self, file: Path) -> None:
        self._arrays = detectron2_weights.read_arrays(file)
        self.shapes: Shapes = {key: tuple(value.shape) for key, value in self._arrays.items()}
        self.files: Mapping[str, str] = dict.fromkeys(self._arrays, file.name)

    def get(self, key: str) -> Tensor:
        """Return the values of one key."""
        return torch.from_numpy(self._arrays[key].copy())


def format_account(account: ParameterAccount, counts: Mapping[str, int]) -> str:
    """Format where the parameters of each module came from as a Markdown table.

    Parameters
    ----------
    account
        Origin of every parameter.
    counts
        Number of values of every parameter.
    """
    groups: dict[tuple[str, str, str], list[int]] = {}
    for key, origin in sorted(account.origins.items()):
        source = origin.key if origin.part is PublicPart.FRESH else origin.file
        groups.setdefault((_name_module(key), origin.part.value, source), []).append(counts[key])
    lines = [
        "# Where each parameter came from",
        "",
        f"{ACCOUNT_FILE} lists every one. Fresh parameters are untrained: so is the model, until it has been trained.",
        "",
        "| module | from | file, or how it was initialised | parameters | values |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {module} | {part} | {source} | {len(values)} | {sum(values):,} |"
            for (module, part, source), values in groups.items()
        ),
        f"| all | | | {len(counts)} | {sum(counts.values()):,} |",
        "",
        "Not used by the architecture:",
        "",
        *(
            f"- {part.value}: {', '.join(keys) if keys else 'nothing'}"
            for part, keys in account.unused.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _name_module(key: str) -> str:
    """Name the module of a parameter: its first names, without the number of a layer."""
    names = [name for name in key.split(".")[:-1] if not name.isdigit()]
    return ".".join(names[: 3 if names[0] == "model" else 2])


def _values(
    account: ParameterAccount, parts: Mapping[PublicPart, PartWeights], config: SegEarthConfig
) -> Iterator[tuple[str, Tensor]]:
    shapes = checkpoint.list_expected_shapes(pretrained.build_on_meta(config))
    generator = torch.Generator().manual_seed(_SEED)
    for key, origin in sorted(account.origins.items()):
        if origin.part is PublicPart.FRESH:
            yield key, _initialise(key, shapes[key], generator, config)
            continue
        value = parts[origin.part].get(origin.key)
        if not value.is_floating_point() or not bool(value.isfinite().all()):
            raise CheckpointError(f"{origin.part}: {origin.key} holds values that are not finite")
        yield key, _with_seg_row(value, config.seg_token_id) if key in _VOCABULARY else value


def _initialise(
    key: str, shape: tuple[int, ...], generator: torch.Generator, config: SegEarthConfig
) -> Tensor:
    if _FRESH[key] == "zeros":
        return torch.zeros(shape)
    bound = 1 / math.sqrt(config.phi.hidden_size)
    return (torch.rand(shape, generator=generator) * 2 - 1) * bound


def _with_seg_row(rows: Tensor, seg: int) -> Tensor:
    """Return the rows of known tokens followed by the row of [SEG]: their mean."""
    known = rows[:seg]
    return torch.cat([known, known.float().mean(dim=0, keepdim=True).to(known.dtype)])


def _write(
    folder: Path,
    values: Iterator[tuple[str, Tensor]],
    keys: int,
    dtype: torch.dtype | None,
    on_key: Callable[[int, int], None],
) -> dict[str, int]:
    """Write shards of bounded size and their index; return the number of values of each key."""
    shard: dict[str, Tensor] = {}
    weight_map: dict[str, str] = {}
    counts: dict[str, int] = {}
    size = total = 0

    def flush() -> None:
        nonlocal shard, size
        if shard:
            name = f"model-{len(set(weight_map.values())) + 1:05d}.safetensors"
            save_file(shard, folder / name, metadata={"format": "pt"})
            weight_map.update(dict.fromkeys(shard, name))
            shard, size = {}, 0

    for done, (key, value) in enumerate(values, start=1):
        stored = value.to(dtype or value.dtype, copy=True).contiguous()
        if size and size + stored.nbytes > _SHARD_BYTES:
            flush()
        shard[key] = stored
        counts[key] = value.numel()
        size += stored.nbytes
        total += stored.nbytes
        on_key(done, keys)
    flush()
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / checkpoint.INDEX_FILE).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return counts
