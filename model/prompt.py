"""The exact prompt around an image and an instruction; the wording, its grammar included, is the published code's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from segwatch.model.config import IMAGE, INSTRUCTION, PUBLISHED_PROMPT, SYSTEM, TEMPLATE
from segwatch.model.splice import IGNORE_LABEL, IMAGE_ID, REFER_ID

SEG = "[SEG]"
END = "<|endoftext|>"
REFER = "<refer>"
NOTHING = "There is no target object in the image."

TRAINING_REQUEST = (
    "This is an image \n<image>\n, please doing Reasoning Segmentation according to the following instruction:"
    "\n<refer> <|assistant|>"
)


@dataclass(frozen=True)
class TrainingExample:
    """Token ids of one teacher-forced example."""

    input_ids: Tensor
    """(n,) int64 with -200 (image) and, in the "refer" layout, -204 (instruction)."""
    refer_ids: Tensor
    """(m,) int64 that replace -204; unused in the "ask" layout."""
    labels: Tensor
    """(n,) int64: the ids of the text to generate, -100 before it."""
    answer_start: int
    """Index into ``input_ids`` of the first id of the text to generate."""


def tokenize_prompt(tokenizer: Any, instruction: str, template: str = PUBLISHED_PROMPT) -> Tensor:
    """Tokenize the prompt for inference.

    Parameters
    ----------
    tokenizer
        Of the model.
    instruction
        What to segment.
    template
        :attr:`.SegEarthConfig.prompt` of the model.

    Returns
    -------
    Tensor
        (n,) int64, -200 at the image's place. The text on either side of the image is tokenized separately.
    """
    head, tail = template.split(IMAGE)
    rest = tail.replace(INSTRUCTION, instruction)
    return torch.tensor([*tokenize(tokenizer, head), IMAGE_ID, *tokenize(tokenizer, rest)], dtype=torch.long)


def tokenize_example(
    tokenizer: Any,
    instruction: str,
    answer: str,
    layout: Literal["refer", "ask"] = "refer",
    template: str = PUBLISHED_PROMPT,
) -> TrainingExample:
    """Tokenize one training example.

    Parameters
    ----------
    tokenizer
        With ``[SEG]`` and ``<|endoftext|>`` in its vocabulary.
    instruction
        What to segment.
    answer
        Text to generate, with one ``[SEG]`` per target, or :data:`NOTHING`.
    layout
        "refer" = the published training layout; "ask" = the prompt used at inference.
    template
        The prompt used at inference, see :func:`tokenize_prompt`.
    """
    if layout == "ask":
        prompt = tokenize_prompt(tokenizer, instruction, template).tolist()
    else:
        before, after = TEMPLATE.replace("{system}", SYSTEM).split("{user}")
        head, rest = TRAINING_REQUEST.split(IMAGE)
        middle, tail = rest.split(REFER)
        prompt = [
            *tokenize(tokenizer, before + head),
            IMAGE_ID,
            *tokenize(tokenizer, middle),
            REFER_ID,
            *tokenize(tokenizer, tail + after),
        ]
    answer_ids = tokenize(tokenizer, f" \n{answer} {END}")
    refer = [*tokenize(tokenizer, instruction), *tokenize(tokenizer, SEG)]
    return TrainingExample(
        input_ids=torch.tensor(prompt + answer_ids, dtype=torch.long),
        refer_ids=torch.tensor(refer, dtype=torch.long),
        labels=torch.tensor([IGNORE_LABEL] * len(prompt) + answer_ids, dtype=torch.long),
        answer_start=len(prompt),
    )


def tokenize(tokenizer: Any, text: str) -> list[int]:
    """Tokenize a text without adding special tokens."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
