"""What does not depend on the model reaches people: messages, feeds, map, reports and captions of quicklooks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from segwatch.flows.alerting.channels import render_message
from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference.drain import Drain
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.flows.report.html import render_html
from segwatch.flows.web.application import create_app
from segwatch.geo.types.tracking import ChangeKind
from segwatch.geo.types.watch import AlertRule, AlertStatus, TrackingSettings
from tests.conftest import Database
from tests.support.briefings import brief
from tests.support.paths import ROOT
from tests.support.spectral_scenes import DarkWater, make_profile, queue_river, serving_river

CHANNEL = "https://hooks.example.org/river"
RULE = AlertRule(
    "river", tuple(ChangeKind), channels=(CHANNEL,), confidence=0.0, status=AlertStatus.PROVISIONAL
)
LARGEST_ON_WHICH_BOTH_AGREE = """
    SELECT * FROM watch.alerts WHERE kind = 'appeared' AND retracted_at IS NULL
    ORDER BY shadow_share * after_m2 DESC NULLS LAST
"""
SCHEMA = json.loads((ROOT / "docs/reference/messages.schema.json").read_text(encoding="utf-8"))


def test_evidence_and_agreement_are_shown_wherever_a_change_is(
    engine: Engine, database: Database, tmp_path: Path
) -> None:
    settings = load_settings().model_copy(update={"linger_seconds": 0.0, "evidence": str(tmp_path)})
    tracking = TrackingSettings(gone_after=1, tolerance_m=90.0)
    profile = make_profile(tmp_path)
    with serving_river() as url:
        for year in (2015, 1985):
            # the second one is late: detections must be linked before its alerts are raised
            queue_river(
                engine,
                url,
                profile,
                DarkWater.version,
                (year,),
                rules=(RULE,),
                tracking=tracking,
                shadow="spectral",
            )
            assert Drain(engine, DarkWater(), settings).run().inferred == 1
            track_ready(engine)
    with engine.connect() as conn:
        rows = conn.execute(text(LARGEST_ON_WHICH_BOTH_AGREE))
        alert = rows.mappings().first()
        assert alert is not None
        payload = conn.execute(
            text("SELECT payload FROM segwatch.delivery WHERE alert_id = :id"), {"id": alert["alert_id"]}
        ).scalar_one()
    _check_message(payload, dict(alert))
    _check_documents(engine, settings)
    with TestClient(create_app(database.url("segwatch_analyst"))) as client:
        _check_map(client, dict(alert))


def _check_message(payload: dict[str, Any], alert: dict[str, Any]) -> None:
    data = payload["data"]
    assert data["evidence"] == alert["evidence"]
    assert data["evidence"]["before"]["mndwi"] < data["evidence"]["after"]["mndwi"]
    assert data["shadow_share"] == alert["shadow_share"] > 0.5
    assert data["shadow_iou"] == alert["shadow_iou"]
    assert data["accuracy"] == "not assessed"
    assert {"evidence", "shadow_share", "shadow_iou", "accuracy"} <= SCHEMA["$defs"]["alert"][
        "properties"
    ].keys()
    _, words = render_message(payload)
    assert "Spectral evidence: mndwi" in words
    assert "The shadow segmenter found" in words
    assert "Accuracy: not assessed" in words


def _check_documents(engine: Engine, settings: Any) -> None:
    rendered = brief(engine, settings, "river")
    assert [one.caption.partition("; ")[2][:24] for one in rendered.briefing.situation.pictures] == [
        "IoU with spectral 2: wat"
    ] * 2
    html = render_html(rendered)
    assert "before, " in html
    assert "the shadow segmenter found" in html
    assert "IoU with spectral 2: water" in html


def _check_map(client: TestClient, alert: dict[str, Any]) -> None:
    shown = client.get("/api/alerts", params={"watch": "river"}).json()
    (row,) = (one for one in shown if one["alert_id"] == str(alert["alert_id"]))
    assert row["evidence"] == alert["evidence"]
    path, at = f"/api/objects/{alert['track_id']}", str(alert["valid_at"])
    found = client.get(path, params={"at": at}).json()
    assert found["detection"]["shadow"] == "spectral 2"
    assert found["detection"]["shadow_share"] == alert["shadow_share"]
    assert found["last_change"]["evidence"] == alert["evidence"]
    assert "inside" in found["words"]["spectral evidence"]
    assert (
        f"(newest detection, {found['detection']['acquired_at'][:10]})" in found["words"]["spectral evidence"]
    )
    assert found["words"]["observations"] == (
        f"{found['observations_for']} for it, {found['observations_against']} against it"
    )
    assert found["words"]["second opinion"].startswith("the shadow segmenter found")
    assert found["words"]["evidence of the change"].startswith("mndwi")
    assert client.get(path, params={"at": "1980-01-01 00:00:00+00"}).status_code == 404
    assert client.get(path, params={"at": "yesterday at noon"}).status_code == 422
    missing = client.get(f"/api/objects/{alert['alert_id']}", params={"at": at})
    assert missing.status_code == 404
    feed = client.get("/feeds/river/atom.xml").text
    assert "the shadow segmenter found" in feed
    assert "accuracy: not assessed" in feed
