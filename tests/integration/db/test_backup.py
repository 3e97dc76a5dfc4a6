"""The page "Back up and restore", on real servers: a dump with its roles, and recovery to a point in time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from segwatch.db import migrate
from segwatch.db.embedded import binaries
from segwatch.db.embedded.cluster import Cluster
from segwatch.db.embedded.os_user import ServerAccount, find_server_account
from segwatch.db.engine import make_engine
from segwatch.flows.config.settings import load_settings
from segwatch.flows.runtime.assemble import open_run_engine
from tests.conftest import Database
from tests.integration.conftest import LAKE
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.migrations.conftest import create_database, drop_database, dump_schema
from tests.support.paths import make_home
from tests.support.small_queue import queue

RESTORED = "restored"


@pytest.fixture
def account() -> ServerAccount:
    return find_server_account()


@pytest.fixture
def folder(account: ServerAccount) -> Iterator[Path]:
    """A folder that the server's account may write."""
    made = make_home("backup")
    account.own_folder(made / "files")
    yield made / "files"
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def restored(cluster: Cluster) -> Iterator[Database]:
    """A database with the extensions, in which a dump can be restored."""
    create_database(cluster, RESTORED)
    yield Database(cluster, RESTORED)
    drop_database(cluster, RESTORED)


def run(account: ServerAccount, *argv: str) -> None:
    done = account.run([binaries.find_installation().path(argv[0]), *argv[1:]])
    assert done.returncode == 0, done.stderr


def dump(account: ServerAccount, database: Database, file: Path) -> None:
    """As the page says: with the owner's role."""
    url = database.url("segwatch_owner").replace("+psycopg", "")
    run(account, "pg_dump", "--format=custom", f"--file={file}", url)


def restore(account: ServerAccount, database: Database, file: Path, *options: str) -> None:
    """As the page says: with an administrator's role."""
    run(account, "pg_restore", "--exit-on-error", *options, f"--dbname={database.superuser_url}", str(file))


def list_rights(cluster: Cluster, database: Database) -> set[str]:
    """Who owns what, and who may do what with it."""
    lines = dump_schema(cluster, database.url("segwatch_owner"))
    return {one for one in lines if one.startswith(("GRANT ", "REVOKE ")) or " OWNER TO " in one}


def test_a_restored_dump_has_all_rows_and_rights_and_goes_on(
    cluster: Cluster,
    database: Database,
    restored: Database,
    ledger: Ledger,
    account: ServerAccount,
    folder: Path,
    tmp_path: Path,
) -> None:
    dump(account, database, folder / "segwatch.dump")
    restore(account, restored, folder / "segwatch.dump")
    known, everything = ledger.known(), ledger.everything()
    assert list_rights(cluster, restored) == list_rights(cluster, database)
    migrate.upgrade(restored.url("segwatch_owner"))
    with open_run_engine(load_settings(database_url=restored.url(), home=tmp_path)) as engine:
        ledger.engine = engine
        assert ledger.known() == known
        assert ledger.everything() == everything
        with engine.begin() as conn, pytest.raises(ProgrammingError, match="permission denied"):
            conn.execute(text("DELETE FROM segwatch.track_state"))
        # the next scene is published, and its messages come after those before
        last = max(row["sequence"] for row in everything["delivery"])
        ledger.arrive({2: SceneContent((LAKE, cells(6, 6, 8, 8)))}, [2])
        following = [row["sequence"] for row in ledger.rows("SELECT sequence FROM segwatch.delivery")]
        assert len(following) > len(everything["delivery"])
        assert sorted(following)[len(everything["delivery"])] > last
    reader = make_engine(restored.url("segwatch_analyst"))
    with reader.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM watch.objects_now")).scalar_one() > 0
        with pytest.raises(ProgrammingError, match="permission denied"):
            conn.execute(text("SELECT * FROM segwatch.track"))
    reader.dispose()


def test_a_dump_restored_without_its_rights_is_refused(
    database: Database,
    restored: Database,
    ledger: Ledger,
    account: ServerAccount,
    folder: Path,
    tmp_path: Path,
) -> None:
    """Nothing works in it by accident: restore it again, with the roles."""
    dump(account, database, folder / "segwatch.dump")
    restore(account, restored, folder / "segwatch.dump", "--no-owner", "--no-privileges")
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        open_run_engine(load_settings(database_url=restored.url(), home=tmp_path)),
    ):
        pass


