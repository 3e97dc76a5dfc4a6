"""Assessments through the web application: samples are labelled blind, and everyone sees the accuracy."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rasterio
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import Engine

from segwatch.db import tokens
from segwatch.flows.web import reviews
from segwatch.flows.web.application import create_app
from segwatch.flows.web.options import ServerOptions
from tests.conftest import Database
from tests.invariants.conftest import Ledger
from tests.support.assessing import arrive, draw, label_all
from tests.support.shown_scenes import show_from, silent_host

TOKEN = "a token of some length"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def drawn(ledgers: Any) -> Ledger:
    """A ledger with an assessment without labels."""
    made: Ledger = ledgers()
    arrive(made)
    draw(made)
    return made


@pytest.fixture
def client(database: Database, engine: Engine) -> Iterator[TestClient]:
    app = create_app(
        database.url("segwatch_analyst"),
        ServerOptions(
            reviews=reviews.ReviewIntake(engine, SecretStr(TOKEN)),
            imagery_hosts=("127.0.0.1:*", "localhost:*"),
        ),
    )
    with TestClient(app) as made:
        yield made


def list_samples(client: TestClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(
        "/api/samples", params={"watch": "lakes"}, headers=BEARER
    ).json()["samples"]
    return found


def test_the_answer_of_the_map_is_hidden_until_a_sample_is_labelled(
    client: TestClient, drawn: Ledger
) -> None:
    first = list_samples(client)[0]
    assert first["label"] is first["stratum"] is first["agrees"] is None
    assert not {"track_id", "change_id", "agreeing", "confidence", "probability"} & set(first)
    path = f"/api/samples/{first['sample_id']}/labels"
    body = {"label": "neither", "labeller": "ada"}
    made = client.post(path, json=body, headers=BEARER)
    assert made.status_code == 201
    assert client.post(path, json=body, headers=BEARER).status_code == 200
    (held,) = drawn.rows("SELECT p.stratum FROM segwatch.assessment_sample p WHERE p.ordinal = 1")
    assert made.json()["stratum"] == held["stratum"]
    again = list_samples(client)[0]
    assert (again["label"], again["stratum"], again["agrees"]) == (
        "neither",
        held["stratum"],
        held["stratum"] == "background",
    )


def test_an_invalid_label_is_refused(client: TestClient, drawn: Ledger) -> None:
    sample = list_samples(client)[0]["sample_id"]
    for body in (
        {"label": "perhaps", "labeller": "ada"},
        {"label": "both", "labeller": " "},
        {"label": "both", "labeller": "ada", "more": 1},
        {"label": "both"},
    ):
        answer = client.post(f"/api/samples/{sample}/labels", json=body, headers=BEARER)
        assert answer.status_code == 422, body
    assert drawn.rows("SELECT * FROM segwatch.assessment_label") == []


def test_samples_need_the_right_to_review(client: TestClient, drawn: Ledger, database: Database) -> None:
    sample = list_samples(client)[0]["sample_id"]
    body = {"label": "both", "labeller": "ada"}
    assert client.get("/api/samples", params={"watch": "lakes"}).status_code == 401
    assert client.post(f"/api/samples/{sample}/labels", json=body).status_code == 401
    drawn.also_watch("forests", "https://stac.example")
    with drawn.engine.begin() as conn:
        read = tokens.create(
            conn, "reader", scopes=[tokens.Scope.READ], watch_names=None, expires_at=None
        ).secret
        both = [tokens.Scope.READ, tokens.Scope.REVIEW]
        other = tokens.create(conn, "other", scopes=both, watch_names=["forests"], expires_at=None).secret
    for secret, status in ((read, 403), (other, 404)):
        headers = {"Authorization": f"Bearer {secret}"}
        assert client.get("/api/samples", params={"watch": "lakes"}, headers=headers).status_code == status
        assert client.post(f"/api/samples/{sample}/labels", json=body, headers=headers).status_code == status
    with TestClient(create_app(database.url("segwatch_analyst"))) as plain:
        assert plain.get("/api/samples", params={"watch": "lakes"}, headers=BEARER).status_code == 403
    assert drawn.rows("SELECT * FROM segwatch.assessment_label") == []


def test_every_reader_sees_the_accuracy(client: TestClient, drawn: Ledger) -> None:
    def read() -> tuple[dict[str, Any], list[str]]:
        (watch,) = client.get("/api/watches").json()
        return client.get("/api/accuracy", params={"watch": "lakes"}).json(), watch["accuracy"]

    found, words = read()
    assert words == found["words"] == ["water: not assessed"]
    label_all(drawn)
    found, words = read()
    (water,) = found["targets"]
    assert water["users"]["value"] == 1.0
    assert water["users"]["low"] < 0.95
    assert words == found["words"]
    (line,) = words
    assert line.startswith("water: assessed on 2")
    assert f"with {water['labels']} labels: user's accuracy 1.00 (0." in line
    assert client.get("/api/accuracy", params={"watch": "nowhere"}).status_code == 404


def test_a_chip_shows_the_ground_around_a_point(
    client: TestClient, drawn: Ledger, database: Database
) -> None:
    sample = list_samples(client)[0]
    query = {"watch": "lakes", "lon": sample["lon"], "lat": sample["lat"], "width_m": 640}
    path = f"/imagery/chips/{sample['after_scene']}.png"
    with silent_host() as (url, answers):
        answers.set()
        show_from(database, url)
        made = client.get(path, params=query)
        assert made.headers["content-type"] == "image/png"
        again = client.get(path, params=query, headers={"If-None-Match": made.headers["etag"]})
    assert again.status_code == 304
    with rasterio.open(io.BytesIO(made.content)) as file:
        picture = file.read()
    assert picture.shape[1:] == (320, 320)
    assert len(np.unique(picture)) > 20
    assert client.get(path, params={**query, "width_m": 1e6}).status_code == 422
    assert client.get(path, params={**query, "watch": "nowhere"}).status_code == 404


def test_the_page_is_served(client: TestClient) -> None:
    page = client.get("/assess")
    assert page.status_code == 200
    assert "assess.js" in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
