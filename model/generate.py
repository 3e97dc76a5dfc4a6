"""Answers to many instructions over encoded images, all in step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segwatch.model.errors import InputError
from segwatch.model.memory import Continuations, Prefix, Recorder
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
    """Every question answered on every image, in step.

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
    device, images = suffixes[0].device, prefix.images
    lengths = torch.tensor([len(suffix) for suffix in suffixes], device=device)
    asked = torch.nn.utils.rnn.pad_sequence(list(suffixes), batch_first=True)
    columns = torch.arange(asked.shape[1], device=device)
    own = Continuations(prefix, len(suffixes), asked.shape[1] + max_new_tokens)
    rows = images * len(suffixes)
    own.begin((columns < lengths[:, None]).repeat(images, 1))
    hidden = model.language.extend(
        asked.repeat(images, 1, 1), own, (prefix.length + columns).expand(rows, -1)
    )
    lengths = lengths.repeat(images)
    last = hidden[torch.arange(rows, device=device), lengths - 1]
    position, ended = prefix.length + lengths, torch.zeros(rows, dtype=torch.bool, device=device)
    one = torch.ones(rows, 1, dtype=torch.bool, device=device)
    ids, states = [], []
    for step in range(max_new_tokens):
        logits = model.language.lm_head(last)
        if temperature is None or draws is None:
            token = logits.argmax(dim=1)
        else:
            token = _drawn(logits, temperature, draws[:, step].to(device))
        ended |= token == model.config.eos_token_id
        ids.append(token.masked_fill(ended, model.config.eos_token_id))
        if bool(ended.all()):
            break
        own.begin(one)
        last = model.language.extend(model.language.embed(ids[-1])[:, None], own, position[:, None])[:, 0]
        states.append(last)
        position = position + 1
    table = torch.stack(ids, dim=1).cpu()
    counts = (table != model.config.eos_token_id).sum(dim=1).tolist()
    held = torch.stack(states, dim=1) if states else last.new_zeros(rows, 0, last.shape[1])
    return [Generated(table[row, :count], held[row, :count]) for row, count in enumerate(counts)]


def _drawn(logits: Tensor, temperature: float, uniform: Tensor) -> Tensor:
    """The token at each draw's place in the cumulated chances."""
    cumulated = (logits.double() / temperature).softmax(dim=1).cumsum(dim=1)
    place = torch.searchsorted(cumulated, uniform[:, None] * cumulated[:, -1:])[:, 0]
    return place.clamp(max=logits.shape[1] - 1)
