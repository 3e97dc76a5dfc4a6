"""What anyone may ask the OGC API, and what it says: the real application on a real database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from fastapi.testclient import TestClient
from morecantile import tms
from sqlalchemy import text

from segwatch.db import reviews, scenes
from segwatch.db.analyst.keys import VIEW_KEYS
from segwatch.db.embedded.cluster import Cluster
from segwatch.db.engine import make_engine
from segwatch.flows.web.application import create_app
from segwatch.flows.web.guards.rate_limits import Rate
from segwatch.flows.web.ogcapi import application, catalogs, collections
from segwatch.flows.web.ogcapi import queries as bounded
from segwatch.geo.types.watch import TrackingSettings
from tests.conftest import Database, make_database
from tests.integration.conftest import LAKE, show_a_lake
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support.vector_tiles import decoded

OBJECTS = "/ogc/collections/watch.objects_now"
TILE = f"{OBJECTS}/tiles/WebMercatorQuad/10/540/347"
#: What PostgreSQL, PostGIS or asyncpg would say.
WORDS = ("syntax", "operator does not", "HINT", "LINE 1", "invalid input", "SRID", "relation", "Traceback")


@pytest.fixture
def client(database: Database, ledger: Ledger) -> Iterator[TestClient]:
    with TestClient(create_app(database.url("segwatch_analyst")), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture(scope="module")
def reader(cluster: Cluster) -> Iterator[TestClient]:
    """The same, for tests that change nothing."""
    with make_database(cluster) as database:
        engine = make_engine(database.url())
        show_a_lake(Ledger(database, engine, TrackingSettings(gone_after=1)))
        engine.dispose()
        app = create_app(database.url("segwatch_analyst"), rate=Rate(per_second=1000, burst=10_000))
        with TestClient(app, raise_server_exceptions=False) as made:
            yield made


def found(client: TestClient, **asked: str) -> int:
    answer = client.get(f"{OBJECTS}/items", params=asked)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["numberMatched"])


def refused(answer: Any, *statuses: int) -> str:
    """What it says, which is nothing of the database's."""
    assert answer.status_code in (statuses or (400, 404, 422)), answer.text
    said = str(answer.text)
    assert not [word for word in WORDS if word in said]
    return said


RIGHT = [
    ("area_m2 > 1 AND NOT last_change = 'grew'", 1),
    ("target LIKE 'wa%' OR area_m2 BETWEEN 1 AND 2", 1),
    ("CASEI(target) = CASEI('WATER')", 1),
    ("target IN ('forest', 'roads')", 0),
    ("area_m2 IN (1, 2) OR first_seen IN (TIMESTAMP('2024-01-02T10:00:00Z'))", 1),
    ("track_id IN ('6f1d3f0e-5a0b-5b5e-9a53-6a1f5c7f2a10', '6f1d3f0e-5a0b-5b5e-9a53-6a1f5c7f2a11')", 0),
    ("review IS NULL AND area_m2 / 2 + 1 * 3 - 1 > 2 ^ 3", 1),
    ("S_INTERSECTS(geom, POLYGON((10 50, 11 50, 11 51, 10 51, 10 50)))", 1),
    ("S_WITHIN(geom, POLYGON((20 50, 21 50, 21 51, 20 51, 20 50)))", 0),
    ("T_AFTER(first_seen, TIMESTAMP('2020-01-01T00:00:00Z'))", 1),
    ("T_DURING(first_seen, INTERVAL('2020-01-01T00:00:00Z', '2021-01-01T00:00:00Z'))", 0),
    ("A_CONTAINS(item_hrefs, ('https://stac.example/c/items/a-1?v=0'))", 1),
    ('{"op": "=", "args": [{"property": "target"}, "water"]}', 1),
    ("target = 'a'' OR ''1'' = ''1'", 0),
    ('{"op": "=", "args": [{"property": "target"}, "\' OR 1=1 --"]}', 0),
    ('{"op": "=", "args": [{"property": "target"}, "\\\\\' OR 1=1 --"]}', 0),
]


