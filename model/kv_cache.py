"""Key-value caches of the language model: one prefix shared by many instructions, and a suffix for each.

Everything before the instruction is the same for all instructions on an image. Its keys and values are stored once per
image, and the queries of all instructions read them in one matrix product, so neither memory nor bandwidth of the
prefix grows with the number of instructions. The suffixes lie in a buffer of fixed size: shapes stay the same from
token to token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class PrefixCache:
    """Keys and values of the shared start of the prompt, one row per image."""

    keys: tuple[Tensor, ...]
    """Per layer (images, heads, length, head size)."""
    values: tuple[Tensor, ...]
    """Per layer, as ``keys``."""

    @property
    def images(self) -> int:
        """Number of images."""
        return self.keys[0].shape[0]

    @property
    def length(self) -> int:
        """Number of positions per image."""
        return self.keys[0].shape[2]

    def select(self, begin: int, end: int, length: int) -> PrefixCache:
        """Select the images ``begin`` to ``end`` and the first ``length`` positions, without copying."""
        cut = (slice(begin, end), slice(None), slice(length))
        return PrefixCache(tuple(each[cut] for each in self.keys), tuple(each[cut] for each in self.values))


def compute_scores(query: Tensor, key: Tensor, scaling: float) -> Tensor:
    """Compute scaled attention scores in float32, whatever the dtype of queries and keys.

    Phi's keys have a bias that shifts all scores of a row by the same amount. Softmax ignores it, but scores
    rounded to bfloat16 first would lose their differences.

    Parameters
    ----------
    query
        (B, heads, n, d).
    key
        (B, heads, m, d).
    scaling
        Factor on the products.

    Returns
    -------
    Tensor
        (B, heads, n, m) float32.
    """
    across = key.transpose(2, 3)
    if query.dtype == torch.float32:
        return query @ across * scaling
    if query.device.type == "cpu":
        return query.float() @ across.float() * scaling
    product = torch.bmm(query.flatten(0, 1), across.flatten(0, 1), out_dtype=torch.float32)
    return product.view(*query.shape[:3], key.shape[2]) * scaling


class PrefixRecorder:
    """Causal attention over the shared start of the prompt that stores every layer's keys and values."""

    def __init__(self) -> None:
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """See :class:`segwatch.model.language.AttentionBackend`."""
        self._keys.append(key)
        # copy once here: every later product over several images would copy them
        self._values.append(value.contiguous())
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
        return out.transpose(1, 2)

    def to_prefix(self) -> PrefixCache:
        """Return the stored keys and values."""
        return PrefixCache(tuple(self._keys), tuple(self._values))


class SuffixCache:
    """Attention of Q instructions on each of G images; rows are image by image, instructions in order.

    Parameters
    ----------
    prefix
        Of the G images; read, not changed.
    instructions
        Q.
    columns
        Maximum length of suffix and generated text together.
    """

    def __init__(self, prefix: PrefixCache, instructions: int, columns: int) -> None:
        self._prefix = prefix
        self._instructions = instructions
        first = prefix.keys[0]
        images, heads, _, size = first.shape
        shape = (len(prefix.keys), images * instructions, heads, columns, size)
        self._keys, self._values = first.new_zeros(shape), first.new_zeros(shape)
        self._is_token = first.new_zeros(shape[1], columns, dtype=torch.bool)
        self._columns = first.new_zeros(0, dtype=torch.long)
        self._mask = first.new_zeros(0, dtype=torch.bool)
        self._written = 0

    def begin_pass(self, is_token: Tensor) -> None:
        """Announce the columns of the next pass: (rows, n) bool, False where a column is padding."""
        added = is_token.shape[1]
        columns = torch.arange(self._is_token.shape[1], device=is_token.device)
        self._columns = columns[self._written : self._written + added]
        self._is_token.index_copy_(1, self._columns, is_token)
        self._mask = self._is_token[:, None, None] & (columns <= self._columns[:, None])
        self._written += added

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """See :class:`segwatch.model.language.AttentionBackend`."""
        keys, values = self._keys[layer], self._values[layer]
        keys.index_copy_(2, self._columns, key)
        values.index_copy_(2, self._columns, value)
        shared_keys, shared_values = self._prefix.keys[layer], self._prefix.values[layer]
        images, heads, length, _ = shared_keys.shape
        rows, steps = query.shape[0], query.shape[2]
        instructions = self._instructions

        def merge_instructions(each: Tensor) -> Tensor:
            """Reshape (images * Q, heads, n, d) -> (images, heads, Q * n, d)."""
            parted = each.view(images, instructions, heads, steps, -1).transpose(1, 2)
            return parted.reshape(images, heads, instructions * steps, -1)

        def split_instructions(each: Tensor) -> Tensor:
            parted = each.view(images, heads, instructions, steps, -1).transpose(1, 2)
            return parted.reshape(rows, heads, steps, -1)

        to_shared = split_instructions(compute_scores(merge_instructions(query), shared_keys, scaling))
        to_own = compute_scores(query, keys, scaling).masked_fill(~self._mask, float("-inf"))
        weights = torch.cat([to_shared, to_own], dim=3).softmax(dim=3).to(value.dtype)
        from_shared = split_instructions(merge_instructions(weights[..., :length]) @ shared_values)
        return (from_shared + weights[..., length:] @ values).transpose(1, 2)
