"""Series are tracked independently: a failure of one does not affect the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from shapely.errors import GEOSException
from shapely.geometry import box
from sqlalchemy import Engine, event, text

from segwatch.db import series, tracks, watches
from segwatch.db.engine import make_engine
from segwatch.flows.errors import FlowError
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.geo.tracking.series import fold_series
from tests.conftest import Database

LAKE = box(10.01, 50.01, 10.02, 50.02)
NAMES = ("a", "b", "c")


@pytest.fixture
def waiting(world: Any) -> dict[str, UUID]:
    """Make series of three watches by name, each with an observation to be tracked."""
    for name in NAMES:
        with world.engine.begin() as conn:
            revision = watches.apply(conn, replace(world.watch, name=name)).revision_id
        one = replace(world, revision=revision)
        one.queue(0)
        one.answer(LAKE)
    with world.engine.connect() as conn:
        ids = tracks.list_ready_series(conn)
        return {name: identity for identity, name in tracks.read_watch_names(conn, ids).items()}


def states(engine: Engine) -> dict[str, str]:
    query = """
        SELECT s.watch_name, o.state FROM segwatch.observation o JOIN segwatch.series s ON s.id = o.series_id
    """
    with engine.connect() as conn:
        return {row.watch_name: row.state for row in conn.execute(text(query))}


@contextmanager
def while_folding(monkeypatch: pytest.MonkeyPatch, happens: Callable[[UUID], None]) -> Iterator[None]:
    def watched(*args: Any, series_id: UUID, **more: Any) -> Any:
        happens(series_id)
        return fold_series(*args, series_id=series_id, **more)

    with monkeypatch.context() as patched:
        patched.setattr("segwatch.flows.pipeline.tracking.fold_series", watched)
        yield


@pytest.mark.parametrize("sick", [("a",), ("b", "c"), NAMES])
def test_a_series_that_cannot_be_tracked_holds_up_no_other(
    engine: Engine,
    waiting: dict[str, UUID],
    sick: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = {waiting[name] for name in sick}

    def breaks(series_id: UUID) -> None:
        if series_id in broken:
            raise GEOSException(f"side location conflict of {series_id}")

    with while_folding(monkeypatch, breaks), pytest.raises(FlowError) as caught:
        track_ready(engine)
    assert f"{len(sick)} of 3 series" in str(caught.value)
    for name in NAMES:
        reason = f"of watch {name}: GEOSException: side location conflict of {waiting[name]}"
        assert (reason in str(caught.value)) == (name in sick)
        assert (f"side location conflict of {waiting[name]}" in caplog.text) == (name in sick)
    assert states(engine) == {name: "inferred" if name in sick else "observed" for name in NAMES}
    assert track_ready(engine).observations == len(sick)
    assert set(states(engine).values()) == {"observed"}


def test_a_rolled_back_publication_is_not_counted(
    engine: Engine, waiting: dict[str, UUID], caplog: pytest.LogCaptureFixture
) -> None:
    """The transaction dies at its last statement, after everything was counted."""

    def dies(_conn: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if "committed_at = " in statement and waiting["b"] in held:
            raise RuntimeError("the server is gone")
        if "FOR NO KEY UPDATE SKIP LOCKED" in statement:
            held[:] = [values["series_id"]]

    held: list[UUID] = []
    event.listen(engine, "before_cursor_execute", dies)
    with caplog.at_level(logging.INFO), pytest.raises(FlowError, match="1 of 3 series"):
        track_ready(engine)
    event.remove(engine, "before_cursor_execute", dies)
    assert "'observations': 2" in caplog.text
    assert states(engine) == {"a": "observed", "b": "inferred", "c": "observed"}


def test_a_series_that_another_session_tracks_is_left_to_it(engine: Engine, waiting: dict[str, UUID]) -> None:
    with engine.begin() as other:
        series.lock(other, waiting["a"])
        begun = time.monotonic()
        assert track_ready(engine).observations == 2
        assert time.monotonic() - begun < 30, "locks are waited for for a minute"
        assert states(engine) == {"a": "inferred", "b": "observed", "c": "observed"}
    assert track_ready(engine).observations == 1


def test_a_fold_may_be_idle_longer_than_other_transactions(
    database: Database, waiting: dict[str, UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried = make_engine(database.url())

    def short(connection: Any, _: Any) -> None:
        connection.execute("SET idle_in_transaction_session_timeout = '300ms'")
        connection.commit()

    event.listen(hurried, "connect", short)
    with while_folding(monkeypatch, lambda _: time.sleep(0.8)):
        assert track_ready(hurried).observations == 3
    with hurried.connect() as conn:
        again = conn.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one()
    assert again == "300ms", "only for these transactions"
    hurried.dispose()


def test_a_refused_row_is_not_quoted(
    engine: Engine, database: Database, waiting: dict[str, UUID], caplog: pytest.LogCaptureFixture
) -> None:
    """Rows of the outbox contain addresses of channels, which may contain keys."""
    key = "S3CRET"
    with engine.begin() as conn:
        watch = watches.load_current(conn, "a").watch
        rule = replace(watch.rules[0], channels=(f"https://hook.example/{key}",), include_baseline=True)
        revision = watches.apply(conn, replace(watch, rules=(rule,))).revision_id
    with psycopg.connect(database.superuser_url, autocommit=True) as conn:
        conn.execute("UPDATE segwatch.observation SET revision_id = %s", (revision,))
        refused = sql.SQL("ALTER TABLE segwatch.delivery ADD CONSTRAINT no CHECK (channel NOT LIKE {})")
        conn.execute(refused.format(sql.Literal(f"%{key}%")))
    with pytest.raises(FlowError, match="violates check constraint") as caught:
        track_ready(engine)
    assert key not in str(caught.value)
    assert key not in caplog.text
