"""Reviews through the web application and the command line, on a real database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from shapely.geometry import mapping
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from segwatch.flows.cli import app
from segwatch.flows.config.geojson import parse_geometry
from segwatch.flows.web import reviews
from segwatch.flows.web.application import create_app
from segwatch.flows.web.options import ServerOptions
from segwatch.geo.antimeridian import compute_bounds
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells

TOKEN = "a token of some length"
LAKE = cells(1, 1, 4, 4)


@pytest.fixture
def lake(ledgers: Any) -> tuple[Ledger, str]:
    """A ledger with one object, and its track."""
    ledger: Ledger = ledgers()
    ledger.arrive([SceneContent((LAKE,))], [0])
    (row,) = ledger.rows("SELECT track_id FROM watch.objects_now")
    return ledger, str(row["track_id"])


@pytest.fixture
def client(database: Database, engine: Engine) -> Iterator[TestClient]:
    app = create_app(
        database.url("segwatch_analyst"),
        ServerOptions(reviews=reviews.ReviewIntake(engine, SecretStr(TOKEN))),
    )
    with TestClient(app) as made:
        yield made


def body(track: str, **more: Any) -> dict[str, Any]:
    return {"track_id": track, "verdict": "rejected", "reviewer": "ada", "reason": "a shadow", **more}


BEARER = {"Authorization": f"Bearer {TOKEN}"}


def test_a_verdict_is_added_once_and_read_by_anyone(client: TestClient, lake: tuple[Ledger, str]) -> None:
    ledger, track = lake
    assert client.post("/api/reviews", json=body(track), headers=BEARER).status_code == 201
    assert client.post("/api/reviews", json=body(track), headers=BEARER).status_code == 200
    assert ledger.rows("SELECT * FROM watch.objects_now") == []
    (row,) = client.get("/api/reviews", params={"watch": "lakes"}).json()
    # who gave it is for those who may review
    assert (row["track_id"], row["verdict"], row["reviewer"], row["holds"]) == (track, "rejected", None, True)
    (row,) = client.get("/api/reviews", params={"watch": "lakes"}, headers=BEARER).json()
    assert row["reviewer"] == "ada"


def test_an_outline_beyond_180_degrees_is_stored_split(client: TestClient, lake: tuple[Ledger, str]) -> None:
    outline = parse_geometry(
        {"type": "Polygon", "coordinates": [[[179, 0], [181, 0], [181, 1], [179, 0]]]}, "x"
    )
    assert outline.geom_type == "MultiPolygon"
    assert compute_bounds(outline) == (179, 0, -179, 1)
    crossed = {"type": "Polygon", "coordinates": [[[179, 0], [-179, 1], [-179, 0], [179, 1], [179, 0]]]}
    _, track = lake
    answer = client.post("/api/reviews", json=body(track, verdict="edited", outline=crossed), headers=BEARER)
    assert answer.status_code == 422
    assert "crosses itself" in answer.json()["detail"]


def test_an_outline_is_taken_as_geojson(client: TestClient, lake: tuple[Ledger, str]) -> None:
    ledger, track = lake
    outline = {"type": "Feature", "properties": {}, "geometry": mapping(cells(1, 1, 3.5, 4))}
    answer = client.post("/api/reviews", json=body(track, verdict="edited", outline=outline), headers=BEARER)
    assert answer.status_code == 201, answer.text
    (now,) = ledger.rows("SELECT review, ST_XMax(geom) AS east FROM watch.objects_now")
    assert (now["review"], now["east"]) == ("edited", pytest.approx(10.007))


def test_without_the_token_nothing_is_added(client: TestClient, lake: tuple[Ledger, str]) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        answer = client.post("/api/reviews", json=body(lake[1]), headers=headers)
        assert answer.status_code == 401, headers
        assert TOKEN not in answer.text
    assert lake[0].rows("SELECT * FROM segwatch.review") == []


def test_without_access_reviews_are_off(database: Database, lake: tuple[Ledger, str]) -> None:
    with TestClient(create_app(database.url("segwatch_analyst"))) as plain:
        assert plain.post("/api/reviews", json=body(lake[1]), headers=BEARER).status_code == 403


NONSENSE: list[tuple[dict[str, Any], int, str]] = [
    ({"track_id": "6f1d3f0e-5a0b-5b5e-9a53-6a1f5c7f2a10"}, 404, "6f1d3f0e"),
    ({"track_id": "x"}, 422, "track_id"),
    ({"verdict": "perhaps"}, 422, "verdict"),
    ({"reason": ""}, 422, "reason"),
    ({"more": 1}, 422, "more"),
    ({"verdict": "edited", "outline": {"type": "Point", "coordinates": [0, 0]}}, 422, "Polygon"),
    ({"verdict": "edited", "outline": {"type": "Nonsense"}}, 422, "outline"),
    ({"verdict": "edited", "outline": {"type": "Polygon", "coordinates": "x"}}, 422, "outline"),
    ({"reason": "x" * 5_000_000}, 413, "MiB"),
]


def test_nonsense_is_refused_by_name(client: TestClient, lake: tuple[Ledger, str]) -> None:
    for change, status, words in NONSENSE:
        answer = client.post("/api/reviews", json=body(lake[1], **change), headers=BEARER)
        assert answer.status_code == status, answer.text[:300]
        assert words in answer.text, words
    assert lake[0].rows("SELECT * FROM segwatch.review") == []


def test_the_command_line_does_the_same(
    database: Database, lake: tuple[Ledger, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, track = lake

    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())

    def review(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["review", *arguments])

    assert "confirmed" in review("confirm", track, "--why", "walked there", "--by", "ada").stdout
    assert "as before" in review("confirm", track, "--why", "walked there", "--by", "ada").stdout
    outline = tmp_path / "outline.geojson"
    outline.write_text(json.dumps(mapping(cells(1, 1, 3.5, 4))), encoding="utf-8")
    done = review("edit", track, str(outline), "--why", "the jetty is none", "--by", "ada", "--json")
    assert json.loads(done.stdout)["verdict"] == "edited", done.stderr
    assert review("reject", track, "--why", "a shadow", "--by", "grace").exit_code == 0
    listed = json.loads(review("list", "lakes", "--json").stdout)
    assert [row["verdict"] for row in listed] == ["confirmed", "edited", "rejected"]
    assert ledger.rows("SELECT * FROM watch.objects_now") == []
    outline.write_text("[", encoding="utf-8")
    wrong = review("edit", track, str(outline), "--why", "x")
    assert isinstance(wrong.exception, SystemExit), "a message, no traceback"
    assert wrong.exit_code == 1
    assert "not GeoJSON" in wrong.stderr
