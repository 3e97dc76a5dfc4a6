"""Bank of segmentation queries: the language branch's [SEG] for each target, over many instructions and pictures.

Training the mask branch on these saves running the language branch, which takes most of a step's time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from segwatch.model import processor, prompt
from segwatch.model.segearth import SegEarthR2
from segwatch.model.train import instructions

BANK_FILE = "queries.safetensors"
_UNNAMED = 0.05  # share of instructions that do not name their target
QueryBank = dict[str, Tensor]
"""Target -> (phrases, width)."""


@torch.no_grad()
def compute_bank(
    model: SegEarthR2,
    tokenizer: Any,
    targets: Sequence[str],
    pictures: Sequence[NDArray[np.uint8]],
    phrases: int,
    seed: int,
) -> QueryBank:
    """Compute the queries of ``phrases`` instructions for each target, each on one of the pictures.

    Parameters
    ----------
    model
        Model whose language branch computes them.
    tokenizer
        Of the model.
    targets
        To ask for, one at a time.
    pictures
        (H, W, 3) each.
    phrases
        Instructions of each target.
    seed
        Of the choice of words.
    """
    rng = np.random.default_rng((seed, 3))
    views = [processor.make_language_view(picture, model.config.siglip.image_size) for picture in pictures]
    tokens = model.image_tokens(torch.stack(views))
    return {
        target: torch.stack(
            [
                _compute_query(
                    model,
                    tokenizer,
                    instructions.compose_instruction(rng, (target,), _UNNAMED),
                    target,
                    token,
                )
                for _, token in zip(range(phrases), _cycle(tokens), strict=False)
            ]
        )
        for target in targets
    }


def load_bank(file: Path) -> QueryBank:
    """Load the bank that an earlier start of the run saved."""
    return load_file(file)


def save_bank(bank: QueryBank, file: Path) -> None:
    """Save a bank, so that a run resumed on another machine uses exactly the same queries."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({target: value.contiguous() for target, value in bank.items()}, file)


def _cycle(tokens: Tensor) -> Any:
    while True:
        yield from tokens


def _compute_query(model: SegEarthR2, tokenizer: Any, text: str, target: str, token: Tensor) -> Tensor:
    """Compute the (width,) query of the [SEG]."""
    answer = instructions.compose_answer((target,))
    example = prompt.tokenize_example(tokenizer, text, answer, "ask", model.config.prompt)
    spliced = model.splice([example.input_ids], token[None], [example.refer_ids])
    _, batch, position = model.targets([example.input_ids], spliced, [example.answer_start])
    hidden, _ = model.language(spliced.embeds)
    return model.queries(hidden[batch, position])[0]
