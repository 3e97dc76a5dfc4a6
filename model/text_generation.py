"""Answers to many instructions over encoded images, all in step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from segwatch.model.errors import InputError
from segwatch.model.kv_cache import Continuations, Prefix, Recorder
from segwatch.model.segearth import SegEarthR2


@dataclass(frozen=True)
class Generated:
    """One answer."""

    ids: Tensor
    """(n,) int64 on the CPU, without the end of text."""
    hidden: Tensor
    """(n, hidden) last hidden state at each of them, the last one included."""


@dataclass(frozen=True)
class Sampling:
    """Draw tokens instead of taking the likeliest; the same seed gives the same answers in any batch."""

    temperature: float
    seed: int

    def __post_init__(self) -> None:
        """Refuse a temperature that is none."""
        if not self.temperature > 0:
            raise InputError(
                f"temperature={self.temperature} must be above 0; leave sampling out for the likeliest answer"
            )

    def draws(self, count: int, steps: int) -> Tensor:
        """(count, steps) float64 uniform in 0..1, row by row from the seed."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.rand(count, steps, generator=generator, dtype=torch.float64)


@torch.inference_mode()
def prefill(model: SegEarthR2, embeds: Tensor) -> Prefix:
    """Run the shared beginning (B, P, hidden) once."""
    recorder = Recorder()
    positions = torch.arange(embeds.shape[1], device=embeds.device).expand(embeds.shape[0], -1)
    model.language.extend(embeds, recorder, positions)
    return recorder.prefix()


class Dialogue:
    """Every question on every image, in step: rows are image by image, questions in order.

    Args:
        model: in evaluation mode.
        prefix: of G images; not changed.
        suffixes: Q tensors (n, hidden), n >= 1.
        most: tokens that may be said.
    """

    def __init__(self, model: SegEarthR2, prefix: Prefix, suffixes: Sequence[Tensor], most: int) -> None:
        device, images = suffixes[0].device, prefix.images
        lengths = torch.tensor([len(suffix) for suffix in suffixes]).to(device, non_blocking=True)
        asked = torch.nn.utils.rnn.pad_sequence(list(suffixes), batch_first=True)
        columns = torch.arange(asked.shape[1], device=device)
        self.rows = images * len(suffixes)
        self._language = model.language
        self._own = Continuations(prefix, len(suffixes), asked.shape[1] + most)
        self._own.begin((columns < lengths[:, None]).repeat(images, 1))
        positions = (prefix.length + columns).expand(self.rows, -1)
        hidden = self._language.extend(asked.repeat(images, 1, 1), self._own, positions)
        lengths = lengths.repeat(images)
        self._last = hidden[torch.arange(self.rows, device=device), lengths - 1]
        self._position = prefix.length + lengths
        self._one = torch.ones(self.rows, 1, dtype=torch.bool, device=device)

    def logits(self) -> Tensor:
        """(rows, vocabulary) of each next token."""
        return cast(Tensor, self._language.lm_head(self._last))

    def say(self, tokens: Tensor) -> Tensor:
        """Go on with (rows,) int64; the hidden states (rows, hidden) at these tokens."""
        self._own.begin(self._one)
        embeds = self._language.embed(tokens)[:, None]
        self._last = self._language.extend(embeds, self._own, self._position[:, None])[:, 0]
        self._position = self._position + 1
        return self._last


@torch.inference_mode()
def answers(
    model: SegEarthR2,
    prefix: Prefix,
    suffixes: Sequence[Tensor],
    *,
    max_new_tokens: int,
    temperature: float | None = None,
    draws: Tensor | None = None,
) -> list[Generated]:
    """Every question answered on every image, see :class:`Dialogue`.

    A ``[SEG]`` that is the very last token allowed keeps its state here: one more step is run. (The
    reference loses it.) The only wait for the device between two tokens is the question whether all answers
    have ended.

    Args:
        model: in evaluation mode.
        prefix: of G images; not changed.
        suffixes: Q tensors (n, hidden), n >= 1.
        max_new_tokens: longest answer.
        temperature: sample at this temperature; None takes the likeliest token.
        draws: (G * Q, max_new_tokens) in 0..1, what sampling decides by.

    Returns:
        G * Q answers, image by image, questions in order.
    """
    device, end = suffixes[0].device, model.config.eos_token_id
    talk = Dialogue(model, prefix, suffixes, max_new_tokens)
    ended = torch.zeros(talk.rows, dtype=torch.bool, device=device)
    uniform = None if draws is None else draws.to(device, non_blocking=True)
    ids, states = [], []
    for step in range(max_new_tokens):
        logits = talk.logits()
        if temperature is None or uniform is None:
            token = logits.argmax(dim=1)
        else:
            token = _drawn(logits, temperature, uniform[:, step])
        ended |= token == end
        ids.append(token.masked_fill(ended, end))
        if bool(ended.all()):
            break
        states.append(talk.say(ids[-1]))
    table = torch.stack(ids, dim=1).cpu()
    counts = (table != end).sum(dim=1).tolist()
    held = torch.stack(states, dim=1) if states else logits.new_zeros(talk.rows, 0, suffixes[0].shape[1])
    return [Generated(table[row, :count], held[row, :count]) for row, count in enumerate(counts)]


def _drawn(logits: Tensor, temperature: float, uniform: Tensor) -> Tensor:
    """The token at each draw's place in the cumulated chances."""
    cumulated = (logits.double() / temperature).softmax(dim=1).cumsum(dim=1)
    place = torch.searchsorted(cumulated, uniform[:, None] * cumulated[:, -1:])[:, 0]
    return place.clamp(max=logits.shape[1] - 1)