@contextmanager
def archiving(account: ServerAccount, folder: Path) -> Iterator[Cluster]:
    """A server that archives its log."""
    home = make_home("archiving")
    made = Cluster(home / "home", durable=False)
    archive = folder / "archive"
    account.own_folder(archive)
    try:
        made.up()
        with psycopg.connect(made.info().superuser_url("postgres"), autocommit=True) as conn:
            conn.execute("ALTER SYSTEM SET archive_mode = on")
            conn.execute(f"ALTER SYSTEM SET archive_command = 'cp %p {archive}/%f'".encode())
        made.down()
        migrate.upgrade(made.up().url_for("segwatch_owner"))
        yield made
    finally:
        made.destroy()
        shutil.rmtree(home, ignore_errors=True)


def back_up_files(account: ServerAccount, cluster: Cluster, target: Path) -> None:
    """Copy the files of a running server, as pg_basebackup does."""
    with psycopg.connect(cluster.info().superuser_url("postgres"), autocommit=True) as conn:
        conn.execute("SELECT pg_backup_start('test', true)")
        copied = account.run(["cp", "-a", str(cluster.info().data_dir), str(target)])
        assert copied.returncode == 0, copied.stderr
        row = conn.execute("SELECT labelfile FROM pg_backup_stop(false)").fetchone()
    assert row is not None
    (target / "backup_label").write_text(row[0])
    (target / "postmaster.pid").unlink()


def recover(account: ServerAccount, cluster: Cluster, backup: Path, archive: Path, until: str) -> None:
    """Put the backup in the place of the data, and let the server replay its log up to a time."""
    data = cluster.info().data_dir
    run(account, "pg_ctl", "-D", str(data), "-m", "fast", "-w", "stop")
    shutil.rmtree(data)
    (backup / "recovery.signal").touch()
    with (backup / "postgresql.auto.conf").open("a") as file:
        file.write(f"restore_command = 'cp {archive}/%f %p'\n")
        file.write(f"recovery_target_time = '{until}'\nrecovery_target_action = 'promote'\n")
    assert account.run(["mv", str(backup), str(data)]).returncode == 0
    if account.switch:
        for name in ("recovery.signal", "backup_label"):
            shutil.chown(data / name, account.uid, account.gid)
    log = data.parent / "server.log"
    started = account.run(
        [binaries.find_installation().path("pg_ctl"), "-D", str(data), "-l", str(log), "-w", "start"]
    )
    assert started.returncode == 0, log.read_text()
    deadline = time.monotonic() + 60
    with psycopg.connect(cluster.info().superuser_url("postgres"), autocommit=True) as conn:
        while (row := conn.execute("SELECT pg_is_in_recovery()").fetchone()) == (True,):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert row == (False,)


def test_a_server_recovers_to_the_moment_before_a_mistake(account: ServerAccount, folder: Path) -> None:
    with archiving(account, folder) as cluster:
        back_up_files(account, cluster, folder / "backup")
        engine = make_engine(cluster.info().url_for("segwatch_worker"))
        queue(engine, "http://127.0.0.1:9", "m@1", count=3)
        engine.dispose()
        with psycopg.connect(cluster.info().superuser_url(), autocommit=True) as conn:
            (before,) = conn.execute("SELECT clock_timestamp()::text").fetchone() or ("",)
            conn.execute("DELETE FROM segwatch.observation")
            conn.execute("SELECT pg_switch_wal()")
        recover(account, cluster, folder / "backup", folder / "archive", before)
        migrate.upgrade(cluster.up().url_for("segwatch_owner"))
        engine = make_engine(cluster.info().url_for("segwatch_worker"))
        with engine.connect() as conn:
            assert conn.execute(text("SELECT count(*) FROM segwatch.observation")).scalar_one() == 3
        # scenes that were found before are found again, and nothing is queued twice
        queue(engine, "http://127.0.0.1:9", "m@1", count=4)
        with engine.connect() as conn:
            assert conn.execute(text("SELECT count(*) FROM segwatch.observation")).scalar_one() == 4
        engine.dispose()
