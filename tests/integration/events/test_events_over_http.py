"""``POST /events``: signed messages end in the ledger, others nowhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import Engine, text
from standardwebhooks import Webhook

from segwatch.db.events import list_events
from segwatch.flows.config.settings import load_settings
from segwatch.flows.errors import ConfigError
from segwatch.flows.web import events
from segwatch.flows.web.application import create_app
from segwatch.flows.web.options import ServerOptions
from tests.conftest import Database

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def client(database: Database, engine: Engine) -> Iterator[TestClient]:
    access = ServerOptions(events=events.EventIntake(engine, SecretStr(SECRET)))
    with TestClient(create_app(database.url("segwatch_analyst"), access)) as made:
        yield made


def flood(**more: Any) -> dict[str, Any]:
    said = {
        "kind": "flood",
        "title": "Dam break",
        "occurred_at": "2024-05-01T00:00:00Z",
        "updated_at": "2024-05-01T01:00:00Z",
        "level": "orange",
    }
    place = {"type": "Point", "coordinates": [15, 46]}
    return {"type": "Feature", "id": "dam-7", "geometry": place, "properties": said | more}


def signed(body: str, *, secret: str = SECRET, at: datetime | None = None) -> dict[str, str]:
    when = at or datetime.now(UTC)
    signature = Webhook(secret).sign("msg_1", when, body)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(when.timestamp())),
        "webhook-signature": signature,
    }


def rows(engine: Engine) -> int:
    with engine.connect() as conn:
        return int(conn.execute(text("SELECT count(*) FROM segwatch.event")).scalar_one())


def test_a_signed_event_is_kept_once_and_revised(client: TestClient, engine: Engine) -> None:
    first = json.dumps(flood())
    headers = signed(first)
    assert client.post("/events", content=first, headers=headers).status_code == 201
    repeated = client.post("/events", content=first, headers=headers)
    assert (repeated.status_code, repeated.json()["recorded"]) == (200, {"unchanged": 1})
    worse = json.dumps(flood(level="red", updated_at="2024-05-01T02:00:00Z"))
    assert client.post("/events", content=worse, headers=signed(worse)).json()["recorded"] == {"revised": 1}
    replayed = client.post("/events", content=first, headers=headers)
    assert replayed.json()["recorded"] == {"stale": 1}
    with engine.connect() as conn:
        (known,) = list_events(conn)
    assert (known["source"], known["external_id"], known["level"]) == ("geojson:webhook", "dam-7", "red")
    assert known["revisions"] == 2


CHANGES: dict[str, Callable[[], dict[str, str]]] = {
    "wrong": lambda: {"webhook-signature": "v1,AAAA"},
    "no form": lambda: {"webhook-signature": "nothing"},
    "no base64": lambda: {"webhook-signature": "v1,@@@"},
    "is not a time": lambda: {"webhook-timestamp": "soon"},
    "1970": lambda: {"webhook-timestamp": "1"},
    "other id": lambda: {"webhook-id": "another"},
    "other secret": lambda: signed(
        json.dumps(flood()), secret="whsec_" + base64.b64encode(bytes(32)).decode()
    ),
    "old": lambda: signed(json.dumps(flood()), at=datetime.now(UTC) - timedelta(minutes=6)),
    "ahead": lambda: signed(json.dumps(flood()), at=datetime.now(UTC) + timedelta(minutes=6)),
}


def test_what_is_not_signed_now_is_refused(client: TestClient, engine: Engine) -> None:
    body = json.dumps(flood())
    for name, change in CHANGES.items():
        answer = client.post("/events", content=body, headers=signed(body) | change())
        assert answer.status_code == 401, (name, answer.text)
    assert client.post("/events", content=body).status_code == 401
    assert client.post("/events", content=body + " ", headers=signed(body)).status_code == 401
    assert client.post("/events", content=b"\xff\xfe", headers=signed(body)).status_code == 401
    assert rows(engine) == 0


NONSENSE = [
    ("{}", "not a GeoJSON"),
    ("hello", "neither JSON nor XML"),
    (json.dumps(flood(kind="party")), "party"),
    (json.dumps(flood(level="purple")), "purple"),
    (json.dumps(flood(updated_at=None)), "is not a time"),
    (json.dumps(flood() | {"id": ""}), "id"),
    (json.dumps(flood() | {"geometry": {"type": "Point", "coordinates": [15, 460]}}), "degrees"),
    (json.dumps({"type": "FeatureCollection", "features": []}), "no event"),
]


def test_signed_nonsense_is_refused_with_its_reason(client: TestClient, engine: Engine) -> None:
    for body, word in NONSENSE:
        answer = client.post("/events", content=body, headers=signed(body))
        assert answer.status_code == 422, body
        assert word in answer.json()["detail"], body
    assert rows(engine) == 0


def test_a_huge_body_is_cut_off(client: TestClient) -> None:
    assert client.post("/events", content=b" " * (5 * 2**20)).status_code == 413


def test_without_a_secret_nobody_sends_events(database: Database) -> None:
    with TestClient(create_app(database.url("segwatch_analyst"))) as closed:
        answer = closed.post("/events", content="{}")
    assert answer.status_code == 403
    assert "SEGWATCH_EVENT_SECRET" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("event_secret", "hunter2"), ("event_secret", "whsec_c2hvcnQ="), ("review_token", "hunter2")],
)
def test_a_wrong_secret_is_named_and_never_shown(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"SEGWATCH_{name.upper()}") as refused:
        load_settings(**{name: value})
    assert value not in str(refused.value)
