"""Language model: Phi without the bias on its head, with two hooks into its attention.

Source: Phi as in transformers. Spatial attention supervision (SegEarth-R2, arXiv 2512.20013) needs the attention of the
[SEG] positions to the image tokens, summed over heads. Whole attention maps of every layer would take gigabytes, so
only those rows are computed, beside the fused attention (:class:`AttentionProbe`). Generating text needs cached keys
and values, with one prefix for many instructions (:mod:`segwatch.model.kv_cache`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PhiConfig, PhiModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from segwatch.model.config import PhiDims

_ATTENTION = "segwatch_rows"


@dataclass
class AttentionProbe:
    """Which attention rows to read, and the rows read so far, layer by layer."""

    batch: Tensor
    """(T,) int64: sequence of each row."""
    position: Tensor
    """(T,) int64: query position of each row."""
    start: Tensor
    """(B,) int64: first image token of each sequence."""
    count: int
    """N: image tokens per sequence."""
    rows: list[Tensor] = field(default_factory=list)
    """(T, N) per layer, after the softmax, summed over heads."""

    def read(self, query: Tensor, key: Tensor, scaling: float) -> None:
        """Read one layer's rows from its rotated query and key (B, heads, L, head size)."""
        with torch.autocast(query.device.type, enabled=False):
            rows, keys = query[self.batch, :, self.position].float(), key[self.batch].float()
            scores = torch.einsum("thd,thkd->thk", rows, keys) * scaling
        later = torch.arange(key.shape[2], device=key.device) > self.position[:, None]
        weights = scores.masked_fill(later[:, None], float("-inf")).softmax(dim=2).sum(dim=1)
        columns = self.start[self.batch, None] + torch.arange(self.count, device=key.device)
        self.rows.append(weights.gather(1, columns))


class AttentionBackend(Protocol):
    """Replaces the plain attention of every layer and stores keys and values."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Attend with rotated query, key and value (B, heads, n, head size) -> (B, n, heads, head size)."""


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    probe: AttentionProbe | None = options.pop("probe", None)
    backend: AttentionBackend | None = options.pop("backend", None)
    if probe is not None:
        probe.read(query, key, options["scaling"])
    if backend is not None:
        layer = cast(int, module.layer_idx)
        return backend.attend(layer, query, key, value, options["scaling"]), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


AttentionInterface.register(_ATTENTION, _attention)
AttentionMaskInterface.register(_ATTENTION, sdpa_mask)


class LanguageModel(nn.Module):
    """Embeddings in, hidden states and next-token logits out."""

    def __init__(self, dims: PhiDims) -> None:
        super().__init__()
        options: dict[str, Any] = {
            "vocab_size": dims.vocab_size,
            "hidden_size": dims.hidden_size,
            "intermediate_size": dims.intermediate_size,
            "num_hidden_layers": dims.num_layers,
            "num_attention_heads": dims.num_heads,
            "num_key_value_heads": dims.num_heads,
            "partial_rotary_factor": dims.rotary_share,
            "max_position_embeddings": dims.max_positions,
            "hidden_act": "gelu_new",
            "layer_norm_eps": 1e-5,
            "bos_token_id": None,
            "eos_token_id": None,
            "attn_implementation": _ATTENTION,
        }
        self.phi = PhiModel(PhiConfig(**options))
        self.lm_head = nn.Linear(dims.hidden_size, dims.vocab_size, bias=False)
        nn.init.normal_(self.lm_head.weight, std=0.02)

    def embed(self, ids: Tensor) -> Tensor:
        """Embed (L,) int64 ids >= 0 -> (L, hidden)."""
        return cast(Tensor, self.phi.embed_tokens(ids))

    def forward(
        self, embeds: Tensor, *, probe: AttentionProbe | None = None, all_layers: bool = False
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run a causal pass over whole, right-padded sequences.

        Padding needs no mask: it comes last, and no earlier position attends to it.

        Parameters
        ----------
        embeds
            (B, L, hidden).
        probe
            Attention rows to read on the way.
        all_layers
            Also return the hidden states before and after every layer.

        Returns
        -------
        tuple
            Last hidden states (B, L, hidden) after the final norm, and all hidden states or ().
        """
        options = {} if probe is None else {"probe": probe}
        out = self.phi(inputs_embeds=embeds, use_cache=False, output_hidden_states=all_layers, **options)
        return out.last_hidden_state, tuple(out.hidden_states or ())

    def extend(self, embeds: Tensor, backend: AttentionBackend, positions: Tensor) -> Tensor:
        """Run a pass over the next positions of sequences whose past the backend stores.

        Parameters
        ----------
        embeds
            (B, n, hidden).
        backend
            Computes every layer's attention.
        positions
            (B, n) int64 position of each column in its own sequence.

        Returns
        -------
        Tensor
            (B, n, hidden) last hidden states.
        """
        out = self.phi(
            inputs_embeds=embeds,
            # the backend does the masking; a four-dimensional mask is passed on unread
            attention_mask=embeds.new_ones(1, 1, 1, 1, dtype=torch.bool),
            position_ids=positions,
            use_cache=False,
            backend=backend,
        )
        return cast(Tensor, out.last_hidden_state)
