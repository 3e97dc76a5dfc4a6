"""Errors of the database name the constraint and no values."""

from __future__ import annotations

import traceback

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from segwatch.db.errors import describe_error
from tests.conftest import Database

KEY = "https://hook.example/S3CRET"


@pytest.fixture
def refused(database: Database, engine: Engine) -> DBAPIError:
    """The error of a row that is one too many."""
    with psycopg.connect(database.superuser_url, autocommit=True) as conn:
        conn.execute("CREATE TABLE apart (address text, CONSTRAINT once UNIQUE (address))")
        conn.execute("GRANT INSERT ON apart TO segwatch_worker")
    with engine.connect() as worker, pytest.raises(IntegrityError) as caught:
        for _ in range(2):
            worker.execute(text("INSERT INTO apart VALUES (:address)"), {"address": KEY})
    return caught.value


def test_an_error_names_the_rule_and_not_the_row(refused: DBAPIError) -> None:
    shown = "".join(traceback.format_exception(refused))
    assert 'duplicate key value violates unique constraint "once"' in shown
    assert "S3CRET" not in shown


def test_a_described_error_is_one_line_without_the_statement(refused: DBAPIError) -> None:
    assert describe_error(refused) == 'UniqueViolation: duplicate key value violates unique constraint "once"'


def test_any_described_error_can_be_stored(engine: Engine) -> None:
    said = describe_error(ValueError("two\nlines, a NUL \x00, half a pair \ud800 and much " + "more " * 1000))
    assert "\n" not in said
    assert len(said) <= 1000
    with engine.connect() as conn:
        assert conn.execute(text("SELECT CAST(:said AS text)"), {"said": said}).scalar_one() == said


def test_an_exception_without_message_is_named() -> None:
    assert describe_error(KeyboardInterrupt()) == "KeyboardInterrupt"
