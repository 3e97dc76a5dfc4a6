"""An empty database for migrations, and its schema as text."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from segwatch.db.embedded.cluster import Cluster


@pytest.fixture
def empty(cluster: Cluster) -> Iterator[str]:
    """Owner's URL of a database with the extensions and nothing else."""
    create_database(cluster, "empty")
    yield cluster.info().url_for("segwatch_owner", database="empty")
    drop_database(cluster, "empty")


def create_database(cluster: Cluster, name: str) -> None:
    """Create a database with the extensions."""
    cluster.ensure_database(name, owner="segwatch_owner")
    with psycopg.connect(cluster.info().superuser_url(name), autocommit=True) as conn:
        conn.execute("CREATE EXTENSION IF NOT EXISTS postgis")
        conn.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")


def drop_database(cluster: Cluster, name: str) -> None:
    """Drop a database, whoever is connected to it."""
    with psycopg.connect(cluster.info().superuser_url("postgres"), autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def dump_schema(cluster: Cluster, url: str, *arguments: str) -> list[str]:
    """Dump both schemas with pg_dump, rights and comments included."""
    program = cluster.psql_argv()[0].removesuffix("psql") + "pg_dump"
    plain = url.replace("+psycopg", "")
    argv = [program, "--schema-only", "--schema=segwatch", "--schema=watch", *arguments, plain]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    # some versions of pg_dump write a random token around their output
    return [line for line in lines if not line.startswith(("\\restrict", "\\unrestrict"))]
