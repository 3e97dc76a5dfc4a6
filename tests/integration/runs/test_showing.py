"""What Prefect's UI shows of runs: scenes as they pass, and automations for runs that need somebody."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from sqlalchemy import Engine

from segwatch.db.usage import AttemptOutcome
from segwatch.flows.config.settings import load_settings
from segwatch.flows.errors import ConfigError
from segwatch.flows.inference.drain import Drain
from segwatch.flows.inference.outcomes import DrainCounts
from segwatch.flows.orchestration import automations, deploy
from segwatch.flows.orchestration.scene_artifacts import SceneArtifacts
from segwatch.flows.telemetry.scenes import Attempt, SceneReport
from tests.integration.runs.conftest import Server
from tests.support.colour_segmenter import Well
from tests.support.images import textured
from tests.support.serving import serving_files
from tests.support.small_queue import queue


def test_deploying_creates_the_automations_once(server: Server) -> None:
    for _ in range(2):
        deploy.put_automations()
    with get_client(sync_client=True) as client:
        for name in (automations.FAILED, automations.STUCK, automations.SILENT):
            (found,) = client.read_automations_by_name(name)
            assert found.enabled
        (stuck,) = client.read_automations_by_name(automations.STUCK)
        track = client.read_deployment_by_name("track/track").id
    assert str(track) in stuck.model_dump_json()


def test_an_unknown_notification_block_is_refused(server: Server) -> None:
    with pytest.raises(ConfigError, match="slack-webhook/nobody"):
        deploy.put_automations("slack-webhook/nobody")


def test_a_run_shows_its_scenes(server: Server, engine: Engine) -> None:
    settings = load_settings(linger_seconds=0.0, evidence="none")

    @flow(name="showing")
    def show() -> None:
        shown = SceneArtifacts(engine, "lakes")
        Drain(engine, Well(), settings, on_scene=shown.add).run()
        shown.end()

    with serving_files({"/a.tif": textured(10, 20, 30)}) as files:
        queue(engine, files.url, Well().version, count=2)
        show()
    with get_client(sync_client=True) as client:
        found = client.read_artifacts()
    by_key = {one.key: one for one in found}
    rows = json.loads(str(by_key["scenes-lakes"].data))
    assert [row["outcomes"] for row in rows] == ["observed 1"] * 2
    assert by_key["progress-lakes"].data == 100.0


def test_names_that_catalogs_choose_are_no_markup_in_prefect(server: Server, engine: Engine) -> None:
    name = "![a](http://evil.example/a.png) <img src=x onerror=alert(1)> [b](javascript:alert(1))"
    refused = Attempt("rivers", AttemptOutcome.UNUSABLE, name)

    def read() -> list[str]:
        with get_client(sync_client=True) as client:
            return [
                str((one.data, one.description))
                for one in client.read_artifacts()
                if "rivers" in str(one.key)
            ]

    @flow(name="showing")
    def show() -> list[str]:
        shown = SceneArtifacts(engine, "rivers")
        shown.add(SceneReport(name, datetime(2024, 1, 1, tzinfo=UTC), attempts=[refused]), DrainCounts())
        progress = read()
        shown.end()
        return progress + read()

    texts = [one for one in show() if "evil.example" in one]
    assert len(texts) == 2, "the progress while the run lasts, and the table"
    assert not any(mark in one for one in texts for mark in ("](", "<img"))
