"""With whose rights ``segwatch serve`` answers anyone who asks: the real command on a real database."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import httpx
import psycopg
import pytest
from typer.testing import CliRunner, Result

from segwatch.db.embedded import ports
from segwatch.db.embedded.ports import find_free_port
from segwatch.flows.cli import app
from tests.conftest import Database


def environment(**urls: str) -> dict[str, str]:
    return os.environ | {f"SEGWATCH_{name.upper()}_URL": url for name, url in urls.items()}


@pytest.mark.parametrize("role", ["segwatch_owner", "segwatch_worker", "heir"])
def test_a_role_that_may_write_serves_nobody(database: Database, role: str) -> None:
    given = {"database": database.url("segwatch_owner")}
    if role == "heir":  # it could take the owner's rights, and has none by itself
        with psycopg.connect(database.superuser_url, autocommit=True) as conn:
            conn.execute("CREATE ROLE heir LOGIN NOINHERIT PASSWORD 'x' IN ROLE segwatch_owner")
        port = database.cluster.info().port
        given["analyst"] = f"postgresql://heir:x@127.0.0.1:{port}/{database.name}"
    elif role == "segwatch_worker":
        given["database"] = database.url(role)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "segwatch.flows.cli", "serve", "--port", str(find_free_port())],
            env=environment(**given), capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    finally:
        with psycopg.connect(database.superuser_url, autocommit=True) as conn:
            conn.execute("DROP ROLE IF EXISTS heir")
    said = " ".join(done.stderr.split())
    assert done.returncode == 1, said
    assert f"the role {role} may change the ledger" in said
    assert "SEGWATCH_ANALYST_URL" in said
    assert "segwatch_analyst" in said
    assert "Traceback" not in said
    assert database.cluster.info().passwords["segwatch_owner"] not in said


def test_the_map_takes_the_role_that_reads(database: Database) -> None:
    """Also where nothing else is known: a map that nobody may write through needs no other role."""
    port = find_free_port()
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "segwatch.flows.cli", "serve", "--public", "--port", str(port)],
        env=environment(analyst=database.url("segwatch_analyst")) | {"SEGWATCH_ALLOWED_HOSTS": '["map.example.org"]'},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        try:
            until = time.monotonic() + 300
            while not _answers(port):
                assert time.monotonic() < until
                assert server.poll() is None
                time.sleep(0.1)
            hosts = ("map.example.org", "localhost", "evil.example", "10.0.0.1")
            got = [httpx.get(f"http://127.0.0.1:{port}/api/watches", headers={"Host": one}) for one in hosts]
            assert [one.status_code for one in got] == [200, 200, 400, 400]
            assert "SEGWATCH_ALLOWED_HOSTS" in got[2].text
            # Python's warnings about the description go to standard error
            assert httpx.get(f"http://127.0.0.1:{port}/openapi.json").status_code == 200
            assert httpx.get(f"http://127.0.0.1:{port}/ogc/api").status_code == 200
        finally:
            server.kill()
            assert server.stderr is not None
            said = server.stderr.read()
    assert f"serving at http://127.0.0.1:{port}/; Ctrl-C stops it" in said
    assert "Duplicate Operation ID" not in said


def test_a_port_that_is_taken_is_named_with_one_that_is_free(database: Database) -> None:
    with ports.reserve_port() as other:
        other.listen()
        port = other.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "segwatch.flows.cli", "serve", "--port", str(port)],
            env=environment(analyst=database.url("segwatch_analyst")),
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    said = " ".join(done.stderr.split())
    assert done.returncode == 1
    assert f"port {port} is taken" in said
    offered = re.search(r"--port (\d+) is free", said)
    assert offered is not None
    assert ports.is_free(int(offered[1]))
    assert "Traceback" not in said


def _segwatch(*arguments: str, **urls: str) -> Result:
    return CliRunner(env=environment(**urls)).invoke(app, list(arguments))


def test_a_server_beyond_loopback_wants_a_token(database: Database) -> None:
    urls = {"database": database.url(), "analyst": database.url("segwatch_analyst")}
    made = _segwatch("token", "create", "ada", "--all-watches", **urls)
    assert made.exit_code == 0, made.output
    secret = made.stdout.strip()
    listed = _segwatch("token", "list", "--json", **urls).stdout
    assert '"ada"' in listed
    assert secret.rpartition("_")[2] not in listed
    port = find_free_port()
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "segwatch.flows.cli", "serve", "--host", "0.0.0.0", "--port", str(port)],
        env=environment(**urls), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as server:  # fmt: skip
        try:
            until = time.monotonic() + 300
            while not _answers(port):
                assert time.monotonic() < until
                assert server.poll() is None
                time.sleep(0.1)
            url = f"http://127.0.0.1:{port}/api/watches"
            assert httpx.get(url).status_code == 401
            assert httpx.get(url, headers={"Authorization": f"Bearer {secret}"}).json() == []
            assert httpx.get(url, headers={"Host": "evil.example"}).status_code == 400
            assert _segwatch("token", "revoke", "ada", **urls).exit_code == 0
            assert httpx.get(url, headers={"Authorization": f"Bearer {secret}"}).status_code == 401
        finally:
            server.kill()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").is_success
    except httpx.TransportError:
        return False
