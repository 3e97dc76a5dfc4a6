"""What GDAL, QGIS and leafmap ask over HTTP: the real server, GDAL itself, and requests as the other two send them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import shapely
from shapely.geometry import shape

from segwatch.flows.web.application import create_app
from tests.conftest import Database
from tests.integration.conftest import LAKE
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support.live_web import live
from tests.support.vector_tiles import decoded


@pytest.fixture
def address(database: Database, ledger: Ledger) -> Iterator[str]:
    """Address of a server with 13 objects: two pages of ten."""
    more = tuple(cells(x, y, x + 0.7, y + 0.7) for x in (4, 5, 6, 7) for y in (4, 5, 6))
    ledger.arrive({2: SceneContent((LAKE, *more))}, [2])
    with live(create_app(database.url("segwatch_analyst"))) as made:
        yield made


#: GDAL waits for its answers without letting other threads of its process run, so it has a process of its own.
GDAL = """
import json, sys
import pyogrio
address, west, south, east, north = sys.argv[1], *map(float, sys.argv[2:])
source = f"OAPIF:{address}/ogc/collections/watch.objects_now"
whole = pyogrio.read_dataframe(source)
pages = pyogrio.read_dataframe(source, PAGE_SIZE="4")
few = pyogrio.read_dataframe(source, bbox=(west, south, east, north))
info = pyogrio.read_info(source)
print(json.dumps({
    "layers": [str(one[0]) for one in pyogrio.list_layers(f"OAPIF:{address}/ogc")],
    "ids": [sorted(one["track_id"]) for one in (whole, pages)],
    "crs": whole.crs.to_epsg(),
    "few": [one.wkt for one in few.geometry],
    "features": info["features"],
    "types": dict(zip(info["fields"].tolist(), map(str, info["dtypes"]))),
}))
"""


def test_gdal_lists_collections_and_reads_every_page(address: str) -> None:
    given = [address, *map(str, LAKE.bounds)]
    made = subprocess.run(
        [sys.executable, "-c", GDAL, *given], capture_output=True, text=True, timeout=300, check=False
    )
    assert made.returncode == 0, made.stderr
    found = json.loads(made.stdout)
    wanted = {"watch.objects_now", "watch.object_history", "watch.changes", "watch.alerts", "watch.coverage"}
    assert wanted <= set(found["layers"])
    whole, pages = found["ids"]
    assert len(set(whole)) == found["features"] == 13
    assert whole == pages
    assert found["crs"] == 4326
    (lake,) = (shapely.from_wkt(one) for one in found["few"])
    assert lake is not None
    assert shapely.equals_exact(lake.normalize(), LAKE.normalize(), 1e-6)
    assert "datetime" in found["types"]["first_seen"]
    assert "float" in found["types"]["area_m2"]


def test_a_map_client_finds_its_way(address: str) -> None:
    """Landing page, collections, pages within the map's box, TileJSON, tiles: what QGIS and leafmap do."""
    with httpx.Client(base_url=address, timeout=120) as client:

        def get(url: str, **asked: str) -> Any:
            answer = client.get(
                url, params=asked or None, headers={"Accept": "application/geo+json, application/json"}
            )
            assert answer.status_code == 200, answer.text
            return answer.json()

        def follow(document: dict[str, Any], rel: str) -> str:
            return str(next(one["href"] for one in document["links"] if one["rel"] == rel))

        landing = get("/ogc/")
        get(follow(landing, "conformance"))
        get(follow(landing, "service-desc"))
        collections = get(follow(landing, "data"))["collections"]
        (objects,) = [one for one in collections if one["id"] == "watch.objects_now"]
        schema = get(follow(objects, "http://www.opengis.net/def/rel/ogc/1.0/schema"))
        url = follow(objects, "items")
        page, seen = get(url, bbox="10,50,11,51", limit="5"), []
        while True:
            seen += page["features"]
            assert all(set(one["properties"]) <= set(schema["properties"]) for one in page["features"])
            following = [one["href"] for one in page["links"] if one["rel"] == "next"]
            if not following:
                break
            page = get(following[0])
        assert len({one["id"] for one in seen}) == len(seen) == 13
        middle = shape(seen[0]["geometry"]).centroid
        told = get("/ogc/collections/watch.objects_now/tiles/WebMercatorQuad/tilejson.json")
        west, south, east, north = told["bounds"]
        assert west <= middle.x <= east
        assert south <= middle.y <= north
        assert told["tilejson"].startswith("3")
        tile = client.get(told["tiles"][0].format(z=0, x=0, y=0))
        assert len(decoded(tile.content)["default"]) == 13
