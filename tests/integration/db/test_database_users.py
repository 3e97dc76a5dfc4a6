"""A login of a person reads the views of its watches by psql, and nothing else, until it is revoked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import geopandas
import psycopg
import pytest
from sqlalchemy import create_engine, text
from typer.testing import CliRunner, Result

from segwatch.db import reviews, watches
from segwatch.flows.cli.app import app
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, merged

VIEWS = (
    "objects_now", "object_history", "changes", "alerts", "coverage", "imagery", "detections", "watches",
    "area_by_week",
)  # fmt: skip


@pytest.fixture
def two_watches(ledgers: Any) -> Ledger:
    """Make a ledger with an object each of the watches lakes and ponds; that of lakes was reviewed."""
    ledger: Ledger = ledgers()
    world = [SceneContent(()), SceneContent(merged([(1, 1, 3, 3)]))]
    ledger.arrive(world, [0, 1])
    with ledger.engine.begin() as conn:
        ponds = replace(watches.load_current(conn, "lakes").watch, name="ponds")
        lakes, ledger.revision = ledger.revision, watches.apply(conn, ponds).revision_id
    ledger.arrive(world, [0, 1])
    ledger.revision = lakes
    (row,) = ledger.rows("SELECT track_id FROM watch.objects_now WHERE watch = 'lakes'")
    with ledger.engine.begin() as conn:
        reviews.decide(conn, row["track_id"], reviews.Verdict.CONFIRMED, reviewer="Grace", reason="seen")
    return ledger


@pytest.fixture
def name(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name of a login, which is removed afterwards; the commands run as the administrator of the test's database."""
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.superuser_url)
    made = f"ada_{uuid4().hex[:8]}"
    yield made
    with psycopg.connect(database.superuser_url, autocommit=True) as conn:
        conn.execute(f"DROP ROLE IF EXISTS {made}")


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["db", *arguments])


