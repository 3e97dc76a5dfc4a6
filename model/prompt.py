"""The exact words around an image and an instruction. The grammar is the reference's, byte for byte."""

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
_TEMPLATE = "[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{user} [/INST]"
_ASK = (
    "This is an image \n<image>\n. If the instruction is a question, provide segmentation result + explanation; if "
    "it's a declarative phrase, provide only the segmentation result\n. Please doing Referring or Reasoning "
    "Segmentation according to the following instruction:\n"
)
_TRAIN = (
    "This is an image \n<image>\n, please doing Reasoning Segmentation according to the following instruction:"
    "\n<refer> <|assistant|>"
)


@dataclass(frozen=True)
class TrainingIds:
    """One teacher-forced example."""

    input_ids: Tensor
    """(n,) int64 with -200 and, in the "refer" layout, -204."""
    refer_ids: Tensor
    """(m,) int64 that replace -204; unused in the "ask" layout."""
    labels: Tensor
    """(n,) int64: the answer's ids, -100 before it."""
    answer_start: int
    """Index into ``input_ids`` of the answer's first id."""


def inference_ids(tokenizer: Any, instruction: str) -> Tensor:
    """(n,) int64 ids of the prompt, -200 where the image goes."""
    before, after = _TEMPLATE.replace("{system}", SYSTEM).split("{user}")
    head, tail = _ASK.split(IMAGE)
    return torch.tensor(
        [*encode(tokenizer, before + head), IMAGE_ID, *encode(tokenizer, tail + instruction + after)],
        dtype=torch.long,
    )


def training_ids(
    tokenizer: Any, instruction: str, answer: str, layout: Literal["refer", "ask"] = "refer"
) -> TrainingIds:
    """Ids, labels and answer position of one example.

    Args:
        tokenizer: knows ``[SEG]`` and ``<|endoftext|>``.
        instruction: what to segment.
        answer: words with one ``[SEG]`` per target, or :data:`NOTHING`.
        layout: "refer" is the reference's training layout; "ask" is the prompt used at inference.
    """
    if layout == "ask":
        prompt = inference_ids(tokenizer, instruction).tolist()
    else:
        before, after = _TEMPLATE.replace("{system}", SYSTEM).split("{user}")
        head, rest = _TRAIN.split(IMAGE)
        middle, tail = rest.split(REFER)
        prompt = [
            *encode(tokenizer, before + head),
            IMAGE_ID,
            *encode(tokenizer, middle),
            REFER_ID,
            *encode(tokenizer, tail + after),
        ]
    told = encode(tokenizer, f" \n{answer} {END}")
    refer = [*encode(tokenizer, instruction), *encode(tokenizer, SEG)]
    return TrainingIds(
        input_ids=torch.tensor(prompt + told, dtype=torch.long),
        refer_ids=torch.tensor(refer, dtype=torch.long),
        labels=torch.tensor([IGNORE_LABEL] * len(prompt) + told, dtype=torch.long),
        answer_start=len(prompt),
    )


def encode(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text, nothing added at its ends."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
