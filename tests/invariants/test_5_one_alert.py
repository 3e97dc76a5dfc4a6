"""Invariant 5: one alert per change and rule, and its last message says whether the change holds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SHAPES = [(1, 1, 4, 4), (1, 1, 6, 4), (4, 1, 6, 4), (2, 5, 4, 7)]


@given(
    st.lists(st.sets(st.integers(0, len(SHAPES) - 1), max_size=2), min_size=3, max_size=5),
    st.randoms(use_true_random=False),
)
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_last_message_about_every_change_is_true(
    ledgers: Any, kit: Any, drawn: list[set[int]], shuffle: Any
) -> None:
    world = [kit.look(kit.merged(SHAPES[index] for index in sorted(shapes))) for shapes in drawn]
    order = list(range(len(world)))
    shuffle.shuffle(order)
    check_messages(ledgers(), kit, world, order)


@pytest.mark.parametrize(
    ("drawn", "order"),
    [
        ([(), (0,), (0,), ()], (0, 3, 1, 2)),
        ([(), (0,), (0,), ()], (1, 3, 0, 2)),
        ([(0, 1), (2,), (), (), (0,)], (0, 4, 1, 2, 3)),
    ],
)
def test_a_change_that_late_scenes_no_longer_refute_alerts(
    ledgers: Any, kit: Any, drawn: list[tuple[int, ...]], order: tuple[int, ...]
) -> None:
    """It satisfied its rule when it was raised, but was refuted by then, so that it had no alert yet."""
    world = [kit.look(kit.merged(SHAPES[index] for index in shapes)) for shapes in drawn]
    check_messages(ledgers(), kit, world, order)


def check_messages(ledger: Any, kit: Any, world: Sequence[Any], order: Sequence[int]) -> None:
    """Let scenes arrive in an order, and check the alerts and messages about every change."""
    for number in order:
        ledger.arrive(world, [number])
    rows = ledger.rows(
        "SELECT c.id, c.retracted_at IS NULL AS holds, c.baseline, c.status, count(DISTINCT a.id) AS alerts, d.channel,"
        " max(d.ordinal) AS said, count(d.id) AS messages, array_agg(d.payload ORDER BY d.ordinal) AS payloads"
        " FROM segwatch.held_change c LEFT JOIN segwatch.alert a ON a.change_id = c.id"
        " LEFT JOIN segwatch.delivery d ON d.alert_id = a.id"
        " GROUP BY c.id, c.retracted_at, c.baseline, c.status, d.channel"
    )
    for row in rows:
        assert row["alerts"] <= 1
        if not row["alerts"]:
            assert row["baseline"] or row["status"] == "refuted" or not row["holds"], row
            continue
        assert not row["baseline"], row
        assert row["messages"] == row["said"] + 1, "no message twice, none left out"
        check_last_message(row)
    told = {row["channel"] for row in rows if row["alerts"]}
    assert told in (set(), set(kit.channels))


def check_last_message(row: dict[str, Any]) -> None:
    """Check that the last message says what is known, and that each message differs from the one before."""
    types = [one["type"].removeprefix("segwatch.alert") for one in row["payloads"]]
    assert types[0] == ""
    assert all(one != before for before, one in pairwise(types)), types
    assert (types[-1] != ".retracted") == row["holds"], row
    if row["holds"]:
        assert row["payloads"][-1]["data"]["status"] == row["status"], row
    first = row["payloads"][0]["id"]
    assert all(one["data"]["follows"] == first for one in row["payloads"][1:])
