"""``f=parquet`` and ``f=fgb`` of the OGC API: the same rows as GeoJSON, for whoever may read them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import geopandas
import pyogrio
import pytest
from fastapi.testclient import TestClient

from segwatch.db import tokens
from segwatch.flows.web.application import create_app
from segwatch.flows.web.options import ServerOptions
from tests.conftest import Database
from tests.integration.conftest import LAKE
from tests.integration.conftest import ledger as ledger  # noqa: PLC0414 - a fixture of these tests, too
from tests.invariants.conftest import Ledger
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too

ITEMS = "/ogc/collections/watch.{}/items"


@pytest.fixture
def client(database: Database, ledger: Ledger) -> Iterator[TestClient]:
    with TestClient(create_app(database.url("segwatch_analyst")), raise_server_exceptions=False) as made:
        yield made


def read(client: TestClient, view: str, form: str, folder: Path, **asked: str) -> geopandas.GeoDataFrame:
    answer = client.get(ITEMS.format(view), params={"f": form, **asked})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"] == f'attachment; filename="{view}.{form}"'
    if form == "parquet":
        assert answer.headers["content-type"] == "application/vnd.apache.parquet"
        return geopandas.read_parquet(io.BytesIO(answer.content))
    target = folder / "answer.fgb"
    target.write_bytes(answer.content)
    return pyogrio.read_dataframe(target)


def test_pages_of_features_as_files(client: TestClient, ledger: Ledger, tmp_path: Path) -> None:
    for form in ("parquet", "fgb"):
        found = read(client, "objects_now", form, tmp_path, limit="10")
        assert found.crs.to_epsg() == 4326
        assert found.geometry.iloc[0].equals(LAKE)
        (shown,) = client.get(ITEMS.format("objects_now")).json()["features"]
        (row,) = found.to_dict("records")
        assert row["id"] == row["track_id"] == shown["id"]
        assert row["area_m2"] == pytest.approx(shown["properties"]["area_m2"])
        assert str(row["first_seen"].tz) in {"UTC", "tzutc()"}
        assert row["first_seen"].isoformat() == shown["properties"]["first_seen"]
        # no rows, no geometry, few columns: the same formats
        assert len(read(client, "objects_now", form, tmp_path, target="roads")) == 0
        assert len(read(client, "rejected_items", form, tmp_path)) == 0
        few = read(client, "changes", form, tmp_path, properties="kind,valid_at")
        assert [name for name in few.columns if name != "geometry"] == ["id", "kind", "valid_at"]
        page = client.get(ITEMS.format("coverage"), params={"f": form, "limit": "1"})
        assert (page.headers["ogc-numbermatched"], page.headers["ogc-numberreturned"]) == ("2", "1")
        assert f"f={form}" in page.headers["link"]
        assert "after=" in page.headers["link"]
        wrong = client.get(ITEMS.format("objects_now"), params={"f": form, "bbox": "1,2,3"})
        assert (wrong.status_code, "west,south,east,north" in wrong.text) == (400, True)
        assert client.get(ITEMS.format("nothing"), params={"f": form}).status_code == 404
    by_type = client.get(ITEMS.format("objects_now"), headers={"Accept": "application/vnd.apache.parquet"})
    assert by_type.content[:4] == b"PAR1"


def test_files_hold_only_what_the_token_may_see(database: Database, ledger: Ledger, tmp_path: Path) -> None:
    ledger.also_watch("ponds", "https://ponds.example")
    with ledger.engine.begin() as conn:
        secrets = {
            name: tokens.create(
                conn, name, watch_names=[name], scopes=[tokens.Scope.READ], expires_at=None
            ).secret
            for name in ("lakes", "ponds")
        }
    with TestClient(create_app(database.url("segwatch_analyst"), ServerOptions(closed=True))) as client:
        assert client.get(ITEMS.format("objects_now"), params={"f": "parquet"}).status_code == 401
        counts = {}
        for name, secret in secrets.items():
            client.headers["Authorization"] = f"Bearer {secret}"
            counts[name] = [len(read(client, "objects_now", form, tmp_path)) for form in ("parquet", "fgb")]
    assert counts == {"lakes": [1, 1], "ponds": [0, 0]}
