"""``db/sql/current`` is the schema that the migrations make."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import psycopg
import pytest

from segwatch.db import current, migrate
from segwatch.db.embedded.cluster import Cluster
from tests.migrations.conftest import create_database, drop_database, dump_schema

#: One change of each kind of thing, and a word of the difference that it makes.
CHANGES = {
    "a column": ("    bytes_read DOUBLE PRECISION,", "    bytes_read BIGINT,", "bigint"),
    "a constraint": (
        "CHECK (verdict IN ('confirmed', 'rejected', 'edited'))",
        "CHECK (true)",
        "review_verdict",
    ),
    "an index": ("(priority DESC, acquired_at)", "(priority, acquired_at)", "observation_open_ix"),
    "a default": ("priority INTEGER NOT NULL,", "priority INTEGER DEFAULT 1 NOT NULL,", "DEFAULT 1"),
    "a right": (
        "GRANT SELECT ON watch.changes TO segwatch_analyst,",
        "GRANT SELECT ON watch.changes TO",
        "changes",
    ),
    "a comment": ("'Geodesic area of the observed footprint", "'Area of the observed footprint", "area_km2"),
    "a view": ("p.series_id,\n       t.verdict AS review", "p.series_id,\n       NULL AS review", "review"),
    "a function": ("THEN 'nothing found'", "THEN 'nothing'", "nothing"),
}


@pytest.fixture
def made(cluster: Cluster) -> Iterator[str]:
    """Owner's URL of a database that has the extensions."""
    create_database(cluster, "current")
    yield cluster.info().url_for("segwatch_owner", database="current")
    drop_database(cluster, "current")


def dump(cluster: Cluster, url: str) -> list[str]:
    """The schema without Alembic's own table."""
    return dump_schema(cluster, url, "--exclude-table=segwatch.alembic_version")


def make(url: str, script: str) -> None:
    with psycopg.connect(url.replace("+psycopg", "")) as conn:
        conn.execute(script.encode())


def test_a_database_made_from_the_files_equals_the_migrated_one(
    cluster: Cluster, empty: str, made: str
) -> None:
    migrate.upgrade(empty)
    make(made, current.build_script())
    wanted, found = dump(cluster, empty), dump(cluster, made)
    assert found == wanted, "\n".join(
        difflib.unified_diff(wanted, found, "migrated", "current", lineterm="", n=1)
    )


def test_a_difference_is_found(cluster: Cluster, made: str) -> None:
    script = current.build_script()
    migrated = dump(cluster, cluster.info().url_for("segwatch_owner"))
    for kind, (old, new, word) in CHANGES.items():
        assert old in script
        make(made, "DROP SCHEMA IF EXISTS watch, segwatch CASCADE;" + script.replace(old, new, 1))
        differences = difflib.unified_diff(migrated, dump(cluster, made))
        assert any(word in line for line in differences), kind


def test_the_tables_are_written_anew_from_the_code() -> None:
    for path, text in current.render_tables().items():
        assert path.read_text(encoding="utf-8") == text, "run: python -m segwatch.db.current --write"


def test_every_file_has_its_place_in_the_order() -> None:
    assert sorted(current.list_files()) == sorted(current.FOLDER.rglob("*.sql"))


def test_every_view_and_function_has_been_frozen_for_a_migration() -> None:
    assert current.list_unfrozen() == [], "write a migration; python -m segwatch.db.current --freeze REVISION"
