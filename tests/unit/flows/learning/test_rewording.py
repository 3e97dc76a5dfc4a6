"""Rewordings of an instruction, and what is said about their agreement."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from segwatch.db.rewordings import RewordingAgreement
from segwatch.flows.learning.rewording import compose_rewordings, describe_agreement
from segwatch.geo.types.watch import Instruction

MEASURED = RewordingAgreement(
    "lakes", "tiny@1", UUID(int=1), ("outline all lakes", "map them"), 9, 0.4, {"lakes": 0.4}
)


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("segment the water", ("water",)),
        ("Segment the flooded roads and the buildings they isolate.", ("roads", "building")),
        ("find the solar panels", ("solar panels",)),
        ("outline all lakes", ("lakes",)),
        ("segment whatever changed", ()),
    ],
)
def test_there_are_three_to_five_and_always_the_same(text: str, targets: tuple[str, ...]) -> None:
    instruction = Instruction(text, targets)
    found = compose_rewordings(instruction)
    assert 3 <= len(found) <= 5
    assert len({one.casefold() for one in (text, *found)}) == len(found) + 1
    assert found == compose_rewordings(instruction)


def test_targets_get_the_other_names_of_the_field() -> None:
    first, second, third, *rest = compose_rewordings(Instruction("segment the roads", ("roads",)))
    assert (first, second, third) == (
        "outline all roads",
        "map the streets in this image",
        "find the paved roads",
    )
    assert any("segment the roads" in one for one in rest), "its own words stay in some"


def test_only_low_or_missing_agreement_is_told() -> None:
    assert "segwatch model rewordings lakes" in (describe_agreement(None, "lakes") or "")
    assert "agree by 0.40 only" in (describe_agreement(MEASURED, "lakes") or "")
    assert "marked anything" in (describe_agreement(replace(MEASURED, agreement=None), "lakes") or "")
    assert describe_agreement(replace(MEASURED, agreement=0.9), "lakes") is None
