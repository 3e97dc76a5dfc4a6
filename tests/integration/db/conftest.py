"""A small world: one watch over a square, one scene a day, and the steps of the main job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Engine

from segwatch.db import ledger, observations, scenes, tracks, watches
from segwatch.db.raising import RuleMatch, SendTime
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.source import BandRef, CloudMask, Profile
from segwatch.geo.types.tracking import (
    Change,
    ChangeKind,
    Detection,
    ObservationResult,
    TrackingStep,
    TrackState,
)
from segwatch.geo.types.watch import AlertRule, Instruction, Watch

MODEL = "tiny@0123456789ab"
START = datetime(2024, 1, 1, 10, tzinfo=UTC)
AREA = box(10.0, 50.0, 10.1, 50.1)


@dataclass(frozen=True)
class World:
    """The steps of the main job, with defaults."""

    engine: Engine
    watch: Watch
    revision: UUID

    def queue(self, *days: int, items: Callable[[int], Scene] | None = None) -> list[UUID]:
        """Scenes of these days, each with a pending observation; their scene ids."""
        make = items or scene
        with self.engine.begin() as conn:
            ids = scenes.upsert(conn, [make(day) for day in days])
            observations.enqueue(conn, self.revision, MODEL, ids)
        return ids

    def lease(
        self, worker: str = "w", seconds: float = 60, watch: str | None = None, max_attempts: int = 3
    ) -> ledger.SceneLease | None:
        """Lease the best scene."""
        with self.engine.begin() as conn:
            return ledger.lease(
                conn,
                worker=worker,
                seconds=seconds,
                model_version=MODEL,
                watch=watch,
                max_attempts=max_attempts,
            )

    def answer(self, *shapes: BaseGeometry, footprint: BaseGeometry = AREA, worker: str = "w") -> UUID:
        """Lease the best scene and save these polygons as its answer; the observation's id."""
        leased = self.lease(worker)
        assert leased is not None
        one = leased.observations[0]
        with self.engine.begin() as conn:
            ledger.save(conn, one.id, worker, result(*shapes, footprint=footprint), {"read_at": START})
        return one.id

    def series(self) -> UUID:
        """The one series with answers to publish."""
        with self.engine.begin() as conn:
            (found,) = tracks.list_ready_series(conn)
        return found

    def publish(self, series: UUID, make: Callable[[tracks.ReadyObservation], TrackingStep]) -> TrackingStep:
        """Publish the next observation with the step that ``make`` returns."""
        with self.engine.begin() as conn:
            ready = tracks.read_next_ready(conn, series)
            assert isinstance(ready, tracks.ReadyObservation)
            step = make(ready)
            rules = ready.watch.rules
            chosen = [
                RuleMatch(one, step.scene_id, rule, SendTime(one.valid_at))
                for one in step.changes
                for rule in rules
                if one.kind in rule.kinds
            ]
            tracks.publish(conn, series, ready.observation.id, step, chosen)
        return step


def day(number: int) -> datetime:
    """Return the acquisition time of the scene of a day."""
    return START + timedelta(days=number)


def scene(number: int, *, item_ids: Sequence[str] = ("a",), updated: int = 0) -> Scene:
    """Make the scene of a day."""
    items = tuple(
        Item(
            id=f"{one}-{number}",
            collection="c",
            href=f"https://stac.example/c/items/{one}-{number}",
            acquired_at=day(number),
            updated_at=day(number) + timedelta(hours=1 + updated),
            platform="p",
            relative_orbit="7",
            processing_baseline=f"05.{updated:02d}",
            footprint=box(9.9, 49.9, 10.2, 50.2),
            assets={"red": f"https://img.example/{one}-{number}-{updated}.tif"},
            properties={"eo:cloud_cover": 3.5},
        )
        for one in item_ids
    )
    return Scene("c", "p", "7", day(number).date(), day(number), items, box(9.9, 49.9, 10.2, 50.2))


def result(*shapes: BaseGeometry, footprint: BaseGeometry = AREA) -> ObservationResult:
    """Make a prediction with these polygons."""
    found = tuple(Detection("water", shape, 0.75, 1000.0) for shape in shapes)
    return ObservationResult(footprint, found, "yes", 4, 0, 1.0, 1234, 0.5)


def state(track: UUID, shape: BaseGeometry, number: int, **more: object) -> TrackState:
    """Make the state of an object detected on a day."""
    made = TrackState(track, "water", shape, 1000.0, 0.75, day(0), day(number), day(number))
    return replace(made, **more)  # type: ignore[arg-type]


def change(track: UUID, kind: ChangeKind, number: int, shape: BaseGeometry | None) -> Change:
    """Make a change of an object on a day."""
    return Change(track, kind, "water", day(number), 0.0, 1000.0, shape, None, 0.75)


def make_watch() -> Watch:
    """Make a watch that uses every field."""
    clouds = CloudMask(BandRef("scl"), (3, 8, 9), (1,), (0,))
    profile = Profile(
        "prof",
        "Title",
        "c",
        BandRef("red"),
        BandRef("green"),
        BandRef("blue"),
        low=0,
        high=0.3,
        gsd_m=10,
        clouds=clouds,
        nodata=float("nan"),
        hosts=("img.example",),
    )
    kinds = (ChangeKind.APPEARED, ChangeKind.DISAPPEARED)
    rule = AlertRule(
        "new water", kinds, 10.0, 0.1, True, ("https://hook.example/1", "https://hook.example/2")
    )
    return Watch(
        "lakes",
        Instruction("segment the lakes", ("water",)),
        AREA,
        profile,
        "https://stac.example",
        START,
        rules=(rule,),
    )


@pytest.fixture
def world(engine: Engine) -> World:
    """Make a ledger with one applied watch and nothing else."""
    watch = make_watch()
    with engine.begin() as conn:
        revision = watches.apply(conn, watch).revision_id
    return World(engine, watch, revision)


@pytest.fixture
def kit() -> Kit:
    """The functions of this file, for tests that cannot import it."""
    return Kit()


class Kit:
    """Functions that make values."""

    model = MODEL
    start = START
    area = AREA
    day = staticmethod(day)
    scene = staticmethod(scene)
    result = staticmethod(result)
    state = staticmethod(state)
    change = staticmethod(change)
    watch = staticmethod(make_watch)
