"""Times that PostgreSQL holds and Python does not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text

FIRST, LAST = (one.replace(tzinfo=UTC) for one in (datetime.min, datetime.max))


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("infinity", LAST),
        ("-infinity", FIRST),
        ("20000-01-01", LAST),
        ("0044-03-15 BC", FIRST),
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ],
)
def test_a_row_with_a_time_beyond_the_calendar_can_be_read(engine: Engine, said: str, read: datetime) -> None:
    with engine.connect() as conn:
        row = conn.execute(
            text(
                "SELECT CAST(:said AS timestamptz) AS at, tstzrange(CAST(:said AS timestamptz), NULL) AS during"
            ),
            {"said": said},
        ).one()
    assert (row.at, row.during.lower) == (read, read)
