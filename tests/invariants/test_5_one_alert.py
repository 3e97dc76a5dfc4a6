"""Invariant 5: one alert per change and rule, and its last message says whether the change holds."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SHAPES = [(1, 1, 4, 4), (1, 1, 6, 4), (4, 1, 6, 4), (2, 5, 4, 7)]


@given(
    st.lists(st.sets(st.integers(0, len(SHAPES) - 1), max_size=2), min_size=3, max_size=5),
    st.randoms(use_true_random=False),
)
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_last_message_about_every_change_is_true(
    ledgers: Any, kit: Any, drawn: list[set[int]], shuffle: Any
) -> None:
    world = [kit.look(kit.merged(SHAPES[index] for index in sorted(shapes))) for shapes in drawn]
    order = list(range(len(world)))
    shuffle.shuffle(order)
    ledger = ledgers()
    for number in order:
        ledger.arrive(world, [number])
    rows = ledger.rows(
        "SELECT c.id, c.retracted_at IS NULL AS holds, c.baseline, count(DISTINCT a.id) AS alerts, d.channel,"
        " max(d.ordinal) AS said, count(d.id) AS messages"
        " FROM segwatch.change c LEFT JOIN segwatch.alert a ON a.change_id = c.id"
        " LEFT JOIN segwatch.delivery d ON d.alert_id = a.id GROUP BY c.id, d.channel"
    )
    for row in rows:
        assert row["alerts"] <= 1
        assert (row["alerts"] == 0) == row["baseline"], row
        if row["alerts"]:
            assert row["messages"] == row["said"] + 1, "no message twice, none left out"
            assert (row["said"] % 2 == 0) == row["holds"], row
    told = {row["channel"] for row in rows if row["alerts"]}
    assert told in (set(), set(kit.channels))
