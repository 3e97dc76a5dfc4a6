"""The JSON API as clients use it: its own description, errors, caching, compression, other origins and tokens."""

from __future__ import annotations

import gzip
import itertools
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import brotli
import httpx
import pytest
import schemathesis
from ciso8601 import parse_rfc3339
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from pydantic import BaseModel
from schemathesis.core.result import Ok
from sqlalchemy import text

from segwatch.db import events as event_rows
from segwatch.db import messages, reviews, tokens
from segwatch.db.alerts import Mark
from segwatch.db.tokens import Scope
from segwatch.flows.alerting.send_times import compute_send_time
from segwatch.flows.config.settings import load_settings
from segwatch.flows.orchestration.trial_intake import make_trial_intake
from segwatch.flows.web import events, schemas
from segwatch.flows.web import reviews as web_reviews
from segwatch.flows.web.application import create_app
from segwatch.flows.web.guards.rate_limits import Rate
from segwatch.flows.web.guards.refusals import PROBLEM, Problem
from segwatch.flows.web.guards.site import Site
from segwatch.flows.web.options import ServerOptions
from segwatch.geo.types.event import Event, EventKind
from tests.conftest import Database
from tests.integration.conftest import LAKE
from tests.invariants.conftest import Ledger
from tests.support.live_web import live

ORIGIN = "https://app.example.org"
EXAMPLES = 8


@pytest.fixture
def told(ledger: Ledger) -> Ledger:
    """The lake's ledger with a review and two events."""
    (lake,) = ledger.rows("SELECT track_id FROM watch.objects_now")
    with ledger.engine.begin() as conn:
        reviews.decide(
            conn,
            lake["track_id"],
            reviews.Verdict.CONFIRMED,
            reviewer="ada",
            reason="seen",
            turn=compute_send_time,
        )
        for number in (1, 2):
            moment = datetime(2024, 1, number, tzinfo=UTC)
            event_rows.record(
                conn,
                Event(
                    "usgs", f"e{number}", EventKind.EARTHQUAKE, f"M {number}", moment, LAKE.centroid, moment
                ),
            )
    return ledger


def make_options(ledger: Ledger, **more: Any) -> ServerOptions:
    intakes: dict[str, Any] = {
        "reviews": web_reviews.ReviewIntake(ledger.engine),
        "events": events.EventIntake(ledger.engine),
        "trials": make_trial_intake(load_settings(), ledger.engine),
    }
    return ServerOptions(**intakes, **more)


@pytest.fixture
def client(database: Database, told: Ledger) -> Iterator[TestClient]:
    app = create_app(
        database.url("segwatch_analyst"), make_options(told, site=Site(origins=frozenset({ORIGIN})))
    )
    with TestClient(app) as made:
        yield made


def make_token(ledger: Ledger, *scopes: Scope, name: str = "ada", **more: Any) -> dict[str, str]:
    with ledger.engine.begin() as conn:
        made = tokens.create(
            conn, name, watch_names=more.get("watches"), scopes=scopes, expires_at=more.get("expires_at")
        )
    return {"Authorization": f"Bearer {made.secret}"}


def test_whatever_is_asked_the_answer_is_as_described(database: Database, told: Ledger) -> None:
    """Schemathesis makes requests from the OpenAPI document and checks every answer against it."""
    token = make_token(told, *Scope)
    app = create_app(database.url("segwatch_analyst"), make_options(told), Rate(1e6, 1e6))
    statuses: dict[str, set[int]] = {}
    with live(app) as address:
        while httpx.get(f"{address}/api/search?q=x", headers=token, timeout=60).status_code == 503:
            pass  # the table of places is being read
        described = schemathesis.openapi.from_url(f"{address}/openapi.json")
        for found in described.get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()
            if operation.path.startswith("/imagery/"):  # reads from hosts that are not there
                continue
            seen = statuses.setdefault(f"{operation.method.upper()} {operation.path}", set())

            check_answers(operation, token, seen)
    assert len(statuses) > 15
    for path in ("GET /api/watches", "GET /api/coverage", "GET /api/events", "GET /asyncapi.json"):
        assert 200 in statuses[path], statuses


def check_answers(operation: Any, token: dict[str, str], seen: set[int]) -> None:
    """Make requests of one operation and compare their answers with its description; ``seen`` gets the statuses."""

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy())
    def check(case: Any) -> None:
        if (case.query or {}).get("watch"):
            case.query["watch"] = (
                "lakes"  # any other name gets 404, as test_every_error_has_the_same_form shows
            )
        response = case.call(headers=token, timeout=120)
        case.validate_response(response, excluded_checks=[schemathesis.checks.positive_data_acceptance])
        seen.add(response.status_code)

    check()


