"""A catalog announces new items: from its HTTP request to the search that the next run makes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from shapely.geometry import box
from sqlalchemy import Engine, text
from standardwebhooks import Webhook

from segwatch.db import discovery_requests, tokens, watches
from segwatch.db.tokens import Scope
from segwatch.flows.pipeline.discovery import discover_watch
from segwatch.flows.web.announcements import AnnouncementIntake
from segwatch.flows.web.application import create_app
from segwatch.flows.web.options import ServerOptions
from segwatch.geo.errors import CatalogUnreachable
from segwatch.geo.sources import profiles
from segwatch.geo.types.watch import Instruction, Watch
from tests.conftest import Database
from tests.support.stac_store import Store, stac_store

SECRET = "whsec_" + "c2VjcmV0IHNlY3JldCBzZWNyZXQh"
NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
STRUCTURED = {"Content-Type": "application/cloudevents+json"}


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def catalog(engine: Engine, store: Store) -> Iterator[str]:
    """Watches ``near`` and ``far`` on a catalog that is served, and ``other`` on one that is not."""
    with stac_store(store) as url:
        start = datetime(2020, 1, 1, tzinfo=UTC)
        profile = profiles.load("rgb-cog")
        for name, west, address in (
            ("near", 0.2, url),
            ("far", 30.2, url),
            ("other", 0.2, "https://o.example/stac"),
        ):
            area = box(west, 0.2, west + 0.6, 0.8)
            with engine.begin() as conn:
                watches.apply(
                    conn, Watch(name, Instruction("segment the water"), area, profile, address, start)
                )
        yield url


@pytest.fixture
def client(database: Database, engine: Engine, catalog: str) -> Iterator[TestClient]:
    options = ServerOptions(announcements=AnnouncementIntake(engine, SecretStr(SECRET)))
    with TestClient(create_app(database.url("segwatch_analyst"), options)) as made:
        yield made


def make_item(identity: str, catalog: str, **more: Any) -> dict[str, Any]:
    links = [{"rel": "self", "href": f"{catalog}/collections/visual/items/{identity}"}]
    return {
        "type": "Feature",
        "id": identity,
        "collection": "visual",
        "bbox": [0, 0, 1, 1],
        "links": links,
        **more,
    }


def make_event(identity: str, data: Any, **more: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": identity,
        "source": "/catalog",
        "type": "item.created",
        "data": data,
        **more,
    }


def send(client: TestClient, event: Any, *, secret: str = SECRET, **headers: str) -> Any:
    body, now = json.dumps(event), datetime.now(UTC)
    signed = {
        "webhook-id": "m", "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("m", now, body),
    }  # fmt: skip
    return client.post("/announcements", content=body, headers={**STRUCTURED, **signed, **headers})


def list_requests(engine: Engine) -> dict[str, int]:
    with engine.connect() as conn:
        rows = conn.execute(
            text("SELECT watch_name, announcements FROM segwatch.discovery_request ORDER BY 1")
        )
        return {row.watch_name: row.announcements for row in rows}


def take(engine: Engine, **more: Any) -> list[str]:
    with engine.begin() as conn:
        return discovery_requests.take(conn, interval=0, **more)


def search(engine: Engine, name: str, **more: Any) -> int:
    return discover_watch(engine, name, model_version="m@1", now=NOW, **more).queued


def test_an_announced_item_is_searched_for_by_the_next_run(
    client: TestClient, engine: Engine, store: Store, catalog: str
) -> None:
    assert take(engine) == []
    store.put("a", "2024-05-30T10:00:00Z")
    answer = send(client, make_event("1", make_item("a", catalog)))
    assert (answer.status_code, answer.json()) == (202, {"requested": ["near"], "repeated": 0})
    assert store.requests == 0, "the server searches nothing itself"
    assert list_requests(engine) == {"near": 1}
    # the same event again, and others before the search
    assert send(client, make_event("1", make_item("a", catalog))).status_code == 200
    for number in range(2, 7):
        assert send(client, make_event(str(number), make_item("a", catalog))).status_code == 202
    assert list_requests(engine) == {"near": 6}
    assert take(engine, busy=["near"]) == []
    assert take(engine) == ["near"]
    assert take(engine) == [], "another run has it"
    assert search(engine, "near") == 1
    assert list_requests(engine) == {}
    # what comes in during a search is searched for by the next one
    send(client, make_event("7", make_item("b", catalog)))
    assert take(engine) == ["near"]
    with engine.begin() as conn:
        early = datetime.now(UTC) - timedelta(minutes=1)
        discovery_requests.fulfil(conn, "near", early)
    assert take(engine) == ["near"]
    # a search of a part of the time does not fulfil it
    search(engine, "near", start=NOW - timedelta(days=300), end=NOW - timedelta(days=200))
    assert list_requests(engine) == {"near": 1}


def test_a_request_waits_between_searches_and_ends(
    client: TestClient, engine: Engine, store: Store, catalog: str
) -> None:
    search(engine, "near")
    send(client, make_event("1", make_item("a", catalog)))
    with engine.begin() as conn:
        assert discovery_requests.take(conn) == [], "it was searched less than a minute ago"
    store.fault = lambda _: (500, {}, b"")
    for _ in range(discovery_requests.MAX_ATTEMPTS):
        assert take(engine) == ["near"]
        with engine.begin() as conn:
            conn.execute(text("UPDATE segwatch.discovery_request SET taken_until = clock_timestamp()"))
    with engine.begin() as conn:
        assert discovery_requests.give_up(conn) == ["near"]
    assert list_requests(engine) == {}


def test_a_failed_search_leaves_the_request(
    client: TestClient, engine: Engine, store: Store, catalog: str
) -> None:
    send(client, make_event("1", make_item("a", catalog)))
    store.fault = lambda _: (404, {}, b"{}")
    with pytest.raises(CatalogUnreachable):
        search(engine, "near")
    assert list_requests(engine) == {"near": 1}


def test_every_mode_of_cloudevents_is_read(client: TestClient, engine: Engine, catalog: str) -> None:
    item = make_item("a", catalog)
    collection = {"type": "FeatureCollection", "features": [item, make_item("b", catalog, bbox=None)]}
    assert send(client, make_event("1", collection)).json()["requested"] == ["far", "near"]
    assert send(client, make_event("2", {"operation": "INSERT", "item": item})).json()["requested"] == [
        "near"
    ]
    batch = send(client, [make_event("3", item), make_event("4", item), make_event("2", item)],
                 **{"Content-Type": "application/cloudevents-batch+json"})  # fmt: skip
    assert batch.json() == {"requested": ["near"], "repeated": 1}
    binary = {"ce-specversion": "1.0", "ce-id": "5", "ce-source": "/catalog", "ce-type": "x"}
    assert send(client, item, **{"Content-Type": "application/json"}, **binary).json()["requested"] == [
        "near"
    ]
    # without links it may be of any catalog that has the collection
    assert send(client, make_event("6", make_item("a", "", links=[]))).json()["requested"] == [
        "near",
        "other",
    ]
    assert send(client, make_event("7", make_item("a", catalog, collection="x"))).json()["requested"] == []


WRONG = [
    "x",
    [],
    {},
    make_event("1", None),
    make_event("1", {"type": "Feature"}),
    make_event("1", make_item("a", "", bbox=[0, 0, "x", 1])),
    make_event("1", make_item("a", "", bbox=[0, 0, 1])),
    make_event("1", make_item("a", "", bbox=[0, 91, 1, 92])),
    make_event("1", make_item("a", "", bbox=[0, float("nan"), 1, 1])),
    make_event("1", make_item("x" * 501, "")),
    make_event("", make_item("a", "")),
    make_event("1", make_item("a", ""), specversion="0.3"),
    make_event("1", [make_item(str(number), "") for number in range(1001)]),
    [make_event(str(number), make_item("a", "")) for number in range(101)],
]


def test_what_is_no_announcement_is_refused_in_words(client: TestClient, engine: Engine) -> None:
    for wrong in WRONG:
        answer = send(client, wrong)
        assert answer.status_code == 422, (wrong, answer.text)
        assert len(answer.json()["detail"]) > 10
    assert list_requests(engine) == {}


def test_who_is_not_known_requests_nothing(client: TestClient, engine: Engine, catalog: str) -> None:
    event = make_event("1", make_item("a", catalog))
    assert send(client, event, secret="whsec_" + "b3RoZXIgb3RoZXIgb3RoZXIgb3Ro").status_code == 401
    assert client.post("/announcements", json=event, headers=STRUCTURED).status_code == 401
    old = {"webhook-timestamp": "1700000000"}
    assert send(client, event, **old).status_code == 401
    assert list_requests(engine) == {}

    def token(name: str, *scopes: Scope, names: list[str] | None = None) -> dict[str, str]:
        with engine.begin() as conn:
            made = tokens.create(conn, name, watch_names=names, scopes=scopes, expires_at=None)
        return {**STRUCTURED, "Authorization": f"Bearer {made.secret}"}

    refused = client.post("/announcements", json=event, headers=token("r", Scope.READ))
    assert (refused.status_code, "r may not do this; it needs the scope announce" in refused.text) == (
        403,
        True,
    )
    answer = client.post("/announcements", json=event, headers=token("far", Scope.ANNOUNCE, names=["far"]))
    assert answer.json() == {"requested": [], "repeated": 0}, "a watch that the token may not see"
    event = make_event("2", make_item("a", catalog))
    assert client.post("/announcements", json=event, headers=token("all", Scope.ANNOUNCE)).status_code == 202
    assert list_requests(engine) == {"near": 1}
    with engine.begin() as conn:
        watches.archive(conn, "near", datetime.now(UTC))
    event = make_event("3", make_item("a", catalog))
    assert send(client, event).json()["requested"] == [], "it has ended"