def test_filters_of_the_standard_work(reader: TestClient) -> None:
    for condition, matched in RIGHT:
        assert found(reader, filter=condition) == matched, condition
        assert reader.get(TILE, params={"filter": condition}).status_code == 200, condition


def test_rings_are_closed_and_half_a_polygon_is_refused(client: TestClient) -> None:
    assert found(client, filter="S_INTERSECTS(geom, POLYGON((10 50, 11 50, 11 51, 10 51)))") == 1
    far = {"filter": "S_INTERSECTS(geom, POLYGON((80 50, 81 51)))"}
    assert "malformed" in refused(client.get(f"{OBJECTS}/items", params=far), 400)


def test_unknown_properties_and_formats_are_refused_with_the_known_ones(client: TestClient) -> None:
    said = refused(client.get(f"{OBJECTS}/items", params={"properties": "area_m2, aera_m2"}), 400)
    assert "unknown aera_m2" in said
    assert "observations_for" in said
    said = refused(client.get(f"{OBJECTS}/items", params={"f": "shp"}), 400)
    assert "'parquet' or 'fgb'" in said
    page, collection = client.get(f"{OBJECTS}/items").json(), client.get(OBJECTS).json()
    for links in (page["links"], collection["links"]):
        offered = [one["href"] for one in links if one["rel"] == "alternate"]
        assert any("f=parquet" in one for one in offered)
        assert any("f=fgb" in one for one in offered)
    (described,) = (
        one for one in client.get("/ogc/api").json()["paths"]["/collections/{collectionId}/items"]["get"]["parameters"]
        if one["name"] == "f"
    )  # fmt: skip
    assert {"parquet", "fgb"} <= set(described["schema"]["anyOf"][0]["enum"])


def test_views_without_geometry_are_collections_in_words_of_their_own(client: TestClient) -> None:
    listed = {one["id"]: one for one in client.get("/ogc/collections").json()["collections"]}
    assert {"watch.area_by_week", "watch.calibrations", "watch.alert_corrections"} <= listed.keys()
    assert listed["watch.objects_now"]["description"].startswith(
        "Objects on the ground now, one row per object"
    )
    weeks = "/ogc/collections/watch.area_by_week/items"
    page = client.get(
        weeks, params={"watch": "lakes", "datetime": "2024-01-03", "filter": "admin_area IS NULL"}
    )
    (week,) = page.json()["features"]
    assert (week["geometry"], week["properties"]["week"]) == (None, "2024-01-01")
    assert client.get(f"{weeks}/{week['id']}").json()["properties"] == week["properties"]
    assert "area_by_week_id" in client.get(weeks, params={"f": "csv"}).text.splitlines()[0]
    refused(client.get(weeks.replace("items", "tiles/WebMercatorQuad/0/0/0")), 404)


def test_extents_follow_what_is_observed(
    database: Database, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogs, "REFRESH_SECONDS", 0.2)
    monkeypatch.setattr(catalogs, "REFRESH_FACTOR", 0)

    def last(client: TestClient) -> str:
        interval = client.get("/ogc/collections/watch.coverage").json()["extent"]["temporal"]["interval"]
        return str(interval[0][1])[:10]

    with TestClient(create_app(database.url("segwatch_analyst"))) as client:
        assert last(client) == "2024-01-02"
        ledger.arrive({2: SceneContent((cells(1, 1, 5, 3),))}, [2])
        until = time.monotonic() + 60
        while last(client) != "2024-01-03" and time.monotonic() < until:
            time.sleep(0.2)
        assert last(client) == "2024-01-03"


