"""Invariant 6 on processes: under faults of every kind the ledger ends as if undisturbed; the long one is a command."""

from __future__ import annotations

from tests.chaos.trial import run_trial


def test_a_ledger_under_faults_ends_as_the_undisturbed_one() -> None:
    outcome = run_trial(scenes=16, faults=10, seed=1)
    assert outcome.is_equal, outcome
    assert outcome.alerts > 0
    assert set(outcome.faults) - {"copy_in_copy"} == {
        "kill",
        "copy",
        "catalog",
        "imagery",
        "disk",
        "postgres",
    }
