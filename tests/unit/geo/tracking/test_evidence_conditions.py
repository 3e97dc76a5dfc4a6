"""Conditions on spectral evidence: a small grammar, parsed and never evaluated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwatch.geo.tracking.evidence_conditions import holds, parse_condition
from segwatch.geo.types.evidence import ChangeEvidence, IndexMean, SpectralEvidence
from segwatch.geo.types.watch import EvidenceCondition

FOUND = ChangeEvidence(
    (("mndwi", -0.3),), (("mndwi", 0.4),), SpectralEvidence((IndexMean("mndwi", 0.5, -0.2),), 50, 40)
)
LOST = ChangeEvidence((("mndwi", 0.4),), (("mndwi", -0.3),), None)


@pytest.mark.parametrize(
    ("name", "comparison", "found", "lost"),
    [
        ("mndwi", ">0", True, False),
        ("mndwi", " <= 0.5 ", True, True),
        ("mndwi_ring", "<0", True, False),
        ("mndwi_contrast", ">=0.7", True, False),
        ("mndwi_before", "< -.2", True, False),
        ("mndwi_after", ">0.3", True, False),
        ("mndwi_difference", ">+0.5", True, False),
        ("mndwi_difference", "<-0.5", False, True),
        ("nbr", "<9", False, False),
    ],
)
def test_conditions_hold_where_the_value_is_known(
    name: str, comparison: str, found: bool, lost: bool
) -> None:
    condition = parse_condition(name, comparison)
    assert (holds(condition, FOUND), holds(condition, LOST)) == (found, lost)
    assert not holds(condition, None)
    assert not holds(condition, ChangeEvidence())


@pytest.mark.parametrize(
    ("name", "comparison", "message"),
    [
        ("water", ">0", "'water' is unknown; name one of ndwi"),
        ("mndwi_slope", ">0", "is unknown"),
        ("mndwi_inside", ">0", "is unknown"),
        ("mndwi", "0", "write an operator and a number"),
        ("mndwi", ">0 or 1", "write an operator"),
        ("mndwi", ">1e9", "write an operator"),
        ("mndwi", ">nan", "write an operator"),
        ("mndwi", "> __import__('os').getpid()", "write an operator"),
    ],
)
def test_anything_else_is_refused(name: str, comparison: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_condition(name, comparison)


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_text_gets_through(name: str, comparison: str) -> None:
    try:
        parsed = parse_condition(name, comparison)
    except ValueError:
        return
    assert isinstance(parsed, EvidenceCondition)
