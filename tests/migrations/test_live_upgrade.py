"""``segwatch db up`` on a database in use: nobody waits long, whatever the others hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
import pytest

from segwatch.db import migrate
from segwatch.db.embedded.cluster import Cluster
from segwatch.db.errors import SchemaError

#: The migrations after it replace a view that people read, and build an index on a table that workers write.
BEFORE = "0041"
#: Maximum wait of a statement: that for a lock, and the time that other processes of the machine take.
MAX_WAIT_SECONDS = migrate.MAX_LOCK_WAIT_MS / 1000 + 1.5
_SEED = """
    INSERT INTO segwatch.instruction (id, text, targets) VALUES (gen_random_uuid(), 'water', '{water}');
    INSERT INTO segwatch.area (id, geom) VALUES (gen_random_uuid(), ST_MakeEnvelope(0, 0, 1, 1, 4326));
    INSERT INTO segwatch.watch (id, name, instruction_id, area_id, definition, priority)
        SELECT gen_random_uuid(), 'w', i.id, a.id, '{}', 1 FROM segwatch.instruction i, segwatch.area a;
    INSERT INTO segwatch.delivery (id, channel, idempotency_key, payload, state, delivered_at)
        SELECT gen_random_uuid(), 'https://hook.example', n::text, '{"data": {}}', 'delivered', now()
        FROM generate_series(1, 20000) n;
"""
_WRITES = """
    INSERT INTO segwatch.delivery (id, channel, idempotency_key, payload, state)
        VALUES (gen_random_uuid(), 'https://hook.example', gen_random_uuid()::text, '{}', 'pending')
"""
_READS = "SELECT count(*) FROM watch.coverage"


@dataclass
class Waits:
    """How long each statement of others took while the upgrade ran, in seconds."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@contextmanager
def going_on(url: str, *statements: str) -> Iterator[Waits]:
    """Sessions that run one of the statements each, again and again, for the length of the block."""
    waits, done = Waits(), threading.Event()

    def run(statement: str) -> None:
        try:
            with psycopg.connect(url, autocommit=True) as conn:
                while not done.is_set():
                    began = time.monotonic()
                    conn.execute(statement.encode())
                    waits.seconds.append(time.monotonic() - began)
                    time.sleep(0.01)
        except psycopg.Error as error:
            waits.errors.append(str(error))

    threads = [threading.Thread(target=run, args=(one,), daemon=True) for one in statements]
    for one in threads:
        one.start()
    try:
        yield waits
    finally:
        done.set()
        for one in threads:
            one.join(300)


@pytest.fixture
def older(cluster: Cluster, empty: str) -> str:
    """Plain URL of the superuser of a database with the schema of the last release and some rows."""
    migrate.upgrade(empty, BEFORE)
    url = cluster.info().superuser_url("empty")
    with psycopg.connect(url) as conn:
        conn.execute(_SEED.encode())
    return url


def test_readers_and_writers_go_on_while_the_schema_is_upgraded(empty: str, older: str) -> None:
    with going_on(older, _WRITES, _READS, _READS) as waits:
        migrate.upgrade(empty)
    assert migrate.describe_state(empty) == "up to date"
    assert waits.errors == []
    assert len(waits.seconds) > 10
    assert max(waits.seconds) < MAX_WAIT_SECONDS


def test_a_long_question_holds_up_the_upgrade_and_not_those_who_ask_after_it(empty: str, older: str) -> None:
    """A view that somebody reads cannot be replaced: the migration lets the others pass and tries again."""
    with psycopg.connect(older) as reader:
        reader.execute(_READS.encode())
        upgrade = threading.Thread(target=migrate.upgrade, args=(empty,))
        with going_on(older, _WRITES, _READS) as waits:
            upgrade.start()
            upgrade.join(2 * MAX_WAIT_SECONDS)
            assert upgrade.is_alive(), "it waits for the reader"
            reader.rollback()
            upgrade.join(300)
    assert migrate.describe_state(empty) == "up to date"
    assert waits.errors == []
    assert max(waits.seconds) < MAX_WAIT_SECONDS


def test_each_migration_keeps_what_it_did_when_a_later_one_fails(
    empty: str, older: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that an interrupted upgrade left invalid is built anew."""
    monkeypatch.setattr(migrate, "_LOCKED_SECONDS", 0.0)
    with psycopg.connect(older) as writer:
        writer.execute(b"LOCK TABLE segwatch.delivery IN ACCESS SHARE MODE")
        writer.execute(b"UPDATE segwatch.delivery SET attempts = attempts WHERE idempotency_key = '1'")
        with psycopg.connect(older, autocommit=True) as builder:
            builder.execute(b"SET lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                builder.execute(
                    b"CREATE INDEX CONCURRENTLY delivery_sent_ix ON segwatch.delivery (delivered_at)"
                    b" WHERE state = 'delivered' AND payload <> '{}'"
                )
    migrate.upgrade(empty)
    with psycopg.connect(older) as conn:
        row = conn.execute(
            b"SELECT indisvalid FROM pg_index WHERE indexrelid = 'segwatch.delivery_sent_ix'::regclass"
        ).fetchone()
    assert row == (True,)


def test_an_upgrade_that_meets_locks_for_a_minute_says_so(
    empty: str, older: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_LOCKED_SECONDS", 0.0)
    with psycopg.connect(older) as other:
        other.execute(b"LOCK TABLE segwatch.alembic_version IN SHARE UPDATE EXCLUSIVE MODE")
        with pytest.raises(SchemaError, match="another upgrade"):
            migrate.upgrade(empty)
    migrate.upgrade(empty)
    assert migrate.describe_state(empty) == "up to date"
