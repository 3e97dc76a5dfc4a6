"""Every conformance class that the server lists, tested by its requirements.

The OGC's own suite is a Java program; these tests stand in for it. The names of their functions end the URIs of the
classes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator
from morecantile import TileMatrixSet

from segwatch.db import readers, tokens
from segwatch.flows.web.application import create_app
from segwatch.flows.web.ogcapi import application
from segwatch.flows.web.ogcapi.conformance import list_classes
from segwatch.flows.web.ogcapi.cursors import Cursor, describe_order
from tests.conftest import Database
from tests.integration.conftest import LAKE
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support.vector_tiles import decoded

OGC = "http://testserver/ogc"
OBJECTS = f"{OGC}/collections/watch.objects_now"
GEOJSON = "application/geo+json"
SPEC = "http://www.opengis.net/spec/"
#: Requirement class -> its test.
TESTS: dict[str, Callable[[TestClient], None]] = {}


def meets(*classes: str) -> Callable[[Callable[[TestClient], None]], Callable[[TestClient], None]]:
    """Mark a function as the test of conformance classes."""

    def mark(test: Callable[[TestClient], None]) -> Callable[[TestClient], None]:
        TESTS.update(dict.fromkeys((f"{SPEC}{one}" for one in classes), test))
        return test

    return mark


@pytest.fixture
def client(database: Database, ledger: Ledger) -> Iterator[TestClient]:
    """Three objects: a lake that grew, and two that appeared with the third scene."""
    ledger.arrive({2: SceneContent((LAKE, cells(5, 5, 6, 6), cells(5, 1, 7, 2)))}, [2])
    with TestClient(create_app(database.url("segwatch_analyst")), raise_server_exceptions=False) as made:
        yield made


def test_every_listed_class_is_met(client: TestClient) -> None:
    listed = client.get(f"{OGC}/conformance").json()["conformsTo"]
    assert set(listed) == set(TESTS)
    assert len(listed) == len(set(listed))
    for test in dict.fromkeys(TESTS.values()):
        test(client)


def test_arithmetic_is_not_promised_to_readers_of_some_watches(client: TestClient, ledger: Ledger) -> None:
    with ledger.engine.begin() as conn:
        made = tokens.create(conn, "few", watch_names=["lakes"], scopes=[tokens.Scope.READ], expires_at=None)
    few = client.get(f"{OGC}/conformance", headers={"Authorization": f"Bearer {made.secret}"}).json()[
        "conformsTo"
    ]
    assert set(TESTS) - set(few) == {f"{SPEC}cql2/1.0/conf/arithmetic"}
    assert list_classes() == few, "outside of requests nobody reads all watches"


def links(document: dict[str, Any], rel: str) -> list[dict[str, Any]]:
    return [one for one in document["links"] if one["rel"] == rel]


def get(client: TestClient, url: str, **asked: str) -> Any:
    answer = client.get(url, params=asked or None)
    assert answer.status_code == 200, (url, asked, answer.text)
    return answer.json()


def count(client: TestClient, **asked: str) -> int:
    return int(get(client, f"{OBJECTS}/items", **asked)["numberMatched"])


@meets("ogcapi-common-1/1.0/conf/core", "ogcapi-common-1/1.0/conf/landing-page")
def meet_landing_page(client: TestClient) -> None:
    page = get(client, f"{OGC}/")
    assert {"title", "links"} <= set(page)
    for rel in ("self", "service-desc", "service-doc", "conformance", "data"):
        assert links(page, rel), rel
    assert client.get(links(page, "service-desc")[0]["href"]).status_code == 200
    assert client.get(f"{OGC}/nowhere").status_code == 404
    assert client.get(f"{OGC}/conformance?nonsense=1").status_code == 400


@meets("ogcapi-common-1/1.0/conf/json")
def meet_json(client: TestClient) -> None:
    for path in ("/", "/conformance", "/collections", "/tileMatrixSets"):
        answer = client.get(f"{OGC}{path}", headers={"Accept": "application/json"})
        assert answer.headers["content-type"].startswith("application/json"), path
        answer.json()


@meets("ogcapi-common-1/1.0/conf/html", "ogcapi-features-1/1.0/conf/html")
def meet_html(client: TestClient) -> None:
    paths = ("/", "/conformance", "/collections", "/collections/watch.changes", "/collections/watch.changes/items",
             "/collections/watch.changes/schema", "/collections/watch.changes/queryables")  # fmt: skip
    for path in paths:
        answer = client.get(f"{OGC}{path}", headers={"Accept": "text/html"})
        assert answer.status_code == 200, path
        assert answer.headers["content-type"].startswith("text/html"), path
    feature = get(client, f"{OBJECTS}/items", limit="1")["features"][0]
    page = client.get(f"{OBJECTS}/items/{feature['id']}", headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")


@meets("ogcapi-common-2/1.0/conf/collections")
def meet_collections(client: TestClient) -> None:
    listed = get(client, f"{OGC}/collections")
    assert links(listed, "self")
    assert len(listed["collections"]) > 10
    for one in listed["collections"]:
        alone = get(client, f"{OGC}/collections/{one['id']}")
        assert alone["id"] == one["id"]
        assert links(alone, "items"), one["id"]
    assert client.get(f"{OGC}/collections/watch.nothing").status_code == 404
    assert client.get(f"{OGC}/collections/nothing").status_code == 404
    extent = get(client, OBJECTS)["extent"]
    west, south, east, north = extent["spatial"]["bbox"][0]
    assert west <= LAKE.centroid.x <= east
    assert south <= LAKE.centroid.y <= north


@meets("ogcapi-features-1/1.0/conf/core")
def meet_core(client: TestClient) -> None:
    page = get(client, f"{OBJECTS}/items", limit="2")
    assert (page["numberMatched"], page["numberReturned"], len(page["features"])) == (3, 2, 2)
    assert {one["type"] for one in links(page, "alternate")} >= {"text/html", "text/csv"}
    (following,) = links(page, "next")
    rest = get(client, following["href"])
    assert (rest["numberMatched"], rest["numberReturned"]) == (3, 1)
    assert not links(rest, "next")
    feature = page["features"][0]
    alone = get(client, f"{OBJECTS}/items/{feature['id']}")
    assert alone["properties"] == feature["properties"]
    assert {"self", "collection"} & {one["rel"] for one in alone["links"]}
    for wrong in ({"bbox": "1,2"}, {"datetime": "x"}, {"limit": "0"}, {"unknown": "1"}):
        assert client.get(f"{OBJECTS}/items", params=wrong).status_code == 400, wrong
    box = ",".join(map(str, LAKE.bounds))
    assert count(client, bbox=box) == 1
    assert count(client, datetime="../2024-01-02T12:00:00Z") == 1
    assert count(client, target="forest") == 0
    assert client.get(f"{OBJECTS}/items/00000000-0000-0000-0000-000000000000").status_code == 404


@meets("ogcapi-features-1/1.0/conf/geojson")
def meet_geojson(client: TestClient) -> None:
    answer = client.get(f"{OBJECTS}/items", headers={"Accept": GEOJSON})
    assert answer.headers["content-type"] == GEOJSON
    collection = answer.json()
    assert collection["type"] == "FeatureCollection"
    for one in collection["features"]:
        assert {"type", "geometry", "properties", "id"} <= set(one)
        assert one["type"] == "Feature"
    alone = client.get(f"{OBJECTS}/items/{collection['features'][0]['id']}", headers={"Accept": GEOJSON})
    assert alone.headers["content-type"] == GEOJSON


@meets("ogcapi-features-3/1.0/conf/queryables", "ogcapi-features-5/1.0/conf/schemas",
       "ogcapi-features-5/1.0/conf/core-roles-features")  # fmt: skip
def meet_schemas(client: TestClient) -> None:
    for name in ("objects_now", "object_history", "changes", "alerts", "coverage", "watches"):
        collection = get(client, f"{OGC}/collections/watch.{name}")
        for rel, kind in (
            ("queryables", "queryables"),
            ("http://www.opengis.net/def/rel/ogc/1.0/schema", "schema"),
        ):
            (link,) = links(collection, rel)
            answer = client.get(link["href"])
            assert answer.headers["content-type"] == "application/schema+json"
            schema = answer.json()
            Draft202012Validator.check_schema(schema)
            assert schema["$id"] == link["href"]
            assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
            assert schema["type"] == "object"
            assert kind in link["href"]
        for one in get(client, f"{OGC}/collections/watch.{name}/items")["features"]:
            plain = {key: value for key, value in one["properties"].items() if value is not None}
            check = {**schema, "properties": schema["properties"]}
            Draft202012Validator(check).validate(plain)
        assert all(one.get("description") for one in schema["properties"].values()), name
    roles = {
        one["x-ogc-role"]
        for one in get(client, f"{OBJECTS}/schema")["properties"].values()
        if "x-ogc-role" in one
    }
    assert roles == {"id", "primary-geometry", "primary-interval-start"}
    history = get(client, f"{OGC}/collections/watch.object_history/schema")["properties"]
    assert history["valid_from"]["x-ogc-role"] == "primary-interval-start"
    assert history["valid_to"]["x-ogc-role"] == "primary-interval-end"
    assert history["geom"]["format"].startswith("geometry-")


@meets("ogcapi-features-3/1.0/conf/queryables-query-parameters")
def meet_query_parameters(client: TestClient) -> None:
    names = get(client, f"{OBJECTS}/queryables")["properties"]
    assert "target" in names
    assert (count(client, target="water"), count(client, watch="x")) == (3, 0)


LANGUAGES: list[dict[str, str]] = [{}, {"filter-lang": "cql2-text"}]


@meets("ogcapi-features-3/1.0/conf/filter", "ogcapi-features-3/1.0/conf/features-filter", "cql2/1.0/conf/cql2-text",
       "cql2/1.0/conf/basic-cql2")  # fmt: skip
def meet_filter(client: TestClient) -> None:
    known = {
        "target = 'water'": 3, "target <> 'water'": 0, "area_m2 > 1 AND area_m2 < 1e12": 3, "area_m2 >= 1 OR TRUE": 3,
        "NOT (target = 'water')": 0, "area_m2 <= 0": 0, "review IS NULL": 3, "review IS NOT NULL": 0,
        "first_seen < TIMESTAMP('2024-01-02T12:00:00Z')": 1, "first_seen > DATE('2024-01-03')": 2,
    }  # fmt: skip
    for condition, matched in known.items():
        for more in LANGUAGES:
            assert count(client, filter=condition, **more) == matched, condition
    assert count(client, filter="target = 'water'", bbox=",".join(map(str, LAKE.bounds))) == 1
    for wrong in ("nothing = 1", "area_m2 >", "("):
        assert client.get(f"{OBJECTS}/items", params={"filter": wrong}).status_code == 400, wrong
    crs84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
    assert count(client, filter="area_m2 > 1", **{"filter-crs": crs84}) == 3


@meets("cql2/1.0/conf/cql2-json")
def meet_cql2_json(client: TestClient) -> None:
    water = '{"op": "=", "args": [{"property": "target"}, "water"]}'
    condition = f'{{"op": "not", "args": [{water}]}}'
    assert count(client, filter=water, **{"filter-lang": "cql2-json"}) == 3
    assert count(client, filter=condition, **{"filter-lang": "cql2-json"}) == 0


@meets("cql2/1.0/conf/advanced-comparison-operators")
def meet_comparisons(client: TestClient) -> None:
    for condition, matched in {
        "target LIKE 'wa%'": 3, "target LIKE '_ater'": 3, "target LIKE 'x%'": 0, "area_m2 BETWEEN 1 AND 1000000000": 3,
        "area_m2 NOT BETWEEN 1 AND 1000000000": 0, "target IN ('water', 'forest')": 3, "target NOT IN ('water')": 0,
    }.items():  # fmt: skip
        assert count(client, filter=condition) == matched, condition


@meets("cql2/1.0/conf/case-insensitive-comparison")
def meet_case(client: TestClient) -> None:
    assert count(client, filter="CASEI(target) = CASEI('WaTeR')") == 3
    assert count(client, filter="target = 'WaTeR'") == 0


@meets("cql2/1.0/conf/basic-spatial-functions", "cql2/1.0/conf/basic-spatial-functions-plus")
def meet_basic_space(client: TestClient) -> None:
    x, y = LAKE.centroid.x, LAKE.centroid.y
    west, south, east, north = LAKE.bounds
    for geometry in (
        f"POINT({x} {y})",
        f"BBOX({west}, {south}, {east}, {north})",
        f"LINESTRING({west} {y}, {east} {y})",
        f"MULTIPOINT(({x} {y}), (0 0))",
        f"POLYGON(({west} {south}, {east} {south}, {east} {north}, {west} {south}))",
    ):
        assert count(client, filter=f"S_INTERSECTS(geom, {geometry})") == 1, geometry
    assert count(client, filter="S_INTERSECTS(geom, POINT(0 0))") == 0


@meets("cql2/1.0/conf/spatial-functions")
def meet_space(client: TestClient) -> None:
    far = "POLYGON((20 50, 21 50, 21 51, 20 51, 20 50))"
    world = "POLYGON((9 49, 11 49, 11 51, 9 51, 9 49))"
    lake = LAKE.wkt
    for condition, matched in {
        f"S_WITHIN(geom, {world})": 3, f"S_DISJOINT(geom, {far})": 3, f"S_EQUALS(geom, {lake})": 1,
        f"S_CONTAINS(geom, POINT({LAKE.centroid.x} {LAKE.centroid.y}))": 1, f"S_TOUCHES(geom, {far})": 0,
        f"S_OVERLAPS(geom, {far})": 0, f"S_CROSSES(geom, LINESTRING(9 {LAKE.centroid.y}, 11 {LAKE.centroid.y}))": 2,
    }.items():  # fmt: skip
        found = count(client, filter=condition)
        assert found == matched or (condition.startswith("S_CROSSES") and found >= 1), condition


@meets("cql2/1.0/conf/property-property")
def meet_property_property(client: TestClient) -> None:
    assert count(client, filter="first_seen <= last_seen") == 3
    assert count(client, filter="last_seen < first_seen") == 0


@meets("cql2/1.0/conf/arithmetic")
def meet_arithmetic(client: TestClient) -> None:
    assert count(client, filter="area_m2 * 2 - area_m2 = area_m2 + 1 - 1") == 3
    assert count(client, filter="area_m2 / 2 > area_m2") == 0


@meets("ogcapi-tiles-1/1.0/conf/core", "ogcapi-tiles-1/1.0/conf/tileset", "ogcapi-tiles-1/1.0/conf/tilesets-list",
       "ogcapi-tiles-1/1.0/conf/geodata-tilesets", "ogcapi-tiles-1/1.0/conf/mvt",
       "tms/2.0/conf/tilematrixset")  # fmt: skip
def meet_tiles(client: TestClient) -> None:
    listed = get(client, f"{OBJECTS}/tiles")["tilesets"]
    assert len(listed) == 2
    for one in listed:
        (link,) = links(one, "self")
        tileset = get(client, link["href"])
        assert tileset["dataType"] == "vector"
        assert tileset["crs"]
        limits = tileset["tileMatrixSetLimits"][0]
        assert (limits["minTileRow"], limits["maxTileRow"]) == (0, 0)
        (matrices,) = links(tileset, "http://www.opengis.net/def/rel/ogc/1.0/tiling-scheme")
        grid = TileMatrixSet.model_validate(get(client, matrices["href"]))
        (item,) = [each for each in links(tileset, "item") if "mapbox-vector-tile" in each["type"]]
        tile = grid.tile(LAKE.centroid.x, LAKE.centroid.y, 9)
        address = item["href"].format(tileMatrix=tile.z, tileRow=tile.y, tileCol=tile.x)
        answer = client.get(address)
        assert answer.headers["content-type"] == "application/vnd.mapbox-vector-tile"
        assert len(decoded(answer.content)["default"]) == 3
        assert client.get(address.replace(f"/{tile.z}/", "/99/")).status_code == 404


STARTS: list[dict[str, str]] = [{}, {"offset": "2"}]


def test_pages_lead_through_a_collection_in_every_order(client: TestClient, ledger: Ledger) -> None:
    for day in range(3, 6):
        ledger.arrive({day: SceneContent((LAKE, cells(5, 5, 5 + day / 4, 6)))}, [day])
    orders = {
        "object_history": ("", "-valid_from", "valid_to,-area_m2", "-valid_to"),
        "changes": ("-valid_at", "kind,-confidence", "retracted_at"),
        "coverage": ("clear_share", "-acquired_at"),
    }
    for name, wanted in orders.items():
        items = f"{OGC}/collections/watch.{name}/items"
        for sortby in wanted:
            asked = {"sortby": sortby} if sortby else {}
            whole = [one["id"] for one in get(client, items, limit="1000", **asked)["features"]]
            for start in STARTS:
                url: str | None = None
                page = get(client, items, limit="3", **asked, **start)
                seen = [one["id"] for one in page["features"]]
                while url := next((one["href"] for one in links(page, "next")), None):
                    assert "offset" not in url
                    page = get(client, url)
                    seen += [one["id"] for one in page["features"]]
                    assert page["numberMatched"] == len(whole)
                assert seen == whole[len(whole) - len(seen) :], (name, sortby)
                assert len(seen) == len(whole) - int(start.get("offset", 0)), (name, sortby)
    assert client.get(f"{OBJECTS}/items", params={"sortby": "geom"}).status_code == 400
    page = get(client, f"{OBJECTS}/items", limit="1", sortby="-area_m2")
    (following,) = links(page, "next")
    assert client.get(following["href"].replace("-area_m2", "area_m2")).status_code == 400, "another order"


class Recorder:
    """A connection that keeps the queries of a page."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self.queries: list[str] = []

    async def fetch(self, query: str, *values: Any) -> Any:
        self.queries.append(query)
        return await self._conn.fetch(query, *values)

    async def fetchval(self, query: str, *values: Any) -> Any:
        self.queries.append(query)
        return await self._conn.fetchval(query, *values)


