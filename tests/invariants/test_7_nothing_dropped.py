"""Invariant 7: every scene found ends as observed, skipped or failed, an unusable item as rejected; counts add up."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

OUTCOMES = {
    "lake": ("observed", "alerted"),
    "nothing": ("observed", "nothing found"),
    "clouded": ("observed", "cloudy"),
    "skipped": ("skipped", "cloudy"),
    "failed": ("failed", "failed"),
    "misrendered": ("failed", "failed"),
    "rejected": ("rejected", "rejected"),
}
#: Nothing is answered on these.
UNANSWERED = {"skipped", "failed", "misrendered", "rejected"}


@given(st.lists(st.sampled_from(sorted(OUTCOMES)), min_size=1, max_size=6), st.randoms(use_true_random=False))
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_scene_has_an_outcome_and_a_reason(
    ledgers: Any, kit: Any, drawn: list[str], shuffle: Any
) -> None:
    lake, away = kit.cells(2, 2, 4, 4), kit.cells(5, 0, 8, 8)
    looks = {"lake": kit.look((lake,)), "nothing": kit.look(()), "clouded": kit.look((), away)}
    # an empty first scene is the baseline, so that a lake that follows alerts
    outcomes = ["nothing", *drawn]
    world = [looks.get(outcome) for outcome in outcomes]
    ledger = ledgers()
    order = list(range(len(outcomes)))
    shuffle.shuffle(order)
    for number in order:
        if outcomes[number] == "rejected":
            ledger.reject(number)
        elif outcomes[number] == "misrendered":
            ledger.misrender(number)
        elif outcomes[number] in UNANSWERED:
            ledger.give_up(number, skipped=outcomes[number] == "skipped")
        else:
            ledger.answer(world, [number])
        ledger.track()
    rows = ledger.rows("SELECT acquired_at, state, reason, attempts FROM watch.coverage ORDER BY acquired_at")
    assert [row["state"] for row in rows] == [OUTCOMES[outcome][0] for outcome in outcomes]
    for row in rows:
        assert (row["reason"] is not None) == (row["state"] in {"skipped", "failed", "rejected"})
        assert (row["attempts"] >= 1) == (row["state"] != "rejected")
    for row, outcome in zip(rows, outcomes, strict=True):
        assert outcome != "misrendered" or row["attempts"] == 1, "what stays wrong is not tried again"
    (counts,) = ledger.summarize()
    told = {name: counts[name] for name in ("observed", "skipped", "failed", "rejected") if counts[name]}
    assert told == Counter(OUTCOMES[outcome][0] for outcome in outcomes)
    assert counts["waiting"] == 0
    why = ledger.rows(
        "SELECT acquired_at, answer FROM watch.why_not(10.006, 50.006, :at, 'lakes') ORDER BY 1",
        at=kit.day(99),
    )
    assert len(why) == len(outcomes)
    seen = False
    for outcome, row in zip(outcomes, why, strict=True):
        expected = OUTCOMES[outcome][1]
        # a lake that is still there is no news, and one that is gone is
        if outcome == "lake" and seen:
            expected = "below threshold"
        if outcome == "nothing" and seen:
            expected = "alerted"
        # an object that a single scene shows may never have been there, as was clear at once if that scene was late
        answers = {"alerted", "refuted"} if expected == "alerted" else {expected}
        assert row["answer"] in answers, (outcomes, row)
        seen = outcome == "lake" or (seen and outcome != "nothing")
