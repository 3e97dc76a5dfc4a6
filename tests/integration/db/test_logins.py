"""The role of a service reaches its own database and not the ledger."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from segwatch.db import roles
from segwatch.db.embedded import binaries, logins
from segwatch.db.embedded.cluster import Cluster


@pytest.fixture
def services(cluster: Cluster) -> Iterator[Cluster]:
    """The databases of both services, as a home from before has them: the ledger's owner owns them."""
    with closing(psycopg.connect(cluster.info().superuser_url("postgres"), autocommit=True)) as conn:
        for name in logins.SERVICES:
            conn.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            cluster.ensure_database(name, owner=roles.OWNER)
        with psycopg.connect(_plain(cluster, roles.OWNER, "prefect")) as owner:
            owner.execute("CREATE TABLE flow_run AS SELECT 7 AS n")
        yield cluster
        for name in logins.SERVICES:
            conn.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _plain(cluster: Cluster, role: str, database: str) -> str:
    return cluster.info().url_for(role, database=database).replace("+psycopg", "")


def test_each_service_reaches_its_own_database_and_no_other(services: Cluster) -> None:
    services.ensure_service_database("stac", owner=logins.SUPERUSER)
    services.ensure_service_database("prefect")
    for database, role in logins.SERVICES.items():
        url = services.info().service_url(database)
        with psycopg.connect(url) as conn:
            rights = conn.execute(
                "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles "
                "WHERE rolname = current_user"
            ).fetchone()
            member = conn.execute(
                "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'segwatch%%' AND rolname <> %s "
                "AND pg_has_role(rolname, 'MEMBER')",
                (role,),
            ).fetchone()
        assert rights == (False,) * 5
        assert member == (0,)
        for other in {"segwatch", "postgres", "template1", *logins.SERVICES} - {database}:
            with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects|permission denied"):
                psycopg.connect(url.rpartition("/")[0] + f"/{other}")
    for role in (roles.WORKER, roles.ANALYST):
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            psycopg.connect(_plain(services, role, "prefect"))


def test_database_privileges_agree_with_pg_hba(services: Cluster) -> None:
    """A server started before an upgrade still has the old file."""
    with psycopg.connect(services.info().superuser_url()) as conn:
        for role in logins.SERVICES.values():
            assert conn.execute(
                "SELECT has_database_privilege(%s, 'segwatch', 'CONNECT')", (role,)
            ).fetchone() == (False,)
        for role in roles.ALL:
            assert conn.execute(
                "SELECT has_database_privilege(%s, 'segwatch', 'CONNECT')", (role,)
            ).fetchone() == (True,)


def test_an_existing_prefect_database_gets_its_role_and_the_ledger_keeps_its_owner(services: Cluster) -> None:
    for _ in range(2):
        services.ensure_service_database("prefect")
    with psycopg.connect(services.info().service_url("prefect")) as conn:
        assert conn.execute("SELECT n FROM flow_run").fetchone() == (7,)
        conn.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        conn.execute("DROP TABLE flow_run")
        owners: dict[str, str] = dict(
            conn.execute("SELECT datname, pg_get_userbyid(datdba) FROM pg_database").fetchall()
        )
    assert owners["prefect"] == logins.PREFECT
    assert {owners["segwatch"], owners["stac"]} == {roles.OWNER}


def test_the_catalogs_role_reads_and_searches(services: Cluster) -> None:
    from segwatch.flows.services.stac_api import prepare

    services.ensure_service_database("stac", owner=logins.SUPERUSER)
    prepare(services.info().superuser_url("stac"), logins.STAC)
    url = f"{services.info().service_url('stac')}?options=-csearch_path%3Dpgstac,public"
    with psycopg.connect(url) as conn:
        found = conn.execute("SELECT pgstac.search('{}') ->> 'type'").fetchone()
        assert found == ("FeatureCollection",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("DELETE FROM pgstac.collections")
    with psycopg.connect(url) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("SELECT pg_read_file('/etc/passwd')")


def test_the_socket_asks_the_system_who_connects(cluster: Cluster) -> None:
    info = cluster.info()
    hba = (info.data_dir / "pg_hba.conf").read_text()
    assert "trust" not in hba
    with psycopg.connect(
        host=str(info.socket_dir), port=info.port, user="postgres", dbname="segwatch"
    ) as conn:
        assert conn.execute("SELECT current_user").fetchone() == ("postgres",)
    for role in logins.SERVICES.values():
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(host=str(info.socket_dir), port=info.port, user=role, dbname="segwatch")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account of the machine")
def test_another_account_of_the_machine_is_refused(cluster: Cluster) -> None:
    """The account that started the cluster is its administrator; others need a password, over the socket, too."""
    info = cluster.info()
    folders = [folder for folder in (info.socket_dir, *info.socket_dir.parents) if folder.stat().st_uid]
    modes = {folder: folder.stat().st_mode for folder in folders}
    try:
        for folder in folders:  # as if a mistake had opened the folder of the socket
            folder.chmod(0o777)
        for role in (logins.SUPERUSER, *roles.ALL):
            for host in (str(info.socket_dir), "127.0.0.1"):
                argv = [
                    binaries.find_psql(),
                    "-w",
                    "-h",
                    host,
                    "-p",
                    str(info.port),
                    "-U",
                    role,
                    "-d",
                    "segwatch",
                ]
                done = subprocess.run(
                    [*argv, "-c", "SELECT 1"],
                    capture_output=True,
                    text=True,
                    check=False,
                    cwd="/",
                    env={},
                    user="nobody",
                    group="nogroup",
                    extra_groups=[],
                )
                assert done.returncode != 0
                assert "authentication failed" in done.stderr or "no password supplied" in done.stderr
    finally:
        for folder, mode in modes.items():
            folder.chmod(mode)