WRONG = [
    ("pg_sleep(600) IS NULL", "pg_sleep"),
    ("pg_notify('segwatch_alert', '{}') IS NULL", "pg_notify"),
    ("int4(text(query_to_xml('select 1', true, false, ''))) = 1", "int4"),
    ("dropgeometrytable('segwatch', 'victim') = 'x'", "dropgeometrytable"),
    ("area_m2 > 1 OR target IN (current_setting('data_directory'))", "current_setting"),
    ("S_INTERSECTS(geom, pg_sleep(600))", "pg_sleep"),
    ("ACCENTI(target) = 'x'", "accenti"),
    ("'pg_sleep(600) IS NULL'", "not a condition"),
    ('{"op": "in", "args": [{"property": "area_m2"}, [{"op": "pg_sleep", "args": [600]}]]}', "pg_sleep"),
    ('{"op": "(select 1)=1 or coalesce", "args": [true]}', "coalesce"),
    ('{"op": "=", "args": [{"property": "x\\" = 1 or true --"}, 1]}', "unknown property"),
    ("current_user = 'segwatch_analyst'", "current_user"),
    ("tableoid = 1", "tableoid"),
    ("target", "properties"),
    ("", "CQL2"),
    ('{"a": 1}', "CQL2"),
    ('{"op": "not", "args": [' * 500 + "true" + "]}" * 500, "CQL2"),
    ("(" * 5000 + "1", "characters"),  # these three would end the process, or keep it busy
    ("(" * 40 + "1", "brackets"),
    ("1=1" + "+1" * 4000, "characters"),
    ("target = 1", "types"),
    ("area_m2 / 0 > 1", "types"),
    ("track_id = 'x'", "types"),
]


def test_other_filters_are_refused_by_name(reader: TestClient) -> None:
    for condition, named in WRONG:
        for place in (f"{OBJECTS}/items", TILE):
            began = time.monotonic()
            assert named in refused(reader.get(place, params={"filter": condition}), 400), condition
            assert time.monotonic() - began < 5, condition


def test_no_filter_reaches_those_who_listen(client: TestClient, database: Database) -> None:
    url = database.url().replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as listening:
        listening.execute("LISTEN segwatch_alert")
        client.get(f"{OBJECTS}/items", params={"filter": "pg_notify('segwatch_alert', 'forged') IS NULL"})
        assert list(listening.notifies(timeout=0.5)) == []


PARAMETERS = [
    {"sortby": "-x"},
    {"sortby": "target;select"},
    {"sortby": ","},
    {"ids": "x"},
    {"bbox": "x"},
    {"bbox": "1,2,3"},
    {"bbox": "nan,1,2,3"},
    {"bbox": "500,1,600,2"},
    {"datetime": "x"},
    {"datetime": "../.."},
    {"datetime": "2030-01-01T00:00:00Z/2020-01-01T00:00:00Z"},
    {"datetime": "2020-01-01/2021-01-01/2022-01-01"},
    {"geom-column": "x"},
    {"datetime-column": "x", "datetime": "2020-01-01T00:00:00Z"},
    {"limit": "-1"},
    {"limit": "0"},
    {"limit": "x"},
    {"limit": "1.5"},
    {"bbox": "10,51,11,50"},
    {"bbox": "10,51,0,11,50,0"},
    {"datetime": ""},
    {"datetime": "2024-13-01T00:00:00Z"},
    {"datetime": "2024-01-01T00:00:00"},
    {"wacth": "lakes"},
    {"crs": "http://www.opengis.net/def/crs/EPSG/0/3857"},
    {"bbox-crs": "http://www.opengis.net/def/crs/EPSG/0/4326", "bbox": "50,10,51,11"},
    {"simplify": "nan"},
    {"area_m2": "x"},
    {"track_id": "x"},
    {"geom": "x"},
    {"watch": "\0"},
]


def test_wrong_parameters_are_refused_in_words_of_our_own(reader: TestClient) -> None:
    for asked in PARAMETERS:
        for place in (f"{OBJECTS}/items", TILE):
            refused(reader.get(place, params=asked))


def test_what_is_not_there_is_refused(reader: TestClient) -> None:
    refused(reader.get(f"{OBJECTS}/items/x"))
    refused(reader.get(f"{OBJECTS}/items/%00"))
    for tile in (
        "WebMercatorQuad/5000/0/0",
        "WebMercatorQuad/-5/0/0",
        "WebMercatorQuad/5/99/0",
        "NoGrid/0/0/0",
    ):
        refused(reader.get(f"{OBJECTS}/tiles/{tile}"))


