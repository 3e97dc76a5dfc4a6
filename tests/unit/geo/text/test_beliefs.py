"""How sure an alert is, in words that anybody understands."""

from __future__ import annotations

import pytest

from segwatch.geo.text.beliefs import describe_belief


@pytest.mark.parametrize(
    ("status", "confidence", "agree", "disagree", "words"),
    [
        ("confirmed", 0.97, 3, 0, "confirmed by 3 observations, 97 % sure"),
        ("confirmed", 0.999, 4, 1, "confirmed by 4 observations, over 99 % sure; one observation against it"),
        ("provisional", 0.62, 1, 0, "provisional: one observation so far, 62 % sure"),
        (
            "provisional",
            0.4,
            2,
            2,
            "provisional: 2 observations so far, 40 % sure; 2 observations against it",
        ),
        ("refuted", 0.03, 1, 2, "refuted by 2 observations, 3 % likely; one observation for it"),
        ("refuted", 0.02, 2, 0, "refuted, 2 % likely; 2 observations for it"),
        ("refuted", 0.001, 0, 1, "refuted by one observation, under 1 % likely"),
    ],
)
def test_a_belief_is_said_in_words(
    status: str, confidence: float, agree: int, disagree: int, words: str
) -> None:
    row = {
        "status": status,
        "confidence": confidence,
        "observations_for": agree,
        "observations_against": disagree,
    }
    assert describe_belief(row) == words
    assert describe_belief(row | {"confidence_calibrated": 0.67}) == f"{words}; calibrated: 67 %"


def test_what_nobody_judged_says_so() -> None:
    assert describe_belief({}) == describe_belief({"status": None}) == "not judged"
    assert describe_belief({"change_status": None, "status": "open"}, status="change_status") == "not judged"
