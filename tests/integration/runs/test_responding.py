"""Disaster runs on a Prefect server: one event does not stop another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from shapely.geometry import box
from sqlalchemy import Engine

from segwatch.db import watches
from segwatch.flows import respond
from segwatch.flows.errors import FlowError
from segwatch.flows.events import disaster_runs, ingest
from segwatch.flows.orchestration import deploy
from segwatch.geo.sources import profiles
from segwatch.geo.types.event import Event
from segwatch.geo.types.watch import Instruction, Watch
from tests.integration.runs.conftest import Server
from tests.support.serving import serving

HAPPENED = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
def playbook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A playbook for floods, whose catalog has nothing yet."""
    nothing = json.dumps({"type": "FeatureCollection", "features": []}).encode()
    with serving({"/": (200, {}, nothing)}) as base:
        document = {
            "version": 1, "name": "flood", "title": "Flood", "radius_km": 1, "days": 30,
            "match": {"kinds": ["flood"]}, "baseline": {"days": 60},
            "sources": [{"profile": "rgb-cog", "catalog": f"{base}/"}],
            "watch": {"instruction": "segment the water", "targets": ["water"], "priority": 900,
                      "schedule": "0 * * * *"},
        }  # fmt: skip
        (tmp_path / "flood.yaml").write_text(json.dumps(document))
        monkeypatch.setenv("SEGWATCH_PLAYBOOKS", str(tmp_path))
        monkeypatch.setenv("SEGWATCH_FEEDS", "[]")
        yield


def floods(engine: Engine, *names: str) -> None:
    """Floods far from each other, in the ledger."""
    features = [
        {
            "type": "Feature", "id": name, "geometry": {"type": "Point", "coordinates": [10.0 * number, 45.0]},
            "properties": {"kind": "flood", "title": name, "occurred_at": HAPPENED.isoformat(), "level": "red",
                           "updated_at": HAPPENED.isoformat()},
        }
        for number, name in enumerate(names)
    ]  # fmt: skip
    ingest.record_events(
        engine, json.dumps({"type": "FeatureCollection", "features": features}).encode(), "test"
    )


def started(server: Server, engine: Engine) -> list[str]:
    """Watches of floods whose runs were asked for."""
    with engine.connect() as conn:
        names = [name for name in watches.list_names(conn) if name.startswith("flood")]
    return [name for name in names if len(server.runs("observe/observe", watch=name)) == 1]


def test_what_goes_wrong_with_one_event_does_not_stop_the_next(
    server: Server, worker: Engine, playbook: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = disaster_runs.resolve_target

    def happening_of(engine: Engine, settings: Any, book: Any, event: Event, told: Any) -> Any:
        if event.external_id == "b":
            raise MemoryError("contours")
        return right(engine, settings, book, event, told)

    monkeypatch.setattr(disaster_runs, "resolve_target", happening_of)
    floods(worker, "a", "b", "c")
    with pytest.raises(FlowError, match=r"test/b: MemoryError: contours"):
        respond.respond_flow.fn()
    assert len(started(server, worker)) == 2
    assert set(started(server, worker)) <= server.scheduled()


def test_a_watch_that_cannot_be_used_does_not_stop_a_disaster_run(
    server: Server, worker: Engine, playbook: None
) -> None:
    wrong = Watch(
        "a-wrong",
        Instruction("the water"),
        box(10, 45, 10.1, 45.1),
        profiles.load("rgb-cog"),
        "https://x",
        HAPPENED,
    )
    with worker.begin() as conn:
        watches.apply(conn, replace(wrong, schedule="hourly"))
    floods(worker, "a")
    (made,) = respond.respond_flow.fn()
    assert started(server, worker) == [made["watch"]]
    assert made["watch"] in server.scheduled()


def test_the_run_is_started_also_where_scheduling_fails(
    server: Server, worker: Engine, playbook: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def schedule(chosen: Any) -> None:
        raise FlowError("not scheduled")

    monkeypatch.setattr(deploy, "schedule_watches", schedule)
    floods(worker, "a", "b")
    with pytest.raises(FlowError, match=r"watch flood-\S+: not scheduled; .*watch flood-\S+: not scheduled"):
        respond.respond_flow.fn()
    assert len(started(server, worker)) == 2


@pytest.fixture(autouse=True)
def _nothing_left(server: Server) -> Iterator[None]:
    """The names of the watches come from the events, so that the next test would find these runs."""
    yield
    with get_client(sync_client=True) as client:
        for one in client.read_flow_runs():
            client.delete_flow_run(one.id)
