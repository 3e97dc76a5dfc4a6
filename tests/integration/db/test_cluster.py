"""The embedded cluster: a real server, and the failures of its start that can be provoked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from segwatch.db.embedded.cluster import Cluster
from segwatch.db.errors import (
    ClusterDown,
    ClusterError,
    DataUnusable,
    DiskFull,
    PortTaken,
    PostgisMissing,
    PostgresMissing,
)
from tests.support.paths import make_home

_AS_ROOT = os.geteuid() == 0


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder the server's account can enter, also when the tests run as root."""
    made = make_home("cluster")
    yield made / "home"
    Cluster(made / "home").destroy()
    shutil.rmtree(made, ignore_errors=True)


@contextmanager
def _listener() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def _kill(cluster: Cluster) -> None:
    pid = cluster.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 120
    while cluster.status().running and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not cluster.status().running


def _scalar(url: str, query: bytes) -> object:
    with psycopg.connect(url.replace("+psycopg", "")) as conn:
        row = conn.execute(query).fetchone()
        assert row is not None
        return row[0]


def test_up_and_down_are_idempotent_and_keep_data(home: Path) -> None:
    cluster = Cluster(home, durable=False)
    assert not cluster.down()
    first = cluster.up()
    with psycopg.connect(first.superuser_url()) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 7 AS n")
        conn.execute("GRANT SELECT ON kept TO segwatch_owner")
    assert cluster.up() == first
    assert cluster.down()
    assert not cluster.down()
    with pytest.raises(ClusterDown, match="segwatch db up"):
        cluster.info()
    assert Cluster(home, durable=False).up() == first
    assert _scalar(first.url_for("segwatch_owner"), b"SELECT n FROM kept") == 7


def test_real_data_is_durable_and_postgis_is_there(home: Path) -> None:
    info = Cluster(home).up()
    url = info.url_for("segwatch_worker")
    assert [_scalar(url, b"SHOW fsync"), _scalar(url, b"SHOW synchronous_commit")] == ["on", "on"]
    assert str(_scalar(url, b"SELECT PostGIS_Version()")).startswith("3.")


def test_a_killed_server_starts_again(home: Path) -> None:
    cluster = Cluster(home, durable=False)
    info = cluster.up()
    _kill(cluster)
    assert (info.data_dir / "postmaster.pid").exists()
    assert list(info.socket_dir.glob(".s.PGSQL.*"))
    assert cluster.up() == info


def test_a_pid_file_that_names_another_program_is_stale(home: Path) -> None:
    cluster = Cluster(home, durable=False)
    info = cluster.up()
    cluster.down()
    (info.data_dir / "postmaster.pid").write_text(f"{os.getpid()}\n{info.data_dir}\n")
    assert not cluster.status().running
    assert cluster.up() == info


def test_a_kill_during_initdb_leaves_no_incomplete_cluster(home: Path) -> None:
    (home / "postgres" / "data.new").mkdir(parents=True)
    (home / "postgres" / "data.new" / "half").write_text("x")
    assert Cluster(home, durable=False).up().port


def test_a_chosen_port_that_is_taken_is_an_error(home: Path) -> None:
    with _listener() as port, pytest.raises(PortTaken, match=str(port)):
        Cluster(home, port=port, durable=False).up()


def test_a_remembered_port_that_is_taken_is_given_up(home: Path) -> None:
    cluster = Cluster(home, durable=False)
    cluster.up()
    cluster.down()
    with _listener() as port:
        state = json.loads((home / "postgres.json").read_text())
        (home / "postgres.json").write_text(json.dumps(state | {"port": port}))
        info = cluster.up()
        assert info.port != port
        assert _scalar(info.url_for("segwatch_worker"), b"SELECT 1") == 1


def test_passwords_are_asked_for_and_kept_private(home: Path) -> None:
    cluster = Cluster(home, durable=False)
    info = cluster.up()
    assert [
        name
        for name in ("postgres.passwords", "postgres.json", "postgres.lock")
        if (home / name).stat().st_mode & 0o077
    ] == []
    assert info.passwords["segwatch_worker"] not in repr(info)
    assert info.passwords["segwatch_worker"] not in (home / "postgres" / "server.log").read_text()
    wrong = f"postgresql://segwatch_worker:wrong@127.0.0.1:{info.port}/segwatch"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
    with pytest.raises(ClusterError, match="nobody_here"):
        info.url_for("nobody_here")


