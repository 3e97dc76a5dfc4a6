"""Conditions on spectral evidence in alert rules: parse them, and test them on a change.

The grammar is a name and a comparison, never an expression: ``mndwi: ">0"``, ``nbr_difference: "<-0.2"``. A name is
an index, or an index and one of the measures ``ring``, ``contrast``, ``before``, ``after`` and ``difference``.
"""

from __future__ import annotations

import re

from segwatch.geo.spectral.indices import BY_NAME
from segwatch.geo.types.evidence import ChangeEvidence
from segwatch.geo.types.watch import EvidenceCondition

#: What a rule may ask for; ``inside`` is written without its name.
MEASURES = ("inside", "ring", "contrast", "before", "after", "difference")
_COMPARISON = re.compile(r"\s*(>=|<=|>|<)\s*([+-]?(?:\d{1,4}(?:\.\d{0,6})?|\.\d{1,6}))\s*")


def parse_condition(name: str, comparison: str) -> EvidenceCondition:
    """Parse one entry of ``evidence``.

    Raises
    ------
    ValueError
        The name is no index and measure, or the comparison is not one operator and one number.
    """
    index, _, measure = name.partition("_")
    if index not in BY_NAME or (measure and measure not in MEASURES[1:]):
        raise ValueError(
            f"{name!r} is unknown; name one of {', '.join(BY_NAME)}, alone or followed by "
            f"{', '.join(f'_{one}' for one in MEASURES[1:])}"
        )
    found = _COMPARISON.fullmatch(comparison)
    if found is None:
        raise ValueError(
            f'{name}: write an operator and a number, such as ">0" or "<= -0.2"; got {comparison!r}'
        )
    return EvidenceCondition(index, measure or "inside", found[1], float(found[2]))


def holds(condition: EvidenceCondition, evidence: ChangeEvidence | None) -> bool:
    """Whether a condition holds; False where the value is unknown."""
    value = None if evidence is None else _get_value(condition, evidence)
    if value is None:
        return False
    limit = condition.limit
    return {">": value > limit, ">=": value >= limit, "<": value < limit, "<=": value <= limit}[
        condition.operator
    ]


def _get_value(condition: EvidenceCondition, evidence: ChangeEvidence) -> float | None:
    before, after = (dict(part).get(condition.index) for part in (evidence.before, evidence.after))
    mean = None if evidence.detection is None else evidence.detection.get(condition.index)
    inside, ring = (None, None) if mean is None else (mean.inside, mean.ring)
    match condition.measure:
        case "before":
            return before
        case "after":
            return after
        case "difference":
            return None if before is None or after is None else after - before
        case "ring":
            return ring
        case "contrast":
            return None if inside is None or ring is None else inside - ring
        case _:
            # an object that was not found has no inside: the ground where it was stands for it
            return after if inside is None else inside
