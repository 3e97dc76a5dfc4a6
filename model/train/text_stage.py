"""Train the language model on text alone: learn which target an instruction asks for, before any image.

The whole model learns this too, but slowly: a batch with images has few instructions and long prompts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from segwatch.model import prompt
from segwatch.model.segearth import SegEarthR2
from segwatch.model.splice import IMAGE_ID
from segwatch.model.train import instructions
from segwatch.model.train.config import Mix
from segwatch.model.train.losses import IGNORE_LABEL, compute_language_loss

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextStageConfig:
    """Length and learning rate of the stage."""

    seed: int = 7
    steps: int = 400
    pairs: int = 48
    """Instructions per step."""
    learning_rate: float = 2e-3
    warmup_steps: int = 20


def train_text_stage(
    model: SegEarthR2,
    tokenizer: Any,
    targets: Sequence[str],
    queries: Tensor,
    mix: Mix,
    config: TextStageConfig,
) -> list[float]:
    """Train the language model to name the targets of an instruction and to point at them.

    Parameters
    ----------
    model
        Its language model and query projector are changed in place.
    tokenizer
        Of the model.
    targets
        To learn the names of.
    queries
        (targets, width) query to learn for each target's [SEG], in order of ``targets``.
    mix
        Of instructions.
    config
        Length and pace.

    Returns
    -------
    list[float]
        The loss of every step.
    """
    language = model.language
    parameters = [*language.parameters(), *model.query_projector.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.01)
    seen = []
    for step in range(config.steps):
        warm = min((step + 1) / max(config.warmup_steps, 1), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * warm * (1.0 - 0.7 * step / config.steps)
        rng = np.random.default_rng((config.seed, 1, step))
        pairs = instructions.draw_pairs(rng, sorted(targets), [], config.pairs, mix)
        ids, labels, pointed_at = _tokenize_pairs(pairs, tokenizer, targets, model.config.prompt)
        hidden, _ = language(language.embed(ids))
        pointed = model.queries(hidden[labels == model.config.seg_token_id])
        loss = compute_language_loss(language.lm_head(hidden), labels) + F.mse_loss(
            pointed, queries[pointed_at]
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        seen.append(float(loss.detach()))
        if (step + 1) % 50 == 0:
            _log.info("words step %d  loss %.3f", step + 1, sum(seen[-50:]) / 50)
    return seen


@torch.no_grad()
def compute_queries(model: SegEarthR2, tokenizer: Any, targets: Sequence[str]) -> Tensor:
    """Compute (targets, width) queries that a model's [SEG] becomes for each target before it has seen an image."""
    pairs = [
        instructions.InstructionPair(
            f"segment the {instructions.TARGET_NOUNS[name][0]}", instructions.compose_answer((name,)), (name,)
        )
        for name in targets
    ]
    ids, labels, _ = _tokenize_pairs(pairs, tokenizer, targets, model.config.prompt)
    hidden, _ = model.language(model.language.embed(ids))
    return model.queries(hidden[labels == model.config.seg_token_id])


def _tokenize_pairs(
    pairs: Sequence[instructions.InstructionPair], tokenizer: Any, targets: Sequence[str], template: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (pairs, L) ids and labels of the prompt after the image, and the (T,) target of each [SEG]."""
    ids, labels, pointed_at = [], [], []
    for pair in pairs:
        example = prompt.tokenize_example(tokenizer, pair.instruction, pair.answer, "ask", template)
        begin = int((example.input_ids == IMAGE_ID).nonzero()[0]) + 1
        ids.append(example.input_ids[begin:])
        labels.append(example.labels[begin:])
        pointed_at += [targets.index(target) for target in pair.targets]
    return (
        pad_sequence(ids, batch_first=True),
        pad_sequence(labels, batch_first=True, padding_value=IGNORE_LABEL),
        torch.tensor(pointed_at),
    )
