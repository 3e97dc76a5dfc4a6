"""Greedy answers to many instructions over cached images.

Everything before the instruction is the same for all instructions on an image, so its keys and values
are computed once per image and copied for each question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from segwatch.model.segearth import SegEarthR2


@dataclass(frozen=True)
class Prefix:
    """Keys and values of the shared beginning, one row per image."""

    cache: DynamicCache
    length: int
    """Cached positions per row."""


@dataclass(frozen=True)
class Generated:
    """One answer."""

    ids: Tensor
    """(n,) int64, without the end of text."""
    hidden: Tensor
    """(n, hidden) last hidden state at each of them, the last one included."""


@torch.inference_mode()
def prefill(model: SegEarthR2, embeds: Tensor) -> Prefix:
    """Run the shared beginning (B, P, hidden) once."""
    rows, length = embeds.shape[:2]
    cache = DynamicCache()
    known = torch.ones(rows, length, dtype=torch.bool, device=embeds.device)
    positions = torch.arange(length, device=embeds.device).expand(rows, -1)
    model.language.extend(embeds, cache, known, positions)
    return Prefix(cache, length)


@torch.inference_mode()
def greedy(
    model: SegEarthR2,
    prefix: Prefix,
    rows: Tensor,
    suffixes: Sequence[Tensor],
    *,
    kept: int | None = None,
    max_new_tokens: int,
) -> list[Generated]:
    """The most likely answer to each question, all questions in step.

    A ``[SEG]`` that is the very last token allowed keeps its state here: one more step is run. (The
    reference loses it.)

    Args:
        model: in evaluation mode.
        prefix: what comes before; not changed.
        rows: (N,) int64, row of ``prefix`` that each question continues.
        suffixes: N tensors (n, hidden), n >= 1.
        kept: how many of the prefix's positions count, all by default.
        max_new_tokens: longest answer.
    """
    device, begin = suffixes[0].device, prefix.length if kept is None else kept
    cache = _copied(prefix.cache, rows, begin)
    lengths = torch.tensor([len(suffix) for suffix in suffixes], device=device)
    embeds = torch.nn.utils.rnn.pad_sequence(list(suffixes), batch_first=True)
    columns = torch.arange(embeds.shape[1], device=device)
    known = torch.cat([columns.new_ones(len(rows), begin).bool(), columns < lengths[:, None]], dim=1)
    hidden = model.language.extend(embeds, cache, known, (begin + columns).expand(len(rows), -1))
    last = hidden[torch.arange(len(rows), device=device), lengths - 1]
    position, ended = begin + lengths, torch.zeros(len(rows), dtype=torch.bool, device=device)
    ids, states = [], []
    for _ in range(max_new_tokens):
        token = model.language.lm_head(last).argmax(dim=1)
        ended |= token == model.config.eos_token_id
        ids.append(token.masked_fill(ended, model.config.eos_token_id))
        if bool(ended.all()):
            break
        known = torch.cat([known, known.new_ones(len(rows), 1)], dim=1)
        embedded = model.language.embed(token)[:, None]
        last = model.language.extend(embedded, cache, known, position[:, None])[:, 0]
        states.append(last)
        position = position + 1
    table = torch.stack(ids, dim=1)
    counts = (table != model.config.eos_token_id).sum(dim=1).tolist()
    held = torch.stack(states, dim=1) if states else last.new_zeros(len(rows), 0, last.shape[1])
    return [Generated(table[row, :count], held[row, :count]) for row, count in enumerate(counts)]


def _copied(cache: DynamicCache, rows: Tensor, length: int) -> DynamicCache:
    copy = DynamicCache()
    layers: list[Any] = list(cache.layers)
    for index, layer in enumerate(layers):
        copy.update(layer.keys[rows, :, :length], layer.values[rows, :, :length], index)
    return copy