def create(name: str, *arguments: str) -> dict[str, Any]:
    done = command("user", name, "--json", *arguments)
    assert done.exit_code == 0, done.output
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def psql(line: str, statement: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a statement with the line that the command printed for psql."""
    program = shutil.which("psql")
    assert program is not None
    (where,) = re.findall(r'^psql "(.*)"$', line)
    return subprocess.run(
        [program, where, "-XAtc", statement],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_a_login_reads_its_watches_and_nothing_else(
    two_watches: Ledger, name: str, database: Database
) -> None:
    made = create(name, "--watch", "lakes")
    line = made["connect"]["psql"]
    assert psql(line, "SELECT DISTINCT watch FROM watch.objects_now").stdout == "lakes\n"
    # the settings that narrow what the web server reads do not widen it
    every = " UNION ALL ".join(f"SELECT DISTINCT '{view}', watch FROM watch.{view}" for view in VIEWS)
    for setting in ("*", "ponds", "lakes,ponds", ""):
        found = psql(line, f"SET segwatch.watches = '{setting}'; {every}").stdout.split()
        assert sorted(found) == sorted(["SET", *(f"{view}|lakes" for view in VIEWS if setting != "ponds")])
    assert "ponds" not in psql(line, "SELECT watch FROM watch.objects_as_of('2024-01-03', 'infinity')").stdout
    shown = "SET segwatch.names = 'shown'; SELECT count(*), count(reviewer) FROM watch.reviews"
    assert psql(line, shown).stdout.split() == ["SET", "1|0"]
    limits = psql(
        line, "SHOW statement_timeout; SHOW default_transaction_read_only; SHOW timezone"
    ).stdout.split()
    assert limits == ["1min", "on", "UTC"]
    refused = {
        "SELECT * FROM segwatch.track_state": "permission denied for schema segwatch",
        "SELECT * FROM segwatch.database_user": "permission denied for schema segwatch",
        "BEGIN READ WRITE; DELETE FROM watch.objects_now": "cannot delete from view|permission denied",
        "BEGIN READ WRITE; UPDATE watch.coverage SET reason = 'x'": "cannot update view|permission denied",
        "BEGIN READ WRITE; CREATE TABLE public.mine (n int)": "permission denied for schema public",
        "BEGIN READ WRITE; CREATE TABLE watch.mine (n int)": "permission denied for schema watch",
        # a function of one's own could show rows before the views filter them
        "BEGIN READ WRITE; CREATE TEMPORARY TABLE mine (n int)": "permission denied to create temporary",
        "SET ROLE segwatch_worker": "permission denied to set role",
        "SET temp_file_limit = -1": "permission denied to set parameter",
        "SELECT pg_read_file('/etc/passwd')": "permission denied for function",
        # PostGIS would show where the objects of all watches are
        "SELECT ST_EstimatedExtent('segwatch', 'detection', 'geom')": "permission denied for function",
        **{
            f"SELECT {call} FROM pg_class WHERE relname = 'detection'": "permission denied for function"
            for call in (
                "_postgis_stats(oid::regclass, 'geom')",
                "_postgis_index_extent(oid::regclass, 'geom')",
                "_postgis_selectivity(oid::regclass, 'geom', ST_MakeEnvelope(0, 0, 9, 9, 4326))",
                "_postgis_join_selectivity(oid::regclass, 'geom', oid::regclass, 'geom')",
            )
        },
        "COPY (SELECT 1) TO PROGRAM 'id'": "must be superuser|permission denied",
    }
    for statement, why in refused.items():
        done = psql(line, statement)
        assert done.returncode != 0, statement
        assert re.search(why, done.stderr), (statement, done.stderr)
    with psycopg.connect(database.superuser_url) as conn:
        role = conn.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolconnlimit FROM pg_roles"
            " WHERE rolname = %s",
            (name,),
        ).fetchone()
    assert role == (False, False, False, False, False, 5)


def test_without_watches_it_reads_all_and_revoking_ends_its_sessions(
    two_watches: Ledger, name: str, tmp_path: Path
) -> None:
    passfile = tmp_path / "pgpass"
    made = create(name, "--passfile", str(passfile), "--names", "--connections", "2")
    assert made["password"] is None
    assert passfile.stat().st_mode & 0o777 == 0o600
    secret = passfile.read_text().strip().rsplit(":", 1)[1]
    assert all(secret not in one for one in made["connect"].values())
    line = made["connect"]["psql"]
    assert psql(line, "SELECT DISTINCT watch FROM watch.objects_now ORDER BY 1").stdout.split() == [
        "lakes",
        "ponds",
    ]
    assert psql(line, "SELECT reviewer FROM watch.reviews").stdout == "Grace\n"
    assert f"{name}" in command("users").stdout
    (url,) = re.findall(r'"(postgresql\+psycopg://[^"]+)"', made["connect"]["Python"])
    engine = create_engine(url)
    with engine.connect() as conn:
        frame = geopandas.read_postgis(text("SELECT * FROM watch.objects_now"), conn)
        assert len(frame) == 2
        assert frame.crs.to_epsg() == 4326
        again = command("user", name)
        assert again.exit_code == 1
        assert "there is a login named" in again.output
        assert command("revoke-user", name).exit_code == 0
        with pytest.raises(Exception, match=r"terminat|closed"):
            conn.execute(text("SELECT 1"))
    engine.dispose()
    assert "authentication failed" in psql(line, "SELECT 1").stderr
    assert command("revoke-user", name).exit_code == 1
    assert name not in command("users").stdout


def test_what_cannot_be_made_is_told_with_its_remedy(
    two_watches: Ledger, name: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {
        ("Ada",): "cannot name a login",
        ("segwatch_ada",): "cannot name a login",
        (name, "--watch", "none"): "no watch named 'none'",
        (name, "--expires", "2020-01-01"): "has passed",
        ("postgres",): "cannot name a login",
    }
    for arguments, why in wrong.items():
        done = command("user", *arguments)
        assert done.exit_code == 1
        assert why in done.output
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    done = command("user", name)
    assert done.exit_code == 1
    assert "may not make or remove logins" in done.output
    with psycopg.connect(database.superuser_url) as conn:
        assert conn.execute("SELECT count(*) FROM pg_roles WHERE rolname = %s", (name,)).fetchone() == (0,)