def test_a_lost_password_file_is_made_again(home: Path) -> None:
    cluster = Cluster(home, durable=False)
    old = cluster.up()
    (home / "postgres.passwords").unlink()
    new = cluster.up()
    assert new.passwords != old.passwords
    assert _scalar(new.url_for("segwatch_worker"), b"SELECT 1") == 1


def test_psql_opens_as_the_analyst(home: Path) -> None:
    cluster = Cluster(home, durable=False)
    cluster.up()
    argv = [*cluster.psql_argv(), "-Atc", "SELECT current_user"]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "segwatch_analyst\n"


def test_databases_are_made_once(home: Path) -> None:
    cluster = Cluster(home, durable=False)
    info = cluster.up()
    for _ in range(2):
        cluster.ensure_database("stac", owner="segwatch_owner")
    assert _scalar(info.superuser_url("stac"), b"SELECT current_database()") == "stac"
    assert (
        _scalar(info.url_for("segwatch_owner", database="stac"), b"SELECT current_user") == "segwatch_owner"
    )


@pytest.mark.parametrize("left", [None, "", "{", "[]", '"x"'])
def test_a_lost_or_spoiled_file_of_the_port_costs_no_data(home: Path, left: str | None) -> None:
    cluster = Cluster(home, durable=False)
    with psycopg.connect(cluster.up().superuser_url()) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 7 AS n")
    if left is None:
        (home / "postgres.json").unlink()
    else:
        (home / "postgres.json").write_text(left)
    again = Cluster(home, durable=False).up()
    assert _scalar(again.superuser_url(), b"SELECT n FROM kept") == 7


def test_no_binaries(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWATCH_PG_BINDIR", str(tmp_path))
    with pytest.raises(PostgresMissing, match="apt-get install"):
        Cluster(home).up()


def test_no_postgis(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("initdb", "pg_ctl", "postgres", "psql"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 99.1'\n")
        program.chmod(0o755)
    monkeypatch.setenv("SEGWATCH_PG_BINDIR", str(tmp_path))
    with pytest.raises(PostgisMissing, match="postgresql-99-postgis-3"):
        Cluster(home).up()


def test_data_of_another_major_version(home: Path) -> None:
    cluster = Cluster(home, durable=False)
    info = cluster.up()
    cluster.down()
    version = (info.data_dir / "PG_VERSION").read_text()
    (info.data_dir / "PG_VERSION").write_text("9\n")
    with pytest.raises(DataUnusable, match="made by PostgreSQL 9, installed"):
        cluster.up()
    (info.data_dir / "PG_VERSION").write_text(version)


def test_a_home_that_is_a_file(home: Path) -> None:
    home.write_text("")
    with pytest.raises(DataUnusable, match="SEGWATCH_HOME"):
        Cluster(home).up()
    home.unlink()


@pytest.mark.skipif(not _AS_ROOT, reason="only root has folders the server's account cannot enter")
def test_a_home_the_server_cannot_enter_keeps_its_data_elsewhere(home: Path) -> None:
    home.mkdir()
    home.chmod(0o700)
    cluster = Cluster(home, durable=False)
    info = cluster.up()
    assert info.data_dir.parent.parent == Path("/var/lib/segwatch")
    assert cluster.status().data_dir == str(info.data_dir)
    assert Cluster(home, durable=False).up() == info
    cluster.destroy()
    assert not info.data_dir.exists()


@pytest.mark.skipif(not _AS_ROOT, reason="needs to mount a small file system")
def test_a_full_disk_is_named(home: Path) -> None:
    home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m,mode=755", "tmpfs", str(home)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        with pytest.raises(DiskFull, match="no space left"):
            Cluster(home, durable=False).up()
    finally:
        subprocess.run(["umount", str(home)], check=True)