MODELS: dict[str, tuple[Any, type[BaseModel]]] = {
    "/api/watches": (list, schemas.WatchSummary),
    "/api/scenes?watch=lakes": (list, schemas.SceneSummary),
    "/api/alerts?watch=lakes": (list, schemas.AlertRow),
    "/api/reviews?watch=lakes": (list, schemas.ReviewRow),
    "/api/coverage?watch=lakes": ("coverage", schemas.CoverageRow),
    "/api/events": ("events", schemas.EventRow),
}


def test_rows_are_as_described_and_pages_follow_each_other(client: TestClient, told: Ledger) -> None:
    for path, (place, model) in MODELS.items():
        rows = client.get(path).json()
        rows = rows if place is list else rows[place]
        assert rows, path
        for row in rows:
            model.model_validate(row)
        times = [row[name] for row in rows for name in ("acquired_at", "valid_at") if row.get(name)]
        assert all(map(parse_rfc3339, times)), path
    (lake,) = told.rows("SELECT track_id FROM watch.objects_now")
    then = client.get(f"/api/objects/{lake['track_id']}?at=2030-01-01").json()
    schemas.ObjectRow.model_validate(then)
    assert client.get(f"/api/objects/{lake['track_id']}").json() == then
    schemas.WatchAccuracy.model_validate(client.get("/api/accuracy?watch=lakes").json())
    for path, place, key in (
        ("/api/coverage?watch=lakes&limit=1", "coverage", "observation_id"),
        ("/api/events?limit=1", "events", "event_id"),
    ):
        first = client.get(path)
        second = client.get(first.links["next"]["url"])
        assert "next" not in second.links or client.get(second.links["next"]["url"]).json()[place] == []
        assert first.json()[place][0][key] != second.json()[place][0][key]
    assert client.get("/api/coverage?watch=lakes&state=failed").json() == {"coverage": [], "next": None}
    assert len(client.get("/api/events?kind=earthquake").json()["events"]) == 2
    assert client.get("/api/events?kind=flood").json()["events"] == []
    (now, then) = (
        client.get("/api/tiles/0/0/0.mvt", params={"watch": "lakes"} | at)
        for at in ({}, {"at": "2030-01-01"})
    )
    assert (now.status_code, now.content) == (200, then.content), "a tile is of now unless it says of when"


def test_events_are_for_readers_of_all_watches(client: TestClient, told: Ledger) -> None:
    few = make_token(told, Scope.READ, name="few", watches=("lakes",))
    assert client.get("/api/events", headers=few).json()["events"] == []
    assert client.get("/ogc/collections/watch.events/items", headers=few).json()["features"] == []


REFUSED = [
    ("GET", "/nowhere", 404),
    ("DELETE", "/api/watches", 405),
    ("GET", "/api/scenes", 422),
    ("GET", "/api/scenes?watch=%00", 422),
    ("GET", "/api/coverage?watch=lakes&after=x", 422),
    ("GET", "/api/events?limit=0", 422),
    ("GET", "/api/objects/00000000-0000-0000-0000-000000000000?at=2024-01-01", 404),
    ("GET", "/api/alerts?watch=lakes&change_status=x", 422),
    ("POST", "/api/reviews", 401),
    ("POST", "/announcements", 403),
    ("GET", "/feeds/nowhere/atom.xml", 404),
    *(
        ("GET", f"/api/{one}?watch=nowhere", 404)
        for one in ("accuracy", "alerts", "coverage", "reviews", "scenes", "unused")
    ),
    ("GET", "/api/objects?watch=nowhere&at=2024-01-01T00:00:00Z", 404),
    ("GET", "/api/watches/nowhere/download", 404),
    ("GET", "/api/why-not?watch=nowhere&lon=10&lat=50", 404),
    ("GET", "/api/compare?watch=nowhere&from=2024-01-01&to=2024-02-01", 404),
    ("GET", "/ogc/nowhere", 404),
    ("GET", "/ogc/collections/nowhere", 404),
    ("GET", "/ogc/collections/watch.changes/items?limit=0", 400),
    ("GET", "/ogc/collections/watch.changes/items?filter=x", 400),
    ("GET", "/ogc/collections/watch.changes/items?after=x", 400),
    ("GET", "/ogc/collections/watch.changes/items/x", 404),
    ("GET", "/ogc/collections/watch.changes/tiles/WebMercatorQuad/99/0/0", 404),
]


def test_every_error_has_the_same_form(client: TestClient) -> None:
    for method, path, status in REFUSED:
        answer = client.request(method, path)
        assert answer.status_code == status, (path, answer.text)
        assert answer.headers["content-type"] == PROBLEM, path
        problem = Problem.model_validate(answer.json())
        assert problem.status == status, path
        assert problem.detail == problem.description != "", path


