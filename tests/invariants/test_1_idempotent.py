"""Invariant 1: running a step again with the same inputs changes no row."""

from __future__ import annotations

from typing import Any


def test_a_scene_that_arrives_twice_is_one_scene(ledgers: Any, kit: Any) -> None:
    lake, grown = kit.cells(1, 1, 4, 4), kit.cells(1, 1, 6, 4)
    world = [kit.look((lake,)), kit.look((grown,)), kit.look(())]
    ledger = ledgers()
    ledger.arrive(world, [0])
    ledger.arrive(world, [2])
    ledger.arrive(world, [1])
    before = ledger.everything()
    again = ledger.find([0, 1, 2, 1])
    assert again == []
    assert ledger.track().observations == 0
    assert ledger.everything() == before
