"""Workers of the version before go on with a migrated database; those too old or too new stop, and say why."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from segwatch.db import compatibility, migrate
from segwatch.db.embedded.cluster import Cluster
from segwatch.db.engine import make_engine
from segwatch.db.errors import IncompatibleSchema
from segwatch.flows.cli.app import app
from segwatch.flows.config.settings import load_settings
from segwatch.flows.runtime.assemble import open_run_engine
from tests.conftest import Database


def test_the_schema_says_which_code_it_works_with(database: Database) -> None:
    """The version before, and any from ``works_from()`` on, may work; what does not know that migration may not."""
    revisions = migrate.list_revisions()
    engine = make_engine(database.url())
    with engine.connect() as conn:
        oldest = conn.exec_driver_sql("SELECT segwatch.works_from()").scalar_one()
        assert oldest in revisions[:-1], "the version before may go on"
        for number, newest in enumerate(revisions, start=1):
            code = compatibility.CodeVersion(newest, revisions[:number])
            if newest < oldest:
                with pytest.raises(IncompatibleSchema, match=f"too old.*{oldest}"):
                    compatibility.require_compatible(conn, code)
            else:
                compatibility.require_compatible(conn, code)
    engine.dispose()


def test_a_run_of_a_newer_version_stops_at_an_older_schema(
    cluster: Cluster, empty: str, tmp_path: Path
) -> None:
    migrate.upgrade(empty, "0042")
    url = cluster.info().url_for("segwatch_worker", database="empty")
    with (
        pytest.raises(IncompatibleSchema, match=r"too new for the database.*0042.*segwatch db up"),
        open_run_engine(load_settings(database_url=url, home=tmp_path)),
    ):
        pass


def test_a_run_and_a_command_of_an_older_version_stop_at_a_schema_they_do_not_know(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = load_settings(database_url=database.url(), home=tmp_path)
    with psycopg.connect(database.superuser_url, autocommit=True) as conn:
        conn.execute("UPDATE segwatch.alembic_version SET version_num = '9999'")
        with open_run_engine(settings) as engine, engine.connect() as works:
            works.exec_driver_sql("SELECT count(*) FROM segwatch.watch")
        conn.execute(
            "CREATE OR REPLACE FUNCTION segwatch.works_from() RETURNS text LANGUAGE sql AS $$ SELECT '9998' $$"
        )
    with pytest.raises(IncompatibleSchema, match=r"too old.*9999.*9998"), open_run_engine(settings):
        pass
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    shown = CliRunner().invoke(app, ["db", "status"])
    assert "by a newer one" in shown.output