def test_what_a_client_has_already_is_not_sent_again(client: TestClient, told: Ledger) -> None:
    items = "/ogc/collections/watch.objects_now/items"
    paths = (
        "/api/watches",
        "/ogc/collections",
        "/ogc/collections/watch.changes/items?f=csv",
        *(f"{items}?f={form}" for form in ("geojson", "html", "json", "parquet", "fgb")),
        "/ogc/collections/watch.objects_now/tiles/WebMercatorQuad/10/540/347",
        "/openapi.json",
    )
    answers = {one: client.get(one) for one in paths}
    time.sleep(1.1)  # the second in which they were made is past
    for one, answer in answers.items():
        assert answer.headers["cache-control"] == "no-cache", one
        assert "Authorization" in answer.headers["vary"], one
        again = client.get(one, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b""), one
        assert again.headers["etag"] == answer.headers["etag"], one
    before = client.get("/api/reviews?watch=lakes").headers["etag"]
    (lake,) = told.rows("SELECT track_id FROM watch.objects_now")
    with told.engine.begin() as conn:
        reviews.decide(
            conn,
            lake["track_id"],
            reviews.Verdict.REJECTED,
            reviewer="ada",
            reason="no",
            turn=compute_send_time,
        )
    changed = client.get("/api/reviews?watch=lakes", headers={"If-None-Match": before})
    assert changed.status_code == 200
    token = make_token(told, Scope.READ)
    assert client.get("/api/watches", headers=token).headers["cache-control"] == "private, no-cache"


def test_texts_are_compressed_for_clients_that_can_read_it(client: TestClient) -> None:
    unpack = {"br": brotli.decompress, "gzip": gzip.decompress}
    ways = {
        "gzip, br": "br",
        "gzip;q=1.0, br;q=0.5": "gzip",
        "*": "br",
        "br;q=0, gzip": "gzip",
        "x, gzip": "gzip",
    }
    for one, (accepted, encoding) in itertools.product(
        ("/openapi.json", "/ogc/api", "/static/assess.js"), ways.items()
    ):
        plain = client.get(one, headers={"Accept-Encoding": "identity"})
        with client.stream("GET", one, headers={"Accept-Encoding": accepted}) as answer:
            packed = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == encoding, (one, accepted)
        assert "Accept-Encoding" in answer.headers["vary"], one
        assert len(packed) < len(plain.content) / 2
        assert unpack[encoding](packed) == plain.content
        assert "content-encoding" not in plain.headers
        assert plain.headers["etag"].removeprefix("W/") == answer.headers["etag"].removeprefix("W/")
    # a page that shows what was entered, and small answers
    for one in ("/login", "/healthz", "/api/events?kind=flood"):
        assert "content-encoding" not in client.get(one, headers={"Accept-Encoding": "gzip, br"}).headers
    for refused in ("gzip;q=0, br;q=0.0", "zstd", "gzip;q=x"):
        assert (
            "content-encoding"
            not in client.get("/openapi.json", headers={"Accept-Encoding": refused}).headers
        )


def test_pages_of_configured_origins_may_use_the_api_and_others_may_not(
    client: TestClient, database: Database, told: Ledger
) -> None:
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allowed = client.options("/api/reviews", headers={"Origin": ORIGIN, **ask})
    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "Authorization" in allowed.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in allowed.headers
    read = client.get("/api/watches", headers={"Origin": ORIGIN})
    assert read.headers["access-control-allow-origin"] == ORIGIN
    for other in ("https://evil.example", "null", f"{ORIGIN}.evil.example"):
        refused = client.options("/api/reviews", headers={"Origin": other, **ask})
        assert refused.status_code == 405, other
        assert "access-control-allow-origin" not in refused.headers
        answer = client.get("/api/watches", headers={"Origin": other})
        assert "access-control-allow-origin" not in answer.headers
        assert "Origin" in answer.headers["vary"]
    with TestClient(create_app(database.url("segwatch_analyst"), make_options(told))) as off:
        assert (
            "access-control-allow-origin" not in off.get("/api/watches", headers={"Origin": ORIGIN}).headers
        )


