"""Instructions and their answers: phrasings of what to segment, for one target, two, or none that is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segwatch.model import prompt

NOUNS: dict[str, tuple[str, ...]] = {
    "water": (
        "water",
        "water bodies",
        "open water",
        "surface water",
        "lakes",
        "lakes and ponds",
        "rivers",
        "flooded areas",
        "flood water",
        "inundated land",
    ),
    "forest": ("forest", "forests", "trees", "woodland", "tree cover", "wooded areas"),
    "field": ("crop fields", "fields", "cropland", "farmland", "agricultural fields"),
    "burned": ("burned area", "burned ground", "burn scar", "burnt land", "fire damage"),
    "building": ("buildings", "houses", "built-up area", "rooftops", "built structures"),
}
"""Names of each target; the first is the one that claims are measured with."""

_ORDERS = (
    "segment the {}",
    "segment the {}",
    "segment all {}",
    "outline the {}",
    "outline all {}",
    "find the {}",
    "map the {}",
    "show the {}",
    "mark all {}",
    "detect {}",
    "delineate the {}",
    "please segment the {}",
    "segment the {} in this image",
    "{}",
)
_QUESTIONS = ("where is the {}?", "where are the {}?", "which parts are {}?", "can you segment the {}?")
_PAIRS = ("{} and the {}", "{} and {}", "{} and also the {}", "{}, then the {}")

SAID = {"water": "water", "forest": "forest", "field": "fields", "burned": "burned", "building": "buildings"}
"""What an answer calls each target. The word stands right before its [SEG], so that the language loss teaches
which target was asked for and [SEG] has only to look one word back: without it, a model this small does not
learn in minutes to tell instructions apart."""


WEIGHTS = {"water": 3.0, "forest": 2.0}
"""How much more often than the others a target is asked for."""
_ABSENT_SHARE = 0.33
_TWO_SHARE = 0.15


@dataclass(frozen=True)
class Pair:
    """An instruction, the answer to learn, and the targets in order of the answer's [SEG]."""

    instruction: str
    answer: str
    targets: tuple[str, ...]


def answer(targets: Sequence[str]) -> str:
    """The answer to learn for targets that are there, or for none."""
    if not targets:
        return prompt.NOTHING
    return f"Sure, it is {' and '.join(f'{SAID[target]} {prompt.SEG}' for target in targets)}."


def phrase(rng: np.random.Generator, targets: Sequence[str]) -> str:
    """One of the phrasings of an instruction for one or two targets."""
    names = [str(rng.choice(NOUNS[target])) if rng.random() < 0.7 else NOUNS[target][0] for target in targets]
    what = names[0] if len(names) == 1 else str(rng.choice(_PAIRS)).format(*names)
    shape = str(rng.choice(_ORDERS if rng.random() < 0.8 else _QUESTIONS))
    text = shape.format(what)
    if rng.random() < 0.4:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.2 and not text.endswith("?"):
        text += "."
    return text


def form_of(instruction: str) -> str:
    """ "question" or "statement"."""
    return "question" if instruction.endswith("?") else "statement"


def target_of(instruction: str) -> str:
    """The target of an instruction made here for a single one; of several names that fit, the longest."""
    text = instruction.lower()
    names = [(name, target) for target, group in NOUNS.items() for name in group if name in text]
    return max(names, key=lambda found: len(found[0]))[1]


def pairs(rng: np.random.Generator, present: Sequence[str], absent: Sequence[str], count: int) -> list[Pair]:
    """Instructions for one image.

    Args:
        rng: random source.
        present: targets that the image holds.
        absent: targets that it surely does not hold.
        count: how many.

    Returns:
        ``count`` pairs: about one in three asks for what is absent, one in seven for two targets.
    """
    made = []
    for _ in range(count):
        roll = rng.random()
        if absent and (not present or roll < _ABSENT_SHARE):
            (target,) = _chosen(rng, absent, 1)
            made.append(Pair(phrase(rng, (target,)), answer(()), ()))
        elif len(present) > 1 and roll < _ABSENT_SHARE + _TWO_SHARE:
            chosen = _chosen(rng, present, 2)
            made.append(Pair(phrase(rng, chosen), answer(chosen), chosen))
        elif present:
            (target,) = _chosen(rng, present, 1)
            made.append(Pair(phrase(rng, (target,)), answer((target,)), (target,)))
    return made


def _chosen(rng: np.random.Generator, names: Sequence[str], count: int) -> tuple[str, ...]:
    weights = np.array([WEIGHTS.get(name, 1.0) for name in names])
    drawn = rng.choice(np.array(names), size=count, replace=False, p=weights / weights.sum())
    return tuple(str(name) for name in drawn)


def corpus() -> list[str]:
    """Every phrasing once, for the tokenizer."""
    shapes = [*_ORDERS, *_QUESTIONS]
    names = [name for group in NOUNS.values() for name in group]
    single = [shape.format(name) for shape in shapes for name in names]
    double = [
        joint.format(first, second) for joint in _PAIRS for first in names[:6] for second in names[10:16]
    ]
    capital = [text[0].upper() + text[1:] for text in single]
    return [*single, *capital, *double, *[answer((name,)) for name in NOUNS], prompt.NOTHING]
