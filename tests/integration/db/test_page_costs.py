"""What a page of a list costs: it follows the page, not how many rows the watch has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event

from segwatch.db import analyst, reviews
from segwatch.db.engine import make_engine
from segwatch.db.errors import InvalidCursor
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells, day
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too

LAKE = cells(1, 1, 3, 3)
_ROWS = 3_000
_PAGE = 20
_NOW = datetime(2030, 1, 1, tzinfo=UTC)
#: Copies of the lake with its states, changes and alerts; every third of them is gone from the second day on.
_COPY = (
    "CREATE TEMPORARY TABLE copy AS SELECT i, t.id, uuid_in(md5('track' || i)::cstring) AS track_id"
    " FROM segwatch.track t, generate_series(1, %(rows)s) i",
    "INSERT INTO segwatch.track SELECT c.track_id, t.series_id, t.target, t.created_at, c.track_id"
    " FROM copy c JOIN segwatch.track t USING (id)",
    "INSERT INTO segwatch.track_state SELECT (x).* FROM (SELECT json_populate_record(s, json_build_object("
    " 'id', gen_random_uuid(), 'track_id', c.track_id, 'alive', c.i %% 3 <> 0)) AS x"
    " FROM copy c JOIN segwatch.track_state s ON s.track_id = c.id) x",
    "INSERT INTO segwatch.change SELECT (x).* FROM (SELECT json_populate_record(h, json_build_object("
    " 'id', uuid_in(md5(h.id::text || c.i)::cstring), 'track_id', c.track_id, 'after_m2', c.i,"
    " 'valid_at', h.valid_at - c.i * interval '1 minute')) AS x"
    " FROM copy c JOIN segwatch.change h ON h.track_id = c.id) x",
    "INSERT INTO segwatch.alert SELECT (x).* FROM (SELECT json_populate_record(a, json_build_object("
    " 'id', gen_random_uuid(), 'change_id', uuid_in(md5(h.id::text || c.i)::cstring))) AS x"
    " FROM copy c JOIN segwatch.change h ON h.track_id = c.id JOIN segwatch.alert a ON a.change_id = h.id) x",
)


@pytest.fixture
def crowd(ledgers: Any, database: Database) -> Ledger:
    """A watch of thousands of objects with alerts."""
    made: Ledger = ledgers()
    made.arrive([SceneContent(()), SceneContent((LAKE,)), SceneContent((LAKE,))], [0, 1, 2])
    with psycopg.connect(database.superuser_url, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")
        for statement in _COPY:
            conn.execute(statement.encode(), {"rows": _ROWS})
        conn.execute("VACUUM ANALYZE")
    return made


@pytest.fixture
def reading(crowd: Ledger, database: Database) -> Iterator[Connection]:
    engine = make_engine(database.url("segwatch_analyst"))
    with engine.connect() as conn:
        yield conn
    engine.dispose()


def count_blocks(conn: Connection, read: Callable[[], object]) -> int:
    """Count the blocks that the statements of a reading touch, by running each once more."""
    statements: list[tuple[str, Any]] = []

    def keep(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        statements.append((statement, parameters))

    engine: Engine = conn.engine
    event.listen(engine, "before_cursor_execute", keep)
    try:
        read()
    finally:
        event.remove(engine, "before_cursor_execute", keep)
    blocks = 0
    for statement, parameters in statements:
        explained = conn.exec_driver_sql(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters
        ).scalar_one()
        (found,) = explained if isinstance(explained, list) else json.loads(explained)
        blocks += found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"]
    return blocks


def read_objects(conn: Connection, after: str | None = None, **asked: Any) -> analyst.ObjectPage:
    return analyst.list_objects_as_of(conn, "lakes", _NOW, limit=_PAGE, after=after, **asked)


def test_pages_of_objects_cost_what_they_hold(reading: Connection) -> None:
    first = read_objects(reading)
    deep: str | None = first.next
    seen = [row["track_id"] for row in first.rows]
    while deep is not None:
        page = read_objects(reading, deep)
        seen += [row["track_id"] for row in page.rows]
        deep, last = page.next, deep
    assert len(seen) == len(set(seen)) == 1 + _ROWS - _ROWS // 3
    assert seen == sorted(seen)
    every = analyst.list_objects_as_of(reading, "lakes", _NOW, limit=10_000)
    assert [row["track_id"] for row in every.rows] == seen
    whole = count_blocks(reading, lambda: analyst.list_objects_as_of(reading, "lakes", _NOW, limit=10_000))
    for after in (None, first.next, last):
        assert count_blocks(reading, partial(read_objects, reading, after)) < whole / 20


def test_pages_of_alerts_cost_what_they_hold(reading: Connection) -> None:
    chosen = analyst.AlertFilter("lakes")

    def read(after: str | None, limit: int = _PAGE) -> analyst.AlertPage:
        return analyst.list_alert_page(reading, chosen, limit, after=after)

    first = read(None)
    deep = read(None, _ROWS // 2).following
    counted = count_blocks(reading, lambda: analyst.count_alerts_by(reading, chosen))
    assert analyst.count_alerts_by(reading, chosen).chosen == _ROWS + 1
    for after in (None, first.following, deep):
        assert count_blocks(reading, partial(read, after)) < counted
    for order in analyst.AlertOrder:
        rows, after = [], None
        while True:
            page = analyst.list_alert_page(reading, chosen, 700, order, after)
            rows += page.rows
            after = page.following
            if after is None:
                break
        whole = analyst.list_alert_page(reading, chosen, 2 * _ROWS, order).rows
        assert [row["alert_id"] for row in rows] == [row["alert_id"] for row in whole], order
        assert len(rows) == _ROWS + 1
    other = analyst.list_alert_page(reading, chosen, 1, analyst.AlertOrder.AREA).following
    with pytest.raises(InvalidCursor):
        read(other)


def test_verdicts_and_boxes_leave_no_gap_between_pages(crowd: Ledger, reading: Connection) -> None:
    """An object that a reviewer moved into a box is in it, and one that was rejected ends no list."""
    there = [row["track_id"] for row in read_objects(reading).rows]
    wider, east = cells(1, 1, 4, 3), cells(3.5, 1.5, 3.8, 2.5)
    with crowd.engine.begin() as conn:
        for track in there[1:]:
            reviews.decide(conn, UUID(str(track)), reviews.Verdict.REJECTED, reviewer="ada", reason="no")
        reviews.decide(
            conn, UUID(str(there[0])), reviews.Verdict.EDITED, reviewer="ada", reason="there", outline=wider
        )
    reading.rollback()
    page = read_objects(reading)
    assert [row["track_id"] for row in page.rows] == there[:1]
    assert page.next is not None
    assert len(read_objects(reading, page.next).rows) == _PAGE
    (moved,) = read_objects(reading, bounds=east).rows
    assert moved["track_id"] == there[0]
    before = analyst.list_objects_as_of(reading, "lakes", day(0), limit=_PAGE)
    assert before.rows == []
    assert before.next is not None, "nobody was there, and a page looks at so many tracks only"
    last = analyst.list_objects_as_of(reading, "lakes", day(0), limit=_PAGE, after=before.next)
    assert (last.rows, last.next) == ([], None)