#: Collections of many rows.
LARGE = ("objects_now", "object_history", "changes", "alerts", "coverage", "detections")


def count_read(node: dict[str, Any]) -> int:
    """Count the rows that the leaves of a plan read."""
    inner = node.get("Plans", ())
    if inner:
        return sum(map(count_read, inner))
    return int(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)))


def test_a_deep_page_counts_nothing_and_reads_less_than_the_first(database: Database, ledger: Ledger) -> None:
    """The key of the cursor reaches the tables below the view, whose other rows are not joined and sorted."""
    for day in range(2, 5):
        ledger.arrive({day: SceneContent((LAKE, cells(5, 5, 5 + day / 4, 6)))}, [day])

    async def measure() -> dict[str, tuple[int, int, int]]:
        app = application.make_app()
        await application.connect(app, database.url("segwatch_analyst").replace("+psycopg", ""))
        found = {}
        for name in LARGE:
            view = app.state.collection_catalog["collections"][f"watch.{name}"]
            keys = view.list_sort_keys(None)
            last = ", ".join(f"{one.name}::text" for one in keys)
            order = ", ".join(f"{one.name} DESC" for one in keys)
            async with app.state.pool.acquire() as conn:
                await conn.execute(readers.SET_SESSION, *readers.EVERYTHING.settings)
                row = await conn.fetchrow(f"SELECT {last} FROM watch.{name} ORDER BY {order} LIMIT 1")
                read = []
                for after in (None, Cursor(describe_order(keys), tuple(row), 7)):
                    recorder = Recorder(conn)
                    page = await view.features(recorder, limit=2, after=after)
                    plan = await conn.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {recorder.queries[-1]}")
                    read.append(count_read((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]))
                assert (page["matched"], page["items"]) == (7, [])
                first, deep = read
                found[name] = (first, deep, len(recorder.queries))
        await application.disconnect(app)
        return found

    for name, (first, deep, queries) in asyncio.run(measure()).items():
        assert queries == 1, "the features are not counted again"
        assert deep < first, name
