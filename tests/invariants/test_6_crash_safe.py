"""Invariant 6: killed between any two statements and repeated, tracking ends as if undisturbed."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event


class _Killed(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("late", [False, True])
def test_every_kill_point_of_publishing_converges(ledgers: Any, kit: Any, late: bool) -> None:
    whole, west, east = kit.cells(1, 1, 6, 4), kit.cells(1, 1, 3, 4), kit.cells(4, 1, 6, 4)
    world = [kit.look((whole,)), kit.look((west, east)), kit.look((west,))]
    first, then = ([0, 2], [1]) if late else ([0, 1], [2])

    def prepared() -> Any:
        ledger = ledgers()
        ledger.arrive(world, first)
        ledger.answer(world, then)
        return ledger

    undisturbed = prepared()
    undisturbed.track()
    expected = undisturbed.known()
    messages = _messages(undisturbed)
    assert expected["lineage"]

    def converged(ledger: Any) -> bool:
        return bool(ledger.known() == expected and _messages(ledger) == messages)

    point = 0
    ledger = prepared()
    before = ledger.everything()
    while _killed_after(ledger, point):
        # where the kill left nothing behind, the next one meets what this one met
        if ledger.everything() != before:
            ledger.track()
            assert converged(ledger), point
            ledger = prepared()
            before = ledger.everything()
        point += 1
    assert point > 10, "each statement of the transaction was a kill point once"
    assert converged(ledger), "after every kill, and then undisturbed"


def _messages(ledger: Any) -> list[dict[str, Any]]:
    query = "SELECT alert_id, channel, ordinal, idempotency_key FROM segwatch.delivery ORDER BY 1, 2, 3"
    rows: list[dict[str, Any]] = ledger.rows(query)
    return rows


def _killed_after(ledger: Any, statements: int) -> bool:
    """Track, and fail before statement number ``statements``; False if it ended before."""
    seen = 0

    def count(*_: Any) -> None:
        nonlocal seen
        if seen == statements:
            raise _Killed
        seen += 1

    event.listen(ledger.engine, "before_cursor_execute", count)
    try:
        ledger.track()
    except _Killed:
        return True
    finally:
        event.remove(ledger.engine, "before_cursor_execute", count)
    return False
