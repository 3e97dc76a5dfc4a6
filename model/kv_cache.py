"""Keys and values of the language model: a beginning shared by many questions, and each question's own.

Everything before the instruction is the same for all instructions on an image. Its keys and values are kept
once per image, and the questions' queries are laid side by side to read them in one product, so neither
memory nor bandwidth grows with the number of questions. What a question adds lies in a buffer of fixed size:
its shapes stay the same from token to token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Prefix:
    """Keys and values of the shared beginning, one row per image."""

    keys: tuple[Tensor, ...]
    """Per layer (images, heads, length, head size)."""
    values: tuple[Tensor, ...]

    @property
    def images(self) -> int:
        """Rows."""
        return self.keys[0].shape[0]

    @property
    def length(self) -> int:
        """Positions per row."""
        return self.keys[0].shape[2]

    def part(self, begin: int, end: int, length: int) -> Prefix:
        """Rows ``begin`` to ``end`` and the first ``length`` positions, without copying."""
        cut = (slice(begin, end), slice(None), slice(length))
        return Prefix(tuple(each[cut] for each in self.keys), tuple(each[cut] for each in self.values))


def scores(query: Tensor, key: Tensor, scaling: float) -> Tensor:
    """Scaled products of queries and keys in float32, whatever type they have.

    Phi's keys have a bias, which lifts all scores of a row together: softmax does not see that, but scores that
    were rounded to bfloat16 before it would lose what sets them apart.

    Args:
        query: (B, heads, n, d).
        key: (B, heads, m, d).
        scaling: of the products.

    Returns:
        (B, heads, n, m).
    """
    across = key.transpose(2, 3)
    if query.dtype == torch.float32:
        return query @ across * scaling
    if query.device.type == "cpu":
        return query.float() @ across.float() * scaling
    product = torch.bmm(query.flatten(0, 1), across.flatten(0, 1), out_dtype=torch.float32)
    return product.view(*query.shape[:3], key.shape[2]) * scaling


class Recorder:
    """Causal attention over the shared beginning that keeps every layer's keys and values."""

    def __init__(self) -> None:
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """See :class:`segwatch.model.language.Attender`."""
        self._keys.append(key)
        # as they come from the projection, every product over several images would copy them first
        self._values.append(value.contiguous())
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
        return out.transpose(1, 2)

    def prefix(self) -> Prefix:
        """What was seen."""
        return Prefix(tuple(self._keys), tuple(self._values))


class Continuations:
    """Attention of Q questions on each of G images: rows are image by image, questions in order.

    Args:
        prefix: of the G images; read, not changed.
        questions: Q.
        columns: longest question and answer together.
    """

    def __init__(self, prefix: Prefix, questions: int, columns: int) -> None:
        self._prefix = prefix
        self._questions = questions
        first = prefix.keys[0]
        images, heads, _, size = first.shape
        shape = (len(prefix.keys), images * questions, heads, columns, size)
        self._keys, self._values = first.new_zeros(shape), first.new_zeros(shape)
        self._known = first.new_zeros(shape[1], columns, dtype=torch.bool)
        self._where = first.new_zeros(0, dtype=torch.long)
        self._mask = first.new_zeros(0, dtype=torch.bool)
        self._written = 0

    def begin(self, known: Tensor) -> None:
        """Say what the next pass adds: (rows, n) bool, False where a column is padding."""
        added = known.shape[1]
        columns = torch.arange(self._known.shape[1], device=known.device)
        self._where = columns[self._written : self._written + added]
        self._known.index_copy_(1, self._where, known)
        self._mask = self._known[:, None, None] & (columns <= self._where[:, None])
        self._written += added

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """See :class:`segwatch.model.language.Attender`."""
        keys, values = self._keys[layer], self._values[layer]
        keys.index_copy_(2, self._where, key)
        values.index_copy_(2, self._where, value)
        shared_keys, shared_values = self._prefix.keys[layer], self._prefix.values[layer]
        images, heads, length, _ = shared_keys.shape
        rows, steps = query.shape[0], query.shape[2]
        asked = self._questions

        def side_by_side(each: Tensor) -> Tensor:
            """(images * Q, heads, n, d) -> (images, heads, Q * n, d)."""
            parted = each.view(images, asked, heads, steps, -1).transpose(1, 2)
            return parted.reshape(images, heads, asked * steps, -1)

        def one_by_one(each: Tensor) -> Tensor:
            parted = each.view(images, heads, asked, steps, -1).transpose(1, 2)
            return parted.reshape(rows, heads, steps, -1)

        to_shared = one_by_one(scores(side_by_side(query), shared_keys, scaling))
        to_own = scores(query, keys, scaling).masked_fill(~self._mask, float("-inf"))
        weights = torch.cat([to_shared, to_own], dim=3).softmax(dim=3).to(value.dtype)
        from_shared = one_by_one(side_by_side(weights[..., :length]) @ shared_values)
        return (from_shared + weights[..., length:] @ values).transpose(1, 2)