def test_a_token_may_do_what_its_scopes_say(client: TestClient, told: Ledger) -> None:
    (alert,) = told.rows("SELECT alert_id, track_id FROM watch.alerts")
    mark = {"mark": "acknowledged", "person": "bo"}
    verdict = {"track_id": str(alert["track_id"]), "verdict": "confirmed", "reviewer": "bo", "reason": "x"}
    marks = f"/api/alerts/{alert['alert_id']}/marks"
    statuses = {}
    for scope in Scope:
        token = make_token(told, scope, name=f"one-{scope}")
        asked = (client.post(marks, json=mark, headers=token), client.post("/api/reviews", json=verdict, headers=token),
                 client.get("/api/alerts?watch=lakes", headers=token))  # fmt: skip
        statuses[str(scope)] = [one.status_code // 100 for one in asked]
        assert asked[2].status_code != 200 or (asked[2].json()[0]["status_by"] is not None) == (
            scope == Scope.REVIEW
        )
    assert statuses == {
        "read": [4, 4, 2], "acknowledge": [2, 4, 2], "review": [2, 2, 2], "events": [4, 4, 4], "announce": [4, 4, 4],
        "operate": [4, 4, 2], "metrics": [4, 4, 4],
    }  # fmt: skip


def test_a_token_says_when_it_was_last_used_and_ends(client: TestClient, told: Ledger) -> None:
    token = make_token(told, Scope.READ, expires_at=datetime.now(UTC) + timedelta(hours=1))
    listed = "SELECT name, last_used_at FROM segwatch.access_token"
    assert told.rows(listed) == [{"name": "ada", "last_used_at": None}]
    assert (
        client.get("/api/watches", headers={"Authorization": token["Authorization"][:-1] + "x"}).status_code
        == 200
    )
    assert told.rows(listed)[0]["last_used_at"] is None
    assert client.get("/api/watches", headers=token).status_code == 200
    (used,) = told.rows(listed)
    assert datetime.now(UTC) - used["last_used_at"] < timedelta(minutes=1)
    client.get("/api/watches", headers=token)
    assert told.rows(listed) == [used], "at most once a minute"
    with told.engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.access_token SET expires_at = clock_timestamp()"))
    assert client.post("/api/reviews", headers=token).status_code == 401


def test_a_token_has_a_rate_limit_of_its_own(database: Database, told: Ledger) -> None:
    first, second = make_token(told, Scope.READ), make_token(told, Scope.READ, name="bo")
    app = create_app(database.url("segwatch_analyst"), make_options(told), Rate(per_second=0.001, burst=3))
    with TestClient(app) as client:
        statuses = []
        for number in range(6):
            here = TestClient(app, client=(f"192.0.2.{number}", 1))
            statuses.append(here.get("/api/events", headers=first))
        assert [one.status_code for one in (*statuses[:3], statuses[-1])] == [200, 200, 200, 429]
        assert int(statuses[-1].headers["retry-after"]) > 0
        assert "ada" in statuses[-1].json()["detail"]
        assert client.get("/api/events", headers=second).status_code == 200


def test_messages_are_described_as_they_are_sent(client: TestClient, told: Ledger) -> None:
    described = client.get("/asyncapi.json").json()
    assert described["asyncapi"] == "3.0.0"
    for one in _references(described):
        node: Any = described
        for part in one.removeprefix("#/").split("/"):
            node = node[part]
    names = {one["name"] for one in described["components"]["messages"].values() if "name" in one}
    assert names == set(messages.TYPES)
    (sent,) = told.rows("SELECT payload FROM segwatch.delivery LIMIT 1")
    payload = described["components"]["messages"]["segwatch_alert"]["payload"]
    assert set(payload["required"]) <= set(sent["payload"])
    assert sent["payload"]["type"] in names
    assert UUID(sent["payload"]["id"])
    (link,) = (one for one in client.get("/ogc/").json()["links"] if one["href"].endswith("/asyncapi.json"))
    assert httpx.URL(link["href"]).path == "/asyncapi.json"


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for one in node.values():
            yield from _references(one)
    elif isinstance(node, list):
        for one in node:
            yield from _references(one)


def test_every_reference_of_the_openapi_document_leads_somewhere(client: TestClient) -> None:
    document = client.get("/openapi.json").json()

    def find(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            yield from [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        values = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        for value in values:
            yield from find(value)

    found = set(find(document))
    assert found
    for reference in found:
        place: Any = document
        for name in reference.removeprefix("#/").split("/"):
            assert name in place, reference
            place = place[name]
    body = document["paths"]["/api/alerts/marks"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    assert body["properties"]["mark"]["enum"] == [mark.value for mark in Mark]


def test_the_openapi_document_describes_every_parameter_and_error(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            if path in {"/healthz", "/readyz"}:
                continue
            assert one["description"], path
            refused = [status for status in one["responses"] if status.startswith(("4", "5"))]
            assert {"401", "429", "503"} <= set(refused), (path, method)
            for status in refused:
                (kind,) = one["responses"][status]["content"]
                assert kind == PROBLEM, (path, status)
            if method == "post":
                assert one["requestBody"]["content"], path
    json.dumps(document)
