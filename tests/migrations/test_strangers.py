"""The upgrade removes secrets from the addresses that readers see and keeps them in the links that are read."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from segwatch.db import migrate
from segwatch.db.embedded.cluster import Cluster

SECRET = "s3cr3tValue0123456789"
LINK = f"https://a.example/a.tif?id=7&token={SECRET}"
ROWS = f"""
    INSERT INTO segwatch.area SELECT id, ST_MakeEnvelope(0, 0, 1, 1, 4326) FROM ids;
    INSERT INTO segwatch.instruction SELECT id, 'water', '{{water}}' FROM ids;
    INSERT INTO segwatch.watch (id, name, instruction_id, area_id, definition, priority) SELECT id, 'w', id, id,
        '{{"catalog": "https://me:{SECRET}@a.example/api_key={SECRET}/v1?token={SECRET}", "profile": {{}}}}', 1
        FROM ids;
    INSERT INTO segwatch.watch_head (name, watch_id) SELECT 'w', id FROM ids;
    INSERT INTO segwatch.series (id, watch_name, instruction_id, model_version, origin_lon, origin_lat)
        SELECT id, 'w', id, 'm@1', 0, 0 FROM ids;
    INSERT INTO segwatch.scene (id, key, catalog, collection, platform, relative_orbit, solar_day, acquired_at,
                                footprint)
        SELECT id, 'https://a.example/api_key={SECRET}/v1/c/p/1/2024-01-01', 'https://a.example/api_key={SECRET}/v1',
               'c', 'p', '1', '2024-01-01', '2024-01-01', ST_MakeEnvelope(0, 0, 1, 1, 4326) FROM ids;
    INSERT INTO segwatch.scene_item (id, scene_id, version_id, item_id, href, acquired_at, processing_baseline, assets,
                                     properties, footprint)
        SELECT id, id, id, 'i', 'https://me:{SECRET}@a.example/i', now(), '', '{{"red": "{LINK}"}}', '{{}}',
               ST_MakeEnvelope(0, 0, 1, 1, 4326) FROM ids;
    INSERT INTO segwatch.observation (id, series_id, scene_id, watch_id, model_version, state, priority, acquired_at,
                                      items, version, reason)
        SELECT id, id, id, id, 'm@1', 'failed', 1, now(), ARRAY[id], 1, 'GET /search?token={SECRET} failed' FROM ids;
    INSERT INTO segwatch.rejected_item (id, watch_id, collection, item_id, href, reason)
        SELECT id, id, 'c', 'x', '{LINK}', 'no ' || '{LINK}' FROM ids
"""


@pytest.fixture
def before(cluster: Cluster) -> Iterator[str]:
    """Make a database of an earlier revision."""
    cluster.ensure_database("strangers", owner="segwatch_owner")
    url = cluster.info().superuser_url("strangers")
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION IF NOT EXISTS postgis")
        conn.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    migrate.upgrade(cluster.info().url_for("segwatch_owner", database="strangers"), "0016")
    yield url
    with psycopg.connect(cluster.info().superuser_url("postgres"), autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier("strangers")))


def test_secrets_leave_what_is_shown_and_stay_where_links_are_read(cluster: Cluster, before: str) -> None:
    with psycopg.connect(before) as conn:
        conn.execute("CREATE TEMP TABLE ids AS SELECT gen_random_uuid() AS id")
        for statement in ROWS.split(";"):
            conn.execute(statement.encode())
    migrate.upgrade(cluster.info().url_for("segwatch_owner", database="strangers"))
    with psycopg.connect(before) as conn:
        names = conn.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'watch'::regnamespace AND relkind = 'v'"
        ).fetchall()
        shown = [
            str(
                conn.execute(
                    sql.SQL("SELECT CAST(v AS text) FROM watch.{} v").format(sql.Identifier(name))
                ).fetchall()
            )
            for (name,) in names
        ]
        read = conn.execute("SELECT assets, links FROM segwatch.scene_item").fetchall()
        keys = conn.execute("SELECT key, catalog FROM segwatch.scene").fetchall()
    assert not any(SECRET in one for one in shown)
    assert any("api_key=***" in one for one in shown)
    assert read == [({"red": "https://a.example/a.tif?id=7"}, {"red": LINK})]
    assert keys == [("https://a.example/api_key=***/v1/c/p/1/2024-01-01", "https://a.example/api_key=***/v1")]
