"""Phrase instructions and the texts to learn, for up to three targets or an absent one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segwatch.model import prompt
from segwatch.model.train.config import Mix

TARGET_NOUNS: dict[str, tuple[str, ...]] = {
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
    "road": ("roads", "streets", "highways", "paved roads"),
    "bare": ("bare ground", "bare soil", "open soil", "ground without plants"),
}
"""Names of each target; the first one is used in evaluations."""

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
UNNAMED_QUESTIONS: dict[str, tuple[str, ...]] = {
    "water": ("where could a boat go?", "where could one swim?"),
    "forest": ("where could timber be cut?", "where would one walk in the shade of trees?"),
    "field": ("where is food grown?", "where would a farmer work?"),
    "burned": ("where has a fire been?", "what did the fire destroy?"),
    "building": ("where do people live?", "where would one find a roof?"),
    "road": ("where can cars drive?", "how could a truck get through?"),
    "bare": ("where does nothing grow?", "where is the soil open to the wind?"),
}
"""Questions that do not name their target."""

_PAIRS = ("{} and the {}", "{} and {}", "{} and also the {}", "{}, then the {}")
_THREES = ("{}, the {} and the {}", "{}, {} and {}")
_JOINTS = {2: _PAIRS, 3: _THREES}

ANSWER_WORDS = {
    "water": "water", "forest": "forest", "field": "fields", "burned": "burned", "building": "buildings",
    "road": "roads", "bare": "bare",
}  # fmt: skip
"""Name of each target in the text to learn. The word stands right before its [SEG], so the language loss
teaches which target was asked for and [SEG] needs to attend only one token back; without it, so small a
model does not learn within minutes to distinguish instructions."""

WEIGHTS = {"water": 3.0, "forest": 2.0}
"""How often a target is asked for, relative to the others."""


@dataclass(frozen=True)
class InstructionPair:
    """An instruction, the text to learn, and the targets in order of its [SEG].

    For an absent target the text denies it (no targets) or points at it with an empty mask.
    """

    instruction: str
    answer: str
    targets: tuple[str, ...]


@dataclass(frozen=True)
class TargetWeights:
    """How often a target is asked for, relative to the others, where it is present and where it is absent."""

    present: Mapping[str, float]
    absent: Mapping[str, float]


DEFAULT_WEIGHTS = TargetWeights(WEIGHTS, WEIGHTS)


def compose_answer(targets: Sequence[str]) -> str:
    """Compose the text to learn for targets that are pointed at, or for none."""
    if not targets:
        return prompt.NOTHING
    return f"Sure, it is {' and '.join(f'{ANSWER_WORDS[target]} {prompt.SEG}' for target in targets)}."


def compose_instruction(rng: np.random.Generator, targets: Sequence[str], unnamed: float = 0.0) -> str:
    """Draw one of the phrasings of an instruction for one to three targets.

    Parameters
    ----------
    rng
        Random source.
    targets
        Targets to ask for, in order.
    unnamed
        Share of questions that do not name their one target.
    """
    if len(targets) == 1 and unnamed and rng.random() < unnamed:
        question = str(rng.choice(UNNAMED_QUESTIONS[targets[0]]))
        return _capitalise(question) if rng.random() < 0.4 else question
    names = [
        str(rng.choice(TARGET_NOUNS[target])) if rng.random() < 0.7 else TARGET_NOUNS[target][0]
        for target in targets
    ]
    what = names[0] if len(names) == 1 else str(rng.choice(_JOINTS[len(names)])).format(*names)
    shape = str(rng.choice(_ORDERS if rng.random() < 0.8 else _QUESTIONS))
    text = shape.format(what)
    if rng.random() < 0.4:
        text = _capitalise(text)
    if rng.random() < 0.2 and not text.endswith("?"):
        text += "."
    return text


def get_form(instruction: str) -> str:
    """Return "statement", "question", or "unnamed" for a question that does not name its target."""
    if instruction.lower() in {question for group in UNNAMED_QUESTIONS.values() for question in group}:
        return "unnamed"
    return "question" if instruction.endswith("?") else "statement"


def find_target(instruction: str) -> str:
    """Find the target of an instruction composed here for a single one; of several matching names, the longest."""
    text = instruction.lower()
    names = [
        (name, target)
        for said in (TARGET_NOUNS, UNNAMED_QUESTIONS)
        for target, group in said.items()
        for name in group
        if name in text
    ]
    return max(names, key=lambda found: len(found[0]))[1]


def draw_pairs(
    rng: np.random.Generator,
    present: Sequence[str],
    absent: Sequence[str],
    count: int,
    mix: Mix,
    weights: TargetWeights = DEFAULT_WEIGHTS,
) -> list[InstructionPair]:
    """Draw instructions for one image.

    Parameters
    ----------
    rng
        Random source.
    present
        Targets that the image holds.
    absent
        Targets that it certainly does not contain.
    count
        How many.
    mix
        Shares of the kinds of instruction. Without absent targets their share asks for two targets; whatever else
        the image does not allow asks for one.
    weights
        How often each target is asked for.

    Returns
    -------
    list[InstructionPair]
        ``count`` pairs; empty if nothing is known of the image.
    """
    made = []
    for _ in range(count):
        roll = rng.random()
        if absent and (not present or roll < mix.absent):
            chosen = _choose(rng, absent, 1, weights.absent)
            answered = chosen if mix.empty and rng.random() < mix.empty else ()
        elif present:
            some = _draw_count(roll - mix.absent, len(present), mix)
            chosen = answered = _choose(rng, present, some, weights.present)
        else:
            continue
        made.append(
            InstructionPair(compose_instruction(rng, chosen, mix.unnamed), compose_answer(answered), answered)
        )
    return made


def _draw_count(roll: float, most: int, mix: Mix) -> int:
    """Return how many targets to ask for; ``roll`` is below 0 where no target could be absent."""
    if most > 2 and 0 <= roll < mix.three:
        return 3
    return 2 if most > 1 and roll < mix.three + mix.two else 1


def _choose(
    rng: np.random.Generator, names: Sequence[str], count: int, weights: Mapping[str, float]
) -> tuple[str, ...]:
    chances = np.array([weights.get(name, 1.0) for name in names])
    drawn = rng.choice(np.array(names), size=count, replace=False, p=chances / chances.sum())
    return tuple(str(name) for name in drawn)


def _capitalise(text: str) -> str:
    return text[0].upper() + text[1:]


def list_phrases(targets: Sequence[str]) -> list[str]:
    """List every phrasing of some targets once, for the tokenizer."""
    shapes = [*_ORDERS, *_QUESTIONS]
    names = [name for target in targets for name in TARGET_NOUNS[target]]
    single = [shape.format(name) for shape in shapes for name in names]
    double = [
        joint.format(first, second) for joint in _PAIRS for first in names[:6] for second in names[10:16]
    ]
    capital = [_capitalise(text) for text in single]
    return [*single, *capital, *double, *[compose_answer((name,)) for name in targets], prompt.NOTHING]
