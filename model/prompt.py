"""The exact prompt around an image and an instruction; the wording, its grammar included, is the published code's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from segwatch.model.splice import IGNORE_LABEL, IMAGE_ID, REFER_ID

SEG = "[SEG]"
END = "<|endoftext|>"
IMAGE = "<image>"
REFER = "<refer>"
NOTHING = "There is no target object in the image."

SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
TEMPLATE = "[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{user} [/INST]"
INFERENCE_REQUEST = (
    "This is an image \n<image>\n. If the instruction is a question, provide segmentation result + explanation; if "
    "it's a declarative phrase, provide only the segmentation result\n. Please doing Referring or Reasoning "
    "Segmentation according to the following instruction:\n"
)
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


def tokenize_prompt(tokenizer: Any, instruction: str) -> Tensor:
    """Tokenize the prompt for inference: (n,) int64, -200 at the image's place."""
    before, after = TEMPLATE.replace("{system}", SYSTEM).split("{user}")
    head, tail = INFERENCE_REQUEST.split(IMAGE)
    return torch.tensor(
        [*tokenize(tokenizer, before + head), IMAGE_ID, *tokenize(tokenizer, tail + instruction + after)],
        dtype=torch.long,
    )


def tokenize_example(
    tokenizer: Any, instruction: str, answer: str, layout: Literal["refer", "ask"] = "refer"
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
    """
    if layout == "ask":
        prompt = tokenize_prompt(tokenizer, instruction).tolist()
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
