"""What is less than all is never written as all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwatch.geo.text.shares import format_share, format_share_percent


@pytest.mark.parametrize(
    ("share", "decimal", "percent"),
    [
        (1.0, "1.00", "100%"),
        (0.99973, "0.99", "99%"),
        (0.995, "0.99", "99%"),
        (0.974, "0.97", "97%"),
        (0.0, "0.00", "0%"),
    ],
)
def test_shares_are_rounded(share: float, decimal: str, percent: str) -> None:
    assert format_share(share) == decimal
    assert format_share_percent(share) == percent


@given(st.floats(0, 1), st.integers(1, 6))
def test_only_one_is_written_as_one(share: float, decimals: int) -> None:
    written = float(format_share(share, decimals))
    assert (written == 1) == (share == 1)
    assert abs(written - share) <= 10.0**-decimals
