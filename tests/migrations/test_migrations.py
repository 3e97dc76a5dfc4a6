"""Migrations, forwards and backwards, and their agreement with the tables in code."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from segwatch.db import migrate, tables
from segwatch.db.embedded.cluster import Cluster
from segwatch.db.engine import make_engine
from segwatch.db.errors import SchemaError
from tests.migrations.conftest import drop_database, dump_schema


def _differences(conn: Connection) -> list[object]:
    def ours(_object: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
        return not (kind == "table" and name == "alembic_version")

    options = {
        "include_schemas": True,
        "include_name": lambda name, kind, _parents: kind != "schema" or name == tables.SCHEMA,
        "include_object": ours,
        "version_table_schema": tables.SCHEMA,
        "compare_server_default": True,
    }
    return list(compare_metadata(MigrationContext.configure(conn, opts=options), tables.metadata))


def test_the_migrations_make_the_tables_that_the_code_describes(empty: str) -> None:
    migrate.upgrade(empty)
    engine = make_engine(empty)
    with engine.connect() as conn:
        found = _differences(conn)
        checks = conn.execute(
            text(
                "SELECT conname FROM pg_constraint WHERE contype IN ('c', 'x')"
                " AND connamespace = 'segwatch'::regnamespace"
            )
        ).scalars()
        # what the comparison above cannot see
        in_code = {
            str(one.name)
            for table in tables.metadata.tables.values()
            for one in table.constraints
            if one.__visit_name__
            in {"check_constraint", "exclude_constraint", "table_or_column_check_constraint"}
        }
        assert set(checks) == in_code
    engine.dispose()
    assert found == []


def test_a_fresh_and_an_upgraded_database_are_identical(cluster: Cluster, empty: str) -> None:
    """Upgraded step by step, or downgraded to nothing and upgraded at once: the dumps are equal."""
    config = migrate.make_config(None)  # type: ignore[arg-type]
    revisions = [one.revision for one in ScriptDirectory.from_config(config).walk_revisions()]
    for revision in reversed(revisions):
        migrate.upgrade(empty, revision)
    stepwise = dump_schema(cluster, empty)
    engine = make_engine(empty)
    with engine.begin() as conn:
        command.downgrade(migrate.make_config(conn), "base")
    with engine.connect() as conn:
        left = conn.execute(
            text(
                "SELECT relname FROM pg_class WHERE relnamespace = 'segwatch'::regnamespace AND relkind IN ('r', 'v')"
            )
        ).scalars()
        assert list(left) == ["alembic_version"]
    engine.dispose()
    migrate.upgrade(empty)
    assert dump_schema(cluster, empty) == stepwise


def test_one_line_of_history() -> None:
    config = migrate.make_config(None)  # type: ignore[arg-type]
    assert len(ScriptDirectory.from_config(config).get_heads()) == 1


def test_upgrading_twice_changes_nothing(cluster: Cluster, empty: str) -> None:
    migrate.upgrade(empty)
    before = dump_schema(cluster, empty)
    migrate.upgrade(empty)
    assert dump_schema(cluster, empty) == before


def test_two_upgrades_of_an_empty_database_at_once_both_succeed(cluster: Cluster, empty: str) -> None:
    """A reader that holds advisory locks delays neither."""
    with psycopg.connect(cluster.info().superuser_url("empty"), autocommit=True) as reader:
        reader.execute("SELECT pg_advisory_lock(7309845221)")
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(migrate.upgrade, empty) for _ in range(2)]:
                done.result(400)
    assert migrate.describe_state(empty) == "up to date"


def test_a_missing_extension_is_named(cluster: Cluster) -> None:
    cluster.ensure_database("bare", owner="segwatch_owner")
    try:
        with pytest.raises(SchemaError, match="CREATE EXTENSION postgis"):
            migrate.upgrade(cluster.info().url_for("segwatch_owner", database="bare"))
    finally:
        drop_database(cluster, "bare")


def test_views_describe_themselves(empty: str) -> None:
    migrate.upgrade(empty)
    engine = make_engine(empty)
    query = text(
        "SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = 'watch'::regnamespace AND a.attnum > 0"
        " AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid) IS NULL)"
    )
    with engine.connect() as conn:
        assert list(conn.execute(query).scalars()) == []
    engine.dispose()


_OLD_ROWS = """
    INSERT INTO segwatch.area SELECT id, ST_MakeEnvelope(0, 0, 1, 1, 4326) FROM ids;
    INSERT INTO segwatch.instruction SELECT id, 'water', '{water}' FROM ids;
    INSERT INTO segwatch.watch (id, name, instruction_id, area_id, definition, priority)
        SELECT id, 'w', id, id, '{}', 1 FROM ids;
    INSERT INTO segwatch.series SELECT id, 'w', id, 'm@1', 0, 0 FROM ids;
    INSERT INTO segwatch.scene (id, key, collection, platform, relative_orbit, solar_day, acquired_at, footprint)
        SELECT gen_random_uuid(), n::text, 'c', 'p', '1', '2024-01-01', '2024-01-01', ST_MakeEnvelope(0, 0, 1, 1, 4326)
        FROM generate_series(1, 2) n;
    INSERT INTO segwatch.observation (id, series_id, scene_id, watch_id, model_version, state, priority, acquired_at,
                                      footprint, tracked, committed_at)
        SELECT gen_random_uuid(), ids.id, s.id, ids.id, 'm@1', 'observed', 1, s.acquired_at, s.footprint,
               s.key = '1', now() FROM segwatch.scene s, ids;
