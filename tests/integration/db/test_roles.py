"""Least rights: what each role may not do."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

VIEWS = ("objects_now", "object_history", "changes", "alerts", "coverage", "imagery", "rejected_items")


def _refused(engine: Engine, statement: str) -> None:
    refused = "permission denied|must be owner|cannot (delete from|update) view"
    with pytest.raises(DBAPIError, match=refused), engine.begin() as conn:
        conn.execute(text(statement))


@pytest.mark.parametrize("view", VIEWS)
def test_the_analyst_reads_the_views(analyst_engine: Engine, view: str) -> None:
    with analyst_engine.connect() as conn:
        assert conn.execute(text(f"SELECT * FROM watch.{view}")).all() == []


def test_the_analyst_calls_the_functions(analyst_engine: Engine) -> None:
    with analyst_engine.connect() as conn:
        assert conn.execute(text("SELECT * FROM watch.objects_as_of(now())")).all() == []
        answers = conn.execute(text("SELECT answer FROM watch.why_not(1, 2, now(), 'none')")).scalars().all()
    assert answers == ["not imaged"]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM segwatch.observation",
        "SELECT * FROM segwatch.delivery",
        "DELETE FROM watch.objects_now",
        "UPDATE watch.coverage SET reason = 'x'",
        "CREATE TABLE watch.mine (n int)",
        "CREATE TABLE public.mine (n int)",
        "CREATE SCHEMA mine",
        "DROP VIEW watch.coverage",
    ],
)
def test_the_analyst_may_not(analyst_engine: Engine, statement: str) -> None:
    _refused(analyst_engine, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE segwatch.mine (n int)",
        "CREATE SCHEMA mine",
        "ALTER TABLE segwatch.observation ADD COLUMN n int",
        "DROP TABLE segwatch.observation",
        "TRUNCATE segwatch.observation",
        "DELETE FROM segwatch.observation",
        "UPDATE segwatch.alembic_version SET version_num = 'x'",
    ],
)
def test_the_worker_may_not(engine: Engine, statement: str) -> None:
    _refused(engine, statement)


def test_every_session_is_on_utc_with_timeouts(engine: Engine, world: Any) -> None:
    with engine.connect() as conn:
        shown = [
            conn.execute(text(f"SHOW {name}")).scalar_one() for name in ("timezone", "statement_timeout")
        ]
    assert shown == ["UTC", "5min"]
