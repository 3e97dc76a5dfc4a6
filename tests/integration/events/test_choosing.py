"""Which source a disaster run takes, by what catalogs say over HTTP."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from shapely.geometry import box, mapping
from sqlalchemy import Engine

from segwatch.db import events, watches
from segwatch.flows.config.settings import load_settings
from segwatch.flows.errors import ConfigError
from segwatch.flows.events import playbooks
from segwatch.flows.events.disaster_runs import respond_to_events
from segwatch.flows.events.source_selection import (
    RunTarget,
    SourceChoice,
    choose_source,
    find_running_watches,
)
from segwatch.geo.types.event import Event, EventKind, EventName
from tests.support.serving import Answer, serving

WHEN = datetime(2024, 5, 25, tzinfo=UTC)
AREA = box(10.0, 45.0, 10.1, 45.1)  # 87 km2
PROFILE = """
title = "made"
collection = "{name}"
gsd_m = {gsd_m}
low = 0
high = 255
license = "none"
attribution = "nobody"
[bands]
red = {{ asset = "visual", index = 1 }}
green = {{ asset = "visual", index = 2 }}
blue = {{ asset = "visual", index = 3 }}
"""
RESOLUTION = {"radar": 10.0, "optical": 10.0, "mirror": 10.0, "plane": 0.5}


class World:
    """Catalogs of a few sources, each a file of items that is served over HTTP."""

    def __init__(self, folder: Path, base: str, answers: dict[str, Answer]) -> None:
        self._folder = folder
        self._base = base
        self._answers = answers
        for name, gsd_m in RESOLUTION.items():
            # a mirror has what the other has
            collection = "optical" if name == "mirror" else name
            (folder / f"{name}.toml").write_text(PROFILE.format(name=collection, gsd_m=gsd_m))
            self.has(name)

    def has(self, name: str, *days: int) -> None:
        """From now on the catalog has scenes of these days after the event."""
        items = [self._item(name, day) for day in days]
        document = {"type": "FeatureCollection", "features": items}
        self._answers[f"/{name}.json"] = (200, {}, json.dumps(document).encode())

    def fails(self, name: str) -> None:
        self._answers[f"/{name}.json"] = (404, {}, b"")

    def _item(self, name: str, day: int) -> dict[str, Any]:
        return {
            "type": "Feature", "stac_version": "1.0.0", "id": f"{name}{day}", "geometry": mapping(AREA),
            "bbox": list(AREA.bounds), "links": [], "collection": "optical" if name == "mirror" else name,
            "properties": {"datetime": (WHEN + timedelta(days=day)).isoformat()},
            "assets": {"visual": {"href": f"{self._base}/{name}{day}.tif"}},
        }  # fmt: skip

    def source(self, name: str, **more: Any) -> dict[str, Any]:
        return {"profile": str(self._folder / f"{name}.toml"), "catalog": f"{self._base}/{name}.json", **more}

    def book(self, *sources: dict[str, Any]) -> playbooks.Playbook:
        document = {
            "version": 1, "name": "flood", "title": "Flood", "match": {"kinds": ["flood"]}, "radius_km": 1,
            "days": 3650, "sources": list(sources),
            "watch": {"instruction": "segment the water and roads", "targets": ["water", "road"]},
        }  # fmt: skip
        folder = self._folder / "books"
        folder.mkdir(exist_ok=True)
        (folder / "flood.yaml").write_text(yaml.safe_dump(document))
        (book,) = playbooks.load_all(folder)
        return book


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    answers: dict[str, Answer] = {}
    with serving(answers) as base:
        yield World(tmp_path, base, answers)


class Run:
    """One look at the sources after another, each ending in the ledger."""

    def __init__(self, engine: Engine, book: playbooks.Playbook) -> None:
        self._engine = engine
        self._book = book
        self.unreachable: list[str] = []

    def choose(self, *, seconds: float = 20.0) -> SourceChoice:
        self.unreachable.clear()
        happening = RunTarget("gdacs/1", AREA, WHEN)
        with self._engine.begin() as conn:
            runs = find_running_watches(conn, self._book, happening.identity)
            choice = choose_source(self._book, happening, runs, seconds=seconds, unreachable=self.unreachable)
            watches.apply(conn, choice.watch)
        return choice

    def names(self) -> list[str]:
        with self._engine.connect() as conn:
            return watches.list_names(conn)


def name(choice: SourceChoice) -> tuple[str, int, int]:
    return choice.watch.profile.name, len(choice.before), choice.after


def test_the_first_with_a_scene_since_the_event_else_the_first_that_goes_on(
    world: World, engine: Engine
) -> None:
    book = world.book(world.source("plane", only_after=True), world.source("radar"), world.source("optical"))
    world.has("plane", -5)
    world.has("optical", -3, 2)
    world.has("radar", -4)
    assert name(Run(engine, book).choose()) == ("optical", 1, 1)


def test_what_may_never_come_is_not_waited_for(world: World, engine: Engine) -> None:
    book = world.book(world.source("plane", only_after=True), world.source("optical"))
    world.has("plane", -5)
    assert name(Run(engine, book).choose()) == ("optical", 0, 0)


def test_a_run_keeps_its_source_and_a_finer_one_gets_a_run_beside_it(world: World, engine: Engine) -> None:
    book = world.book(
        world.source("plane", only_after=True),
        world.source("radar"),
        world.source("optical"),
        world.source("mirror"),
    )
    run = Run(engine, book)
    world.has("optical", -3, 2)
    first = run.choose()
    world.has("radar", -1, 3)
    assert run.choose().watch == first.watch, "of two as fine it keeps the one it began with"
    world.has("plane", -5, 4)
    beside = run.choose()
    assert name(beside) == ("plane", 1, 1)
    assert beside.watch.name != first.watch.name
    assert run.choose().watch == beside.watch
    assert run.names() == sorted([first.watch.name, beside.watch.name])


def test_another_kind_helps_out_while_the_runs_own_has_nothing(world: World, engine: Engine) -> None:
    book = world.book(world.source("optical"), world.source("mirror"), world.source("radar"))
    run = Run(engine, book)
    world.has("optical", -3)
    world.has("mirror", -3)
    first = run.choose()
    world.has("mirror", -3, 2)
    assert run.choose().watch == first.watch, "a mirror would show the same twice"
    world.fails("optical")
    world.has("radar", -1, 3)
    assert run.choose().watch == first.watch, "perhaps it has scenes, and does not say so today"
    world.has("optical", -3)
    world.fails("mirror")
    beside = run.choose()
    assert name(beside) == ("radar", 1, 1)
    world.has("optical", -3, 4)
    assert run.choose().watch == first.watch
    assert len(run.names()) == 2


def test_a_source_that_does_not_answer_costs_its_time_limit_only(world: World, engine: Engine) -> None:
    world.has("optical", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/stac"
        book = world.book(world.source("radar") | {"catalog": address}, world.source("optical"))
        run = Run(engine, book)
        begun = time.monotonic()
        choice = run.choose(seconds=1)
        assert 1 <= time.monotonic() - begun < 20
    assert name(choice) == ("optical", 0, 1)
    (reason,) = run.unreachable
    assert "radar" in reason
    assert "no complete response within 1 s" in reason


def test_a_source_says_what_is_asked_of_it_and_for_how_large_an_area(world: World, engine: Engine) -> None:
    for each in ("plane", "radar", "optical"):
        world.has(each, 1)
    asked = {"instruction": "segment the dark water", "targets": ["water"]}
    small = world.source("plane", largest_km2=50)
    book = world.book(small, world.source("radar", **asked), world.source("optical"))
    choice = Run(engine, book).choose()
    assert choice.watch.profile.name == "radar"
    assert (choice.watch.instruction.text, choice.watch.instruction.targets) == (
        "segment the dark water",
        ("water",),
    )
    other = book.watch_over(AREA, WHEN, "x", book.sources[2])
    assert other.instruction.targets == ("water", "road")


def test_a_playbook_has_a_source_for_any_case(world: World) -> None:
    with pytest.raises(ConfigError, match="one must have neither only_after"):
        world.book(world.source("plane", only_after=True), world.source("radar", largest_km2=10))
    with pytest.raises(ConfigError, match="targets: they belong to an instruction"):
        world.book(world.source("plane", targets=["water"]))


def test_two_catalogs_of_one_profile_are_two_sources(world: World, engine: Engine) -> None:
    """A run keeps the catalog that it began on, and is told from one on the other by it."""
    archive = {**world.source("optical"), "catalog": f"{world.source('radar')['catalog']}"}
    book = world.book(world.source("optical"), archive)
    world.has("optical", -3)
    run = Run(engine, book)
    begun = run.choose()
    assert begun.watch.catalog.endswith("/optical.json")
    world.has("optical", -3, 2)
    assert run.choose().watch == begun.watch
    with engine.connect() as conn:
        assert list(find_running_watches(conn, book, "gdacs/1")) == ["optical"]
        turned = playbooks.Playbook(**{**book.model_dump(), "sources": [archive, world.source("optical")]})
        (label,) = find_running_watches(conn, turned, "gdacs/1")
    assert label.startswith("optical ")
    assert label.endswith("/optical.json")
    assert run.names() == [begun.watch.name]


def flood(updated: int, *names: str, cancelled: bool = False) -> Event:
    """What a feed says of one flood an hour after the one before; the first name is its own."""
    every = tuple(EventName("cap:met", one, WHEN + timedelta(hours=int(one[1:]))) for one in names)
    return Event(
        "cap:met", names[0], EventKind.FLOOD, "Flood", WHEN, AREA, updated_at=WHEN + timedelta(hours=updated),
        cancelled=cancelled, names=every,
    )  # fmt: skip


def test_a_run_keeps_its_name_and_ends_when_its_event_is_taken_back(world: World, engine: Engine) -> None:
    book = world.book(world.source("optical"))
    world.has("optical", -3, 2)

    def respond(event: Event) -> list[Any]:
        with engine.begin() as conn:
            events.record(conn, event)
        return list(respond_to_events(engine, load_settings(), [book], now=WHEN + timedelta(days=3)))

    (begun,) = respond(flood(2, "C2"))
    with engine.connect() as conn:
        (name,) = watches.list_names(conn)
        planned = watches.load_current(conn, name).watch.end
    assert begun[0].watch == name
    # the message that began it comes later, and with it another name
    (again,) = respond(flood(3, "C3", "C1", "C2"))
    assert (again[0].watch, again[0].event) == (name, "cap:met/C2")
    (told,) = respond(flood(4, "C4", "C3", cancelled=True))
    assert told.startswith("cap:met/C2 was cancelled; its watch")
    assert respond(flood(4, "C4", "C3", cancelled=True)) == [], "once is enough"
    with engine.connect() as conn:
        assert watches.list_names(conn) == [name]
        ended = watches.load_current(conn, name).watch.end
    assert planned is not None
    assert ended == WHEN + timedelta(hours=4) < planned