def test_texts_are_texts_in_pages(client: TestClient, ledger: Ledger) -> None:
    with ledger.engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.track SET target = '<img src=x>'"))
    page = client.get(f"{OBJECTS}/items", headers={"accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert "&lt;img src=x&gt;" in page.text
    assert "<img src=x>" not in page.text
    for path in ("/ogc/", "/ogc/collections", OBJECTS, f"{OBJECTS}/queryables", f"{OBJECTS}/tiles"):
        assert 'href="http://testserver/ogc' in client.get(path, params={"f": "html"}).text


def test_right_parameters_still_work(reader: TestClient) -> None:
    assert found(reader, sortby="-area_m2,\n target", bbox="10,50,10.1,50.1") == 1
    assert found(reader, bbox="10,50,0,10.1,50.1,0", datetime="2020-01-01T00:00:00Z/..") == 1
    assert found(reader, watch="lakes", properties="target", simplify="0.001") == 1
    (feature,) = reader.get(f"{OBJECTS}/items").json()["features"]
    assert feature["id"] == feature["properties"]["track_id"]
    assert found(reader, ids=feature["id"]) == 1
    assert reader.get(f"{OBJECTS}/items/{feature['id']}").json()["geometry"] == feature["geometry"]


def links(node: Any) -> Iterator[str]:
    """Of a document, those without a template."""
    if isinstance(node, dict):
        href = node.get("href")
        if isinstance(href, str) and not node.get("templated") and "{" not in href:
            yield href
        for value in node.values():
            yield from links(value)
    elif isinstance(node, list):
        for value in node:
            yield from links(value)


def followed(client: TestClient, *, most: int = 400, but: str = "nothing") -> set[str]:
    """Paths of all that can be reached from the landing page; each is there, and below it."""
    waiting, seen = ["http://testserver/ogc/"], set[str]()
    while waiting:
        url = waiting.pop()
        if url in seen or but in url:
            continue
        seen.add(url)
        assert len(seen) < most
        assert url.startswith(("http://testserver/ogc/", "http://testserver/asyncapi.json")), url
        answer = client.get(url)
        assert answer.status_code == 200, (url, answer.text)
        if answer.headers["content-type"].partition(";")[0].endswith(("/json", "+json")):
            waiting += links(answer.json())
    return {urlsplit(one).path for one in seen}


def test_every_link_leads_somewhere(reader: TestClient) -> None:
    paths = followed(reader)
    (feature,) = reader.get(f"{OBJECTS}/items").json()["features"]
    assert {
        "/ogc/api",
        OBJECTS,
        f"{OBJECTS}/items",
        f"{OBJECTS}/items/{feature['id']}",
        f"{OBJECTS}/queryables",
        f"{OBJECTS}/tiles/WebMercatorQuad",
        "/ogc/tileMatrixSets/WebMercatorQuad",
    } <= paths


def test_every_link_of_an_empty_ledger_leads_somewhere(database: Database) -> None:
    with TestClient(create_app(database.url("segwatch_analyst"))) as empty:
        assert "/ogc/collections/watch.reviews/tiles/WebMercatorQuad" in followed(empty)
        for name in ("objects_now", "object_history", "changes"):
            answer = empty.get(f"/ogc/collections/watch.{name}/items", params={"f": "csv"})
            assert answer.status_code == 200
            head, *rows = answer.text.splitlines()
            assert head.startswith("collectionId,itemId,")
            assert "track_id" in head
            assert rows == []


def test_the_description_is_that_of_the_ogc_api(reader: TestClient) -> None:
    listed = reader.get("/ogc/").json()["links"]
    for rel in ("service-desc", "service-doc"):
        href = next(one["href"] for one in listed if one["rel"] == rel)
        assert "/collections/{collectionId}/items" in reader.get(href).json()["paths"]


def test_tilejson_leads_to_tiles(reader: TestClient) -> None:
    told = reader.get(f"{OBJECTS}/tiles/WebMercatorQuad/tilejson.json").json()
    (template,) = told["tiles"]
    tile = tms.get("WebMercatorQuad").tile(LAKE.centroid.x, LAKE.centroid.y, 12)
    address = template.format(z=tile.z, x=tile.x, y=tile.y)
    answer = reader.get(address)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.mapbox-vector-tile"
    assert b"water" in answer.content


def test_what_takes_too_long_is_ended(
    database: Database, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "_SECONDS", 1)
    with (
        TestClient(create_app(database.url("segwatch_analyst"))) as client,
        psycopg.connect(database.url("segwatch_owner").replace("+psycopg", "")) as holding,
    ):
        holding.execute("LOCK TABLE segwatch.track IN ACCESS EXCLUSIVE MODE")
        assert "took more than 1 s" in refused(client.get(f"{OBJECTS}/items"), 503)
        holding.rollback()
        assert found(client) == 1


def test_connections_only_read_also_when_they_are_used_again(database: Database) -> None:
    async def settings() -> list[str]:
        app = application.make_app()
        await application.connect(app, database.url().replace("+psycopg", ""))
        seen = []
        for _ in range(2):
            async with app.state.pool.acquire() as conn:
                seen += [await conn.fetchval(f"SHOW {name}") for name in
                         ("transaction_read_only", "statement_timeout")]  # fmt: skip
                await conn.execute("SET statement_timeout = 0")
        await application.disconnect(app)
        return seen

    assert asyncio.run(settings()) == ["on", "15s"] * 2


def test_the_failure_of_the_database_is_told_without_its_words(
    database: Database, ledger: Ledger, client: TestClient
) -> None:
    with psycopg.connect(database.url("segwatch_owner").replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute("REVOKE SELECT ON watch.objects_now FROM segwatch_analyst")
    assert "objects_now" not in refused(client.get(f"{OBJECTS}/items"), 503)


#: The lake is there from the second day on; the scenes were recorded today.
TIMES = {
    "objects_now": {"2024-01-01": 0, "2024-01-02": 1, "2024-06-01": 1, "../2024-01-02T09:59:59Z": 0},
    "object_history": {"2024-01-01": 0, "2024-01-02": 1, "2024-06-01": 1, "2024-01-02T10:00:00Z": 1},
    "changes": {
        "2024-01-01": 0,
        "2024-01-02": 1,
        "2024-06-01": 0,
        "2024-01-02T10:00:00Z": 1,
        "2026-01-01/..": 0,
    },
    "alerts": {"2024-01-01/2024-01-02": 1, "2024-01-03T00:00:00Z/..": 0, "/2024-01-02T10:00:00Z": 1},
    "coverage": {"2024-01-01T10:00:00Z/2024-01-02T10:00:00Z": 2, "2024-01-02t11:00:00+01:00": 1},
    "imagery": {"2024-01-01": 1, "2024-01-01/2024-01-31": 2},
    "reviews": {"2024-01-02": 1, "2024-01-03/..": 0},
}


def test_datetime_is_the_time_of_what_was_seen(client: TestClient, ledger: Ledger) -> None:
    (lake,) = ledger.rows("SELECT track_id FROM watch.objects_now")
    with ledger.engine.begin() as conn:
        reviews.decide(conn, lake["track_id"], reviews.Verdict.CONFIRMED, reviewer="ada", reason="seen")
    for name, times in TIMES.items():
        # of the history, what was recorded before the verdict is no longer what is known
        more = {"filter": "recorded_to IS NULL"} if name == "object_history" else {}
        for asked, matched in times.items():
            answer = client.get(f"/ogc/collections/watch.{name}/items", params={"datetime": asked, **more})
            assert answer.status_code == 200, answer.text
            assert answer.json()["numberMatched"] == matched, (name, asked)
        described = client.get(f"/ogc/collections/watch.{name}").json()
        assert "The parameter datetime filters " in described["description"]
        if name != "reviews":  # there was none when the server started
            (begin, _) = described["extent"]["temporal"]["interval"][0]
            assert begin.startswith("2024-01-0"), name


def test_a_state_ends_before_the_next_begins(client: TestClient, ledger: Ledger) -> None:
    ledger.arrive({2: SceneContent((cells(1, 1, 5, 3),))}, [2])
    for asked, states in {
        "2024-01-03T09:59:59Z": 1,
        "2024-01-03T10:00:00Z": 1,
        "2024-01-02/2024-01-03": 2,
    }.items():
        answer = client.get(
            "/ogc/collections/watch.object_history/items",
            params={"datetime": asked, "filter": "recorded_to IS NULL"},
        )
        assert answer.json()["numberMatched"] == states, asked


def test_another_column_of_times_may_be_asked_for(reader: TestClient) -> None:
    wanted = {"datetime": "2024-01-02", "datetime-column": "recorded_at"}
    answer = reader.get("/ogc/collections/watch.changes/items", params=wanted)
    assert answer.json()["numberMatched"] == 0


def test_a_limit_above_the_most_is_lowered(reader: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MAX_FEATURES", 1)
    items = "/ogc/collections/watch.coverage/items"
    for limit in ("1", "2", "100000", "9" * 400, "007"):
        answer = reader.get(items, params={"limit": limit})
        assert answer.status_code == 200, limit
        page = answer.json()
        assert (page["numberMatched"], page["numberReturned"]) == (2, 1)
        (following,) = (one["href"] for one in page["links"] if one["rel"] == "next")
    second = reader.get(following).json()
    assert second["numberReturned"] == 1
    assert second["features"][0]["id"] != page["features"][0]["id"]
    assert reader.get("/ogc/collections", params={"limit": "99999"}).status_code == 200
    assert reader.get(f"{TILE}", params={"limit": "99999"}).status_code == 200
    refusal = reader.get(items, params={"limit": "0"}).json()
    assert refusal["code"] == "InvalidParameterValue"
    assert "from 1 to" in refusal["description"]


def test_formats_without_a_place_for_it_say_in_headers_what_they_leave_out(reader: TestClient) -> None:
    answer = reader.get("/ogc/collections/watch.coverage/items", params={"limit": "1", "f": "csv"})
    assert len(answer.text.splitlines()) == 2
    assert (answer.headers["OGC-NumberMatched"], answer.headers["OGC-NumberReturned"]) == ("2", "1")
    following = answer.links["next"]["url"]
    rest = reader.get(following)
    assert len(rest.text.splitlines()) == 2
    assert rest.text != answer.text
    assert "next" not in rest.links


def test_a_page_beyond_the_end_is_empty(reader: TestClient) -> None:
    page = reader.get(f"{OBJECTS}/items", params={"offset": "50"}).json()
    assert (page["numberMatched"], page["numberReturned"], page["features"]) == (1, 0, [])


def test_a_box_may_go_across_180_degrees(reader: TestClient) -> None:
    assert found(reader, bbox="170,40,20,60") == 1
    assert found(reader, bbox="170,40,-170,60") == 0
    assert found(reader, bbox="170,40,0,20,60,0") == 1


def test_several_ids_are_found(client: TestClient, ledger: Ledger) -> None:
    ledger.arrive({2: SceneContent((LAKE, cells(5, 5, 7, 7)))}, [2])
    ids = [str(row["track_id"]) for row in ledger.rows("SELECT track_id FROM watch.objects_now")]
    assert found(client, ids=",".join(ids)) == 2
    assert found(client, filter=f"track_id IN ('{ids[0]}', '{ids[1]}')") == 2
    assert found(client, filter=f"track_id IN ('{ids[0]}')") == 1


def test_the_reference_system_may_be_named(reader: TestClient) -> None:
    crs84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
    assert found(reader, bbox="10,50,10.1,50.1", **{"crs": crs84, "bbox-crs": crs84}) == 1


def test_pages_of_rows_without_a_key_neither_repeat_nor_skip(client: TestClient, ledger: Ledger) -> None:
    for number in range(2, 6):
        ledger.arrive({number: SceneContent((LAKE,))}, [number])
    url: str | None = "/ogc/collections/watch.object_history/items?limit=2"
    seen = []
    while url:
        page = client.get(url).json()
        seen += [tuple(one["properties"][name] for name in ("track_id", "valid_from", "recorded_from"))
                 for one in page["features"]]  # fmt: skip
        url = next((one["href"] for one in page["links"] if one["rel"] == "next"), None)
    assert len(seen) == len(set(seen)) == page["numberMatched"]


def test_every_feature_is_found_by_its_id(client: TestClient, ledger: Ledger) -> None:
    ledger.arrive({2: SceneContent((LAKE, cells(5, 5, 7, 7)))}, [2])
    with ledger.engine.begin() as conn:
        for reason in ("no date", "no geometry"):
            scenes.reject(conn, ledger.revision, "i/1", "visual", "https://a.example/1", reason)
    # views without geometries are no collections
    names = [name for name in VIEW_KEYS if client.get(f"/ogc/collections/watch.{name}").status_code == 200]
    assert {name for name, key in VIEW_KEYS.items() if key.former} | {"admin_areas"} <= set(names)
    for name in names:
        find_each_feature(client, name)
    # as features were named before views had keys
    former = "concat({}, '~', md5(concat_ws('/', {}))) AS id FROM watch.{} LIMIT 1"
    for name, key in VIEW_KEYS.items():
        if key.former is None or name == "shadow_differences":
            continue
        words = former.format(key.former.column, ", ".join(key.former.checked), name)
        (row,) = ledger.rows(f"SELECT CAST({key.column} AS text) AS key, {words}")
        answer = client.get(f"/ogc/collections/watch.{name}/items/{row['id']}")
        assert (answer.status_code, answer.json().get("id")) == (200, row["key"]), answer.text


def find_each_feature(client: TestClient, name: str) -> None:
    path = f"/ogc/collections/watch.{name}/items"
    features = client.get(path).json()["features"]
    for one in features:
        assert one["id"] == str(one["properties"][VIEW_KEYS[name].column])
        again = client.get(f"{path}/{quote(str(one['id']), safe='')}")
        assert again.status_code == 200, again.text
        assert again.json()["properties"] == one["properties"]
        (link,) = (link["href"] for link in one["links"] if link["rel"] == "item")
        assert client.get(link).json()["id"] == one["id"]
    ids = ",".join(str(one["id"]) for one in features[:2])
    assert not ids or client.get(path, params={"ids": ids}).json()["numberReturned"] == len(features[:2])
    for wrong in ("1", "x~y", f"x~{'0' * 32}"):
        assert client.get(f"{path}/{wrong}").status_code == 404


def test_a_tile_of_the_world_keeps_small_and_prefers_large(
    client: TestClient, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = cells(5, 5, 5.1, 5.1)
    ledger.arrive({2: SceneContent((LAKE, small))}, [2])
    for zoom in ("0/0/0", "3/4/2", "10/540/347"):
        answer = client.get(f"{OBJECTS}/tiles/WebMercatorQuad/{zoom}")
        assert len(decoded(answer.content)["default"]) == 2, zoom
        assert answer.headers["OGC-NumberReturned"] == answer.headers["OGC-NumberMatched"] == "2"
    monkeypatch.setattr(collections, "MAX_FEATURES", 1)
    answer = client.get(f"{OBJECTS}/tiles/WebMercatorQuad/0/0/0")
    (largest,) = decoded(answer.content)["default"]
    assert largest.properties["area_m2"] == max(
        row["area_m2"] for row in ledger.rows("SELECT area_m2 FROM watch.objects_now")
    )
    assert (answer.headers["OGC-NumberMatched"], answer.headers["OGC-NumberReturned"]) == ("2", "1")
