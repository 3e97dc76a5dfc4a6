"""Fixture of several tests: a ledger in which a lake appeared."""

from __future__ import annotations

from typing import Any

import pytest

from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too

LAKE = cells(1, 1, 3, 3)


@pytest.fixture
def ledger(ledgers: Any) -> Ledger:
    """Make a ledger in which the lake appears on the second day."""
    made: Ledger = ledgers()
    show_a_lake(made)
    return made


def show_a_lake(ledger: Ledger) -> None:
    """Let the lake appear on the second day."""
    ledger.arrive([SceneContent(()), SceneContent((LAKE,))], [0, 1])
