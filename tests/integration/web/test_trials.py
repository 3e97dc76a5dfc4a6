"""Trying an instruction over HTTP: the real application, database, catalog and imagery; segmented by colour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from shapely.geometry import box, mapping, shape
from sqlalchemy import Engine, text

from segwatch.db import tokens, trials, watches
from segwatch.db.tokens import Scope
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.orchestration.trial_intake import make_trial_intake
from segwatch.flows.pipeline.trials import run_trials
from segwatch.flows.web import schemas
from segwatch.flows.web.application import create_app
from segwatch.flows.web.options import ServerOptions
from segwatch.geo.types.watch import Watch
from tests.conftest import Database
from tests.support.colour_segmenter import Well
from tests.support.tried_source import AREA, WELL, serving_source

SOURCE = "watch:lakes"
LARGE = mapping(box(14.0, 46.0, 16.0, 47.0))


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> FlowSettings:
    monkeypatch.setenv("SEGWATCH_SEGMENTER", WELL)
    return load_settings()


@pytest.fixture
def lakes(engine: Engine) -> Iterator[Watch]:
    """A stored watch, whose source readers may use."""
    with serving_source() as watch:
        with engine.begin() as conn:
            watches.apply(conn, watch)
        yield watch


@pytest.fixture
def client(database: Database, engine: Engine, lakes: Watch, settings: FlowSettings) -> Iterator[TestClient]:
    options = ServerOptions(trials=make_trial_intake(settings, engine))
    with TestClient(create_app(database.url("segwatch_analyst"), options)) as made:
        yield made


def make_token(engine: Engine, name: str = "ada", *scopes: Scope, **more: Any) -> dict[str, str]:
    with engine.begin() as conn:
        made = tokens.create(
            conn, name, watch_names=more.get("watches"), scopes=scopes or [Scope.OPERATE], expires_at=None
        )
    return {"Authorization": f"Bearer {made.secret}"}


def draft(**more: Any) -> dict[str, Any]:
    return {"source": SOURCE, "area": mapping(AREA), "instruction": "segment the water", **more}


def count_rows(engine: Engine, *tables: str) -> list[int]:
    with engine.connect() as conn:
        return [conn.execute(text(f"SELECT count(*) FROM segwatch.{one}")).scalar_one() for one in tables]


def test_a_trial_shows_what_the_latest_clear_scene_has(
    client: TestClient, engine: Engine, settings: FlowSettings
) -> None:
    ada = make_token(engine)
    asked = client.post("/api/trials", json=draft(), headers=ada)
    assert asked.status_code == 202, asked.text
    where = asked.headers["location"]
    queued = schemas.TrialRow.model_validate(asked.json())
    assert (queued.state, queued.stage, queued.targets) == ("queued", "waiting for a worker", ["water"])
    assert client.get(f"{where}/picture", headers=ada).status_code == 404
    before = count_rows(engine, "scene", "observation", "detection", "track", "change", "alert", "watch")
    assert run_trials(engine, settings, "worker").done == 1
    found = schemas.TrialRow.model_validate(client.get(where, headers=ada).json())
    assert (found.state, found.reason, found.stage) == ("done", None, None)
    assert found.scene is not None
    assert f"{found.scene.acquired_at:%Y-%m-%d}" == "2024-06-01", "the newest is under cloud"
    assert (found.model, found.demonstration) == (Well.version, False)
    assert found.polygons is not None
    (feature,) = found.polygons["features"]
    assert feature["properties"]["target"] == "water"
    assert shape(feature["geometry"]).intersection(AREA).area == pytest.approx(AREA.area, rel=0.02)
    assert found.observed is not None
    assert shape(found.observed).area == pytest.approx(AREA.area, rel=0.02)
    assert found.unseen is None, "this scene shows all of it"
    assert found.totals is not None
    assert [(one.target, one.polygons) for one in found.totals] == [("water", 1)]
    assert found.cost is not None
    assert found.cost.bytes_read > 0
    picture = client.get(f"/{found.picture}", headers=ada)
    assert (picture.headers["content-type"], picture.content[:2]) == ("image/jpeg", b"\xff\xd8")
    (listed,) = client.get("/api/trials", headers=ada).json()["trials"]
    assert (listed["state"], listed["polygons"], listed["totals"][0]["polygons"]) == ("done", None, 1)
    after = count_rows(engine, "scene", "observation", "detection", "track", "change", "alert", "watch")
    assert before == after, "a trial gets into no series"


def test_a_trial_says_which_ground_it_did_not_see(
    client: TestClient, engine: Engine, settings: FlowSettings
) -> None:
    ada = make_token(engine)
    west, south, east, north = AREA.bounds
    beyond = box(west, south, east + 0.2 * (east - west), north)
    where = client.post("/api/trials", json=draft(area=mapping(beyond)), headers=ada).headers["location"]
    assert run_trials(engine, settings, "worker").done == 1
    found = schemas.TrialRow.model_validate(client.get(where, headers=ada).json())
    assert found.observed is not None
    assert found.unseen is not None
    observed, unseen = shape(found.observed), shape(found.unseen)
    assert unseen.intersection(observed).area < 1e-6 * beyond.area
    assert unseen.union(observed).area == pytest.approx(beyond.area, rel=0.02)
    assert 0.1 < unseen.area / beyond.area < 0.25


def test_an_earlier_scene_can_be_tried_and_what_has_none_says_why(
    client: TestClient, engine: Engine, settings: FlowSettings
) -> None:
    ada = make_token(engine)
    bodies = (
        draft(until="2024-05-15T00:00:00Z"),
        draft(until="2023-01-01T00:00:00Z"),
        draft(area=mapping(box(10, 10, 10.01, 10.01))),
    )
    made = [client.post("/api/trials", json=one, headers=ada).headers["location"] for one in bodies]
    refused = client.post("/api/trials", json=draft(), headers=ada)
    assert refused.status_code == 429
    assert "3 trials of ada wait or run already" in refused.json()["detail"]
    done = run_trials(engine, settings, "worker")
    assert (done.done, done.failed) == (1, 2)
    early, before, elsewhere = (client.get(one, headers=ada).json() for one in made)
    assert early["scene"]["acquired_at"].startswith("2024-05-01")
    assert "no scene of this area up to 2023-01-01; choose another" in before["reason"]
    assert (elsewhere["state"], elsewhere["polygons"]) == ("failed", None)
    assert client.post("/api/trials", json=draft(), headers=ada).status_code == 202


def test_trials_are_ones_own_and_only_operators_have_them(client: TestClient, engine: Engine) -> None:
    ada, bo = make_token(engine), make_token(engine, "bo")
    reader = make_token(engine, "reader", Scope.READ)
    where = client.post("/api/trials", json=draft(), headers=ada).headers["location"]
    assert client.get(where, headers=bo).status_code == 404
    assert client.delete(where, headers=bo).status_code == 404
    assert client.get("/api/trials", headers=bo).json() == {"trials": []}
    for method, path in (
        ("POST", "/api/trials"),
        ("GET", "/api/trials"),
        ("GET", where),
        ("DELETE", where),
        ("POST", "/api/watches"),
        ("POST", "/api/watches/preview"),
        ("POST", "/api/catalog/check"),
    ):
        assert client.request(method, path, headers=reader).status_code == 403, path
        assert client.request(method, path).status_code == 401, path
    known = client.get("/api/sources", headers=reader).json()
    assert known["may_try"] is False
    assert "needs a token with the scope operate" in known["why_not"]
    assert client.delete(where, headers=ada).status_code == 204
    assert client.get(where, headers=ada).status_code == 404
    client.cookies.set("segwatch_token", bo["Authorization"].removeprefix("Bearer "))
    strange = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    assert client.post("/api/trials", json=draft(), headers=strange).status_code == 403
    assert (
        client.post("/api/trials", json=draft(), headers={"Sec-Fetch-Site": "same-origin"}).status_code == 202
    )


def test_what_is_wrong_with_a_trial_is_said_before_it_waits(client: TestClient, engine: Engine) -> None:
    ada = make_token(engine)
    blind = make_token(engine, "blind", watches=("lakes",))
    with engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.access_token SET watches = '{others}' WHERE name = 'blind'"))
    point = {"type": "Point", "coordinates": [15, 46]}
    crossed = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}
    for body, words in (
        (draft(area=LARGE), "more than a trial may have, 500 km2; draw a smaller one"),
        (draft(area=point), "Polygon or MultiPolygon is needed, got Point"),
        (draft(area=crossed), "area.geojson"),
        (draft(area={"type": "Nothing"}), "area.geojson"),
        (draft(source="http://127.0.0.1/"), "there is no source"),
        (draft(instruction="x"), "instruction"),
        (draft(instruction="the \x00 water"), "cannot be stored"),
        (draft(instruction="the \u202e water"), "acts on what follows it"),
        (draft(targets=["x"] * 9), "targets"),
        (draft(more=1), "more"),
    ):
        refused = client.post("/api/trials", json=body, headers=ada)
        assert refused.status_code == 422, body
        assert words in refused.json()["detail"], refused.text
    hidden = client.post("/api/trials", json=draft(), headers=blind)
    assert (hidden.status_code, "there is no source" in hidden.text) == (422, True)
    assert "watch:lakes" not in client.get("/api/sources", headers=blind).text
    assert count_rows(engine, "trial") == [0]


def test_a_trial_that_is_deleted_or_whose_worker_is_lost_ends(
    client: TestClient, engine: Engine, settings: FlowSettings
) -> None:
    ada = make_token(engine)
    where = client.post("/api/trials", json=draft(), headers=ada).headers["location"]
    with engine.begin() as conn:
        taken = trials.take(conn, "lost", 600)
    assert taken is not None
    assert client.get(where, headers=ada).json()["state"] == "running"
    assert run_trials(engine, settings, "other").done == 0, "it is held"
    for attempt in (1, 2):
        with engine.begin() as conn:
            conn.execute(text("UPDATE segwatch.trial SET lease_until = now() - interval '1 s'"))
            again = trials.take(conn, "lost", 600)
        assert (again is None) is (attempt == 2)
    assert "the worker was lost 2 times" in client.get(where, headers=ada).json()["reason"]

    def load(given: FlowSettings) -> Well:
        client.delete(there, headers=ada)
        return Well()

    there = client.post("/api/trials", json=draft(), headers=ada).headers["location"]
    assert run_trials(engine, settings, "worker", load).withdrawn == 1  # type: ignore[arg-type]
    with engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.trial SET expires_at = now() - interval '1 s'"))
    assert client.get(where, headers=ada).status_code == 404
    with engine.begin() as conn:
        trials.prune(conn)
    assert count_rows(engine, "trial") == [0]


def test_sources_and_catalogs_say_what_they_have(client: TestClient, engine: Engine) -> None:
    ada = make_token(engine)
    known = schemas.Sources.model_validate(client.get("/api/sources", headers=ada).json())
    assert (known.may_try, known.limits.area_km2, known.limits.pending) == (True, 500, 3)
    lakes, *shipped = known.sources
    assert (lakes.id, lakes.watches) == (SOURCE, ["lakes"])
    assert lakes.bbox == pytest.approx(list(AREA.bounds))
    assert {"profile:sentinel2-l2a-earthsearch"} <= {one.id for one in shipped}
    body = {"source": SOURCE, "area": mapping(AREA), "start": "2024-01-01T00:00:00Z"}
    found = client.post("/api/catalog/check", json=body, headers=ada).json()
    checked = schemas.CatalogChecked.model_validate(found)
    assert (checked.answers, checked.scenes, checked.problem) == (True, 3, None)
    assert checked.by_month == {"2024-05": 1, "2024-06": 2}
    recent = client.post("/api/catalog/check", json=body | {"start": None}, headers=ada).json()
    assert (recent["scenes"], "choose another area or period" in recent["problem"]) == (0, True)
    with engine.begin() as conn:
        conn.execute(
            text(
                'UPDATE segwatch.watch SET definition = definition || \'{"catalog": "http://127.0.0.1:9/"}\''
            )
        )
    down = client.post("/api/catalog/check", json=body, headers=ada).json()
    assert (down["answers"], down["scenes"], "did not respond" in down["problem"]) == (False, None, True)


def test_a_watch_is_previewed_and_saved_as_apply_would(
    client: TestClient, engine: Engine, lakes: Watch
) -> None:
    ada = make_token(engine)
    body = draft(name="ponds", start="2024-01-01T00:00:00Z", schedule="0 6 * * *", alerts=True)
    body["min_polygon_m2"] = 50
    shown = client.post("/api/watches/preview", json=body, headers=ada)
    preview = schemas.WatchPreview.model_validate(shown.json())
    assert (preview.is_new, preview.scenes, preview.by_month) == (True, 3, {"2024-05": 1, "2024-06": 2})
    assert preview.lines[0].startswith("ponds: new, ")
    assert (preview.model, preview.demonstration, preview.tiles_per_scene) == (Well.version, False, 1)
    assert ["is less than one pixel of the source" in one for one in preview.warnings] == [True]
    assert count_rows(engine, "watch_head") == [1], "a preview stores nothing"
    made = client.post("/api/watches", json=body, headers=ada)
    saved = schemas.WatchSaved.model_validate(made.json())
    assert (made.status_code, saved.created, saved.scheduled) == (201, True, False)
    assert "segwatch deploy" in (saved.note or "")
    with engine.connect() as conn:
        stored = watches.load_current(conn, "ponds").watch
    assert (stored.catalog, stored.profile, stored.schedule) == (lakes.catalog, lakes.profile, "0 6 * * *")
    assert [(one.name, one.channels) for one in stored.rules] == [("changes", ())]
    again = client.post("/api/watches", json=body, headers=ada)
    assert (again.status_code, again.json()["created"]) == (200, False)
    other = client.post("/api/watches", json=body | {"instruction": "segment the ice"}, headers=ada)
    assert (other.status_code, "choose another name" in other.text) == (409, True)
    for wrong, words in (
        ({"name": "Ponds!"}, "name"),
        ({"schedule": "every day"}, "schedule"),
        ({"end": "2023-01-01T00:00:00Z"}, "is not after start"),
        ({"rules": []}, "rules"),
        ({"area": {"file": "/etc/passwd"}}, "area.geojson"),
    ):
        refused = client.post("/api/watches", json=body | wrong, headers=ada)
        assert (refused.status_code, words in refused.text) == (422, True), refused.text
    narrow = make_token(engine, "narrow", watches=("lakes",))
    assert client.post("/api/watches", json=body | {"name": "new"}, headers=narrow).status_code == 403


def test_a_server_that_only_reads_says_how_to_try(database: Database, engine: Engine) -> None:
    ada = make_token(engine)
    with TestClient(create_app(database.url("segwatch_analyst"))) as client:
        known = schemas.Sources.model_validate(client.get("/api/sources").json())
        assert (known.may_try, known.sources) == (False, [])
        assert "segwatch serve --writing" in (known.why_not or "")
        for path in ("/api/trials", "/api/watches", "/api/watches/preview", "/api/catalog/check"):
            refused = client.post(path, json=draft(), headers=ada)
            assert (refused.status_code, "segwatch serve --writing" in refused.text) == (403, True), path
        assert client.get(f"/api/trials/{uuid4()}", headers=ada).status_code == 403