"""


def test_untracked_scenes_are_tracked_after_the_upgrade(empty: str) -> None:
    migrate.upgrade(empty, "0001")
    engine = make_engine(empty)
    with engine.begin() as conn:
        conn.execute(text("CREATE TEMP TABLE ids AS SELECT gen_random_uuid() AS id"))
        for statement in _OLD_ROWS.split(";"):
            if statement.strip():
                conn.execute(text(statement))
    engine.dispose()
    migrate.upgrade(empty)
    engine = make_engine(empty)
    with engine.connect() as conn:
        query = "SELECT s.key, o.state FROM segwatch.observation o JOIN segwatch.scene s ON s.id = o.scene_id"
        states = {row.key: row.state for row in conn.execute(text(query))}
    engine.dispose()
    assert states == {"1": "observed", "2": "inferred"}


_MOVED = """
    INSERT INTO segwatch.area
        VALUES (:west, ST_MakeEnvelope(0, 0, 1, 1, 4326)), (:both, ST_MakeEnvelope(0, 0, 2, 1, 4326));
    INSERT INTO segwatch.instruction VALUES (:both, 'water', '{water}');
    INSERT INTO segwatch.watch (id, name, instruction_id, area_id, definition, priority)
        VALUES (:west, 'w', :both, :west, '{}', 1), (:both, 'w', :both, :both, '{}', 1);
    INSERT INTO segwatch.watch_head (name, watch_id) VALUES ('w', :head)
"""


@pytest.mark.parametrize("narrowed", [False, True])
def test_the_upgrade_marks_narrowed_aois(empty: str, narrowed: bool) -> None:
    migrate.upgrade(empty, "0010")
    engine = make_engine(empty)
    ids = {"west": UUID(int=1), "both": UUID(int=2)}
    with engine.begin() as conn:
        for statement in _MOVED.split(";"):
            conn.execute(text(statement), ids | {"head": ids["west" if narrowed else "both"]})
    engine.dispose()
    migrate.upgrade(empty)
    engine = make_engine(empty)
    with engine.connect() as conn:
        (row,) = conn.execute(text("SELECT area_id, until, narrowed FROM segwatch.watch_area"))
    engine.dispose()
    assert tuple(row) == (ids["west" if narrowed else "both"], None, narrowed)


_OLD_DELIVERIES = """
    INSERT INTO segwatch.track (id, series_id, target, object_id) SELECT id, id, 'water', id FROM ids;
    INSERT INTO segwatch.change (id, track_id, observation_id, kind, target, valid_at, recorded_at, before_m2, after_m2,
                                 geom, score, baseline)
        SELECT id, id, id, 'grew', 'water', now(), now(), 1, 2, ST_MakeEnvelope(0, 0, 1, 1, 4326), 1, false FROM ids;
    INSERT INTO segwatch.alert (id, change_id, watch_id, rule) SELECT id, id, id, 'r' FROM ids;
    INSERT INTO segwatch.delivery (id, alert_id, channel, idempotency_key, payload, state, ordinal, created_at)
        SELECT gen_random_uuid(), id, 'https://hook.example', n::text, '{}', 'pending', n,
               now() - (3 - n) * interval '1 minute'
        FROM ids, generate_series(2, 0, -1) n;
"""


def test_pending_messages_keep_their_order_after_the_upgrade(cluster: Cluster, empty: str) -> None:
    migrate.upgrade(empty, "0005")
    with psycopg.connect(cluster.info().superuser_url("empty")) as conn:
        # what they belong to is not looked at here
        conn.execute("SET session_replication_role = replica")
        conn.execute("CREATE TEMP TABLE ids AS SELECT gen_random_uuid() AS id")
        for statement in _OLD_DELIVERIES.split(";"):
            if statement.strip():
                conn.execute(statement.encode())
    migrate.upgrade(empty)
    with psycopg.connect(cluster.info().superuser_url("empty")) as conn:
        rows = conn.execute(
            "SELECT d.idempotency_key, d.sequence, d.track_id = c.track_id, d.tried_since = d.created_at"
            " FROM segwatch.delivery d JOIN segwatch.alert a ON a.id = d.alert_id"
            " JOIN segwatch.change c ON c.id = a.change_id ORDER BY d.sequence"
        ).fetchall()
        following = conn.execute(
            "SELECT nextval(pg_get_serial_sequence('segwatch.delivery', 'sequence'))"
        ).fetchone()
    assert rows == [("0", 1, True, True), ("1", 2, True, True), ("2", 3, True, True)]
    assert following == (4,)
