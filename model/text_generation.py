"""Generate text for many instructions over encoded images, all in step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from segwatch.model.errors import InputError
from segwatch.model.kv_cache import PrefixCache, PrefixRecorder, SuffixCache
from segwatch.model.segearth import SegEarthR2


@dataclass(frozen=True)
class GeneratedText:
    """The generated text of one instruction on one image."""

    ids: Tensor
    """(n,) int64 token ids on the CPU, without the end of text."""
    hidden: Tensor
    """(n, hidden) last hidden state at each token."""


@dataclass(frozen=True)
class Sampling:
    """Sample tokens instead of taking the likeliest; the same seed gives the same text in any batch."""

    temperature: float
    seed: int

    def __post_init__(self) -> None:
        """Reject a temperature that is not positive."""
        if not self.temperature > 0:
            raise InputError(
                f"temperature={self.temperature} must be above 0; leave sampling out for the likeliest answer"
            )

    def draw_uniform(self, count: int, steps: int) -> Tensor:
        """Draw (count, steps) float64 numbers uniformly from 0..1, row by row from the seed."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.rand(count, steps, generator=generator, dtype=torch.float64)


@torch.inference_mode()
def prefill(model: SegEarthR2, embeds: Tensor) -> PrefixCache:
    """Run the shared start of the prompt, (B, P, hidden), once."""
    recorder = PrefixRecorder()
    positions = torch.arange(embeds.shape[1], device=embeds.device).expand(embeds.shape[0], -1)
    model.language.extend(embeds, recorder, positions)
    return recorder.to_prefix()


class DecodingBatch:
    """Every instruction on every image, decoded in step; rows are image by image, instructions in order.

    Parameters
    ----------
    model
        In evaluation mode.
    prefix
        Of G images; not changed.
    suffixes
        Q tensors (n, hidden), n >= 1: the embedded rest of each prompt.
    max_new_tokens
        Maximum number of tokens to append.
    """

    def __init__(
        self, model: SegEarthR2, prefix: PrefixCache, suffixes: Sequence[Tensor], max_new_tokens: int
    ) -> None:
        device, images = suffixes[0].device, prefix.images
        lengths = torch.tensor([len(suffix) for suffix in suffixes]).to(device, non_blocking=True)
        padded = torch.nn.utils.rnn.pad_sequence(list(suffixes), batch_first=True)
        columns = torch.arange(padded.shape[1], device=device)
        self.rows = images * len(suffixes)
        self._language = model.language
        self._own = SuffixCache(prefix, len(suffixes), padded.shape[1] + max_new_tokens)
        self._own.begin_pass((columns < lengths[:, None]).repeat(images, 1))
        positions = (prefix.length + columns).expand(self.rows, -1)
        hidden = self._language.extend(padded.repeat(images, 1, 1), self._own, positions)
        lengths = lengths.repeat(images)
        self._last = hidden[torch.arange(self.rows, device=device), lengths - 1]
        self._position = prefix.length + lengths
        self._one = torch.ones(self.rows, 1, dtype=torch.bool, device=device)

    def compute_logits(self) -> Tensor:
        """Compute (rows, vocabulary) logits of each next token."""
        return cast(Tensor, self._language.lm_head(self._last))

    def append(self, tokens: Tensor) -> Tensor:
        """Append one token, (rows,) int64, to each row; return the hidden states (rows, hidden) at these tokens."""
        self._own.begin_pass(self._one)
        embeds = self._language.embed(tokens)[:, None]
        self._last = self._language.extend(embeds, self._own, self._position[:, None])[:, 0]
        self._position = self._position + 1
        return self._last


@torch.inference_mode()
def generate_texts(
    model: SegEarthR2,
    prefix: PrefixCache,
    suffixes: Sequence[Tensor],
    *,
    max_new_tokens: int,
    temperature: float | None = None,
    uniform_draws: Tensor | None = None,
) -> list[GeneratedText]:
    """Generate the text of every instruction on every image, see :class:`DecodingBatch`.

    A ``[SEG]`` that is the very last token allowed keeps its hidden state: one more step is run (the reference
    loses it). Between two tokens the device is waited for once, to ask whether all texts have ended.

    Parameters
    ----------
    model
        In evaluation mode.
    prefix
        Of G images; not changed.
    suffixes
        Q tensors (n, hidden), n >= 1: the embedded rest of each prompt.
    max_new_tokens
        Maximum length of a text.
    temperature
        Sampling temperature; None = take the likeliest token.
    uniform_draws
        (G * Q, max_new_tokens) uniform numbers in 0..1 for sampling.

    Returns
    -------
    list of GeneratedText
        G * Q texts, image by image, instructions in order.
    """
    device, end = suffixes[0].device, model.config.eos_token_id
    batch = DecodingBatch(model, prefix, suffixes, max_new_tokens)
    ended = torch.zeros(batch.rows, dtype=torch.bool, device=device)
    uniform = None if uniform_draws is None else uniform_draws.to(device, non_blocking=True)
    ids, states = [], []
    for step in range(max_new_tokens):
        next_logits = batch.compute_logits()
        if temperature is None or uniform is None:
            token = next_logits.argmax(dim=1)
        else:
            token = _sample(next_logits, temperature, uniform[:, step])
        ended |= token == end
        ids.append(token.masked_fill(ended, end))
        if bool(ended.all()):
            break
        states.append(batch.append(ids[-1]))
    table = torch.stack(ids, dim=1).cpu()
    counts = (table != end).sum(dim=1).tolist()
    held = (
        torch.stack(states, dim=1) if states else next_logits.new_zeros(batch.rows, 0, suffixes[0].shape[1])
    )
    return [GeneratedText(table[row, :count], held[row, :count]) for row, count in enumerate(counts)]


def _sample(next_logits: Tensor, temperature: float, uniform: Tensor) -> Tensor:
    """Return the token at each uniform number's place in the cumulative probabilities."""
    cumulated = (next_logits.double() / temperature).softmax(dim=1).cumsum(dim=1)
    place = torch.searchsorted(cumulated, uniform[:, None] * cumulated[:, -1:])[:, 0]
    return place.clamp(max=next_logits.shape[1] - 1)
