"""Worlds of rectangles, observed day by day and tracked by the real flow in a real ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
import shapely
from psycopg import sql
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Engine, text

from segwatch.db import analyst, ledger, observations, scenes, watches
from segwatch.flows.pipeline.tracking import TrackingCounts, track_ready
from segwatch.geo.area import compute_area_m2, extract_polygons
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.source import BandRef, Profile
from segwatch.geo.types.tracking import ChangeKind, Detection, ObservationResult
from segwatch.geo.types.watch import AlertRule, Instruction, TrackingSettings, Watch
from tests.conftest import Database
from tests.support.knowledge import read_knowledge

MODEL = "tiny@0123456789ab"
START = datetime(2024, 1, 1, 10, tzinfo=UTC)
CELL = 0.002
SIDE = 8
EVERYTHING = box(10.0, 50.0, 10.0 + SIDE * CELL, 50.0 + SIDE * CELL)
_OBSERVATIONS = text("SELECT id FROM segwatch.observation")
CHANNELS = ("https://hook.example/1", "https://hook.example/2")


def cells(west: float, south: float, east: float, north: float) -> BaseGeometry:
    """Make a rectangle from cells of about 140 x 220 m."""
    return box(10.0 + west * CELL, 50.0 + south * CELL, 10.0 + east * CELL, 50.0 + north * CELL)


@dataclass(frozen=True)
class SceneContent:
    """Objects on the ground on one day, and the footprint that is observed."""

    shapes: tuple[BaseGeometry, ...]
    footprint: BaseGeometry = EVERYTHING

    def result(self) -> ObservationResult:
        """Predict as a perfect model would."""
        visible = [
            part for shape in self.shapes for part in extract_polygons(shape.intersection(self.footprint))
        ]
        found = tuple(Detection("water", part, 0.75, compute_area_m2(part)) for part in visible)
        return ObservationResult(self.footprint, found, "yes", 1, 0, 1.0, 1, 0.1)


class Ledger:
    """An empty ledger with one watch; scenes may arrive in any order."""

    def __init__(self, database: Database, engine: Engine, tracking: TrackingSettings) -> None:
        self.engine = engine
        self.model = MODEL
        _empty(database.superuser_url)
        with engine.begin() as conn:
            self.revision = watches.apply(conn, _watch(tracking)).revision_id

    def rule(self, **more: Any) -> None:
        """Change fields of the watch's rule."""
        with self.engine.begin() as conn:
            watch = watches.load_current(conn, "lakes").watch
            (rule,) = watch.rules
            changed = replace(watch, rules=(replace(rule, **more),))
            self.revision = watches.apply(conn, changed).revision_id

    def instruct(self, words: str) -> None:
        """Change the instruction of the watch."""
        with self.engine.begin() as conn:
            watch = replace(
                watches.load_current(conn, "lakes").watch, instruction=Instruction(words, ("water",))
            )
            self.revision = watches.apply(conn, watch).revision_id

    def cover(self, area: BaseGeometry) -> None:
        """Change the AOI of the watch."""
        with self.engine.begin() as conn:
            watch = replace(watches.load_current(conn, "lakes").watch, area=area)
            self.revision = watches.apply(conn, watch).revision_id

    def arrive(
        self,
        world: Sequence[SceneContent] | Mapping[int, SceneContent],
        days: Sequence[int],
        version: int = 0,
    ) -> TrackingCounts:
        """Find, predict and track the scenes of these days together; ``version`` counts reprocessings."""
        self.answer(world, days, version)
        return self.track()

    def also_watch(self, name: str, catalog: str) -> UUID:
        """Add a watch over the same AOI in another catalog; returns its revision."""
        with self.engine.begin() as conn:
            watch = watches.load_current(conn, "lakes").watch
            return watches.apply(conn, replace(watch, name=name, catalog=catalog)).revision_id

    def find(self, days: Sequence[int], version: int = 0, catalog: str = "") -> list[UUID]:
        """Find the scenes of these days in a catalog; returns the new observations."""
        with self.engine.begin() as conn:
            ids = scenes.upsert(conn, [scene(day, version, catalog=catalog) for day in days])
            before = set(conn.execute(_OBSERVATIONS).scalars())
            observations.enqueue(conn, self.revision, self.model, ids)
            return sorted(set(conn.execute(_OBSERVATIONS).scalars()) - before)

    def answer(
        self,
        world: Sequence[SceneContent] | Mapping[int, SceneContent],
        days: Sequence[int],
        version: int = 0,
    ) -> None:
        """Find and predict the scenes of these days, which then wait to be tracked."""
        for _ in self.find(days, version):
            self.answer_leased(world)

    def answer_leased(self, world: Any) -> None:
        """Predict the next scene; ``world`` gives the content of each day."""
        leased = self.lease("w")
        self.save(leased, "w", world[(leased.scene.acquired_at - START).days])

    def lease(self, worker: str) -> ledger.SceneLease:
        """Lease the next scene for a worker."""
        with self.engine.begin() as conn:
            leased = ledger.lease(
                conn, worker=worker, seconds=60, model_version=self.model, watch=None, max_attempts=3
            )
        assert leased is not None
        return leased

    def save(self, leased: ledger.SceneLease, worker: str, look: SceneContent) -> None:
        """Store the prediction of a leased scene."""
        with self.engine.begin() as conn:
            ledger.save(conn, leased.observations[0].id, worker, look.result(), {"read_at": START})

    def give_up(self, day: int, *, skipped: bool, version: int = 0) -> None:
        """Find the scene of a day, and skip it or let every attempt fail."""
        self.find([day], version)
        while True:
            with self.engine.begin() as conn:
                leased = ledger.lease(
                    conn, worker="w", seconds=60, model_version=self.model, watch=None, max_attempts=3
                )
                if leased is None:
                    return
                one = leased.observations[0].id
                if skipped:
                    ledger.skip(conn, one, "w", "cloudy: 0% of the area is clear")
                else:
                    ledger.fail(conn, one, "w", "the file is cut off", max_attempts=2)

    def misrender(self, day: int) -> None:
        """Find the scene of a day, whose rendering is invalid."""
        self.find([day])
        leased = self.lease("w")
        with self.engine.begin() as conn:
            ledger.fail(conn, leased.observations[0].id, "w", "all of it is white", max_attempts=0)

    def reject(self, day: int) -> None:
        """Reject the item of a day."""
        (item,) = scene(day).items
        with self.engine.begin() as conn:
            scenes.reject(
                conn,
                self.revision,
                item.id,
                item.collection,
                item.href,
                "asset 'visual' is missing",
                acquired_at=item.acquired_at,
                footprint=item.footprint,
            )

    def track(self) -> TrackingCounts:
        """Track every observation that is ready."""
        return track_ready(self.engine)

    def rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        with self.engine.connect() as conn:
            return [dict(row) for row in conn.execute(text(query), values).mappings()]

    def summarize(self) -> analyst.Rows:
        """Counts per watch, as the command line shows them."""
        with self.engine.connect() as conn:
            return analyst.summarize_watches(conn)

    def known(self) -> dict[str, list[dict[str, Any]]]:
        """Return current knowledge, see :func:`tests.support.knowledge.read_knowledge`."""
        return read_knowledge(self.engine)

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        """Return every row of the tables that tracking writes."""
        names = (
            "observation", "track", "track_state", "track_lineage", "change", "alert", "alert_correction", "delivery",
            "seen_ground", "watch_area", "change_judgement", "judgement_evidence", "series_counts",
        )  # fmt: skip
        return {name: self.rows(f"SELECT * FROM segwatch.{name} ORDER BY 1, 2") for name in names}


def merged(boxes: Iterable[tuple[float, float, float, float]]) -> tuple[BaseGeometry, ...]:
    """Merge rectangles of cells that overlap or touch; returns the polygons."""
    return tuple(extract_polygons(union(boxes)))


def union(boxes: Iterable[tuple[float, float, float, float]]) -> BaseGeometry:
    """Unite rectangles of cells to one geometry."""
    return shapely.union_all([cells(*one) for one in boxes])


def day(number: int) -> datetime:
    """Return the acquisition time of the scene of a day."""
    return START + timedelta(days=number)


def _empty(url: str) -> None:
    """Delete every row but Alembic's; to truncate sixty tables, most of them empty, takes ten times as long."""
    with psycopg.connect(url) as conn:
        names = [
            sql.Identifier("segwatch", row[0])
            for row in conn.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'segwatch' AND tablename <> 'alembic_version'"
            )
        ]
        filled = sql.SQL(", ").join(sql.SQL("EXISTS (SELECT FROM {})").format(name) for name in names)
        has_rows = conn.execute(sql.SQL("SELECT {}").format(filled)).fetchone() or ()
        # in any order, and without the triggers that keep sums
        conn.execute("SET LOCAL session_replication_role = replica")
        for name, found in zip(names, has_rows, strict=True):
            if found:
                conn.execute(sql.SQL("DELETE FROM {}").format(name))


def scene(number: int, version: int = 0, platform: str = "p", catalog: str = "") -> Scene:
    """Make the scene of a day, platform and catalog; scenes of one day have one acquisition time."""
    updated = day(number) + timedelta(days=100 * version) if version else None
    href = f"https://stac.example/c/items/a-{number}?v={version}"
    item = Item(
        id=f"{platform}-{number}", collection="c", href=href, acquired_at=day(number), updated_at=updated,
        platform=platform, relative_orbit="7", processing_baseline="", footprint=EVERYTHING,
        assets={"red": f"https://img.example/{number}.tif"}, catalog=catalog,
    )  # fmt: skip
    return Scene("c", platform, "7", day(number).date(), day(number), (item,), EVERYTHING, catalog)


def _watch(tracking: TrackingSettings) -> Watch:
    band = BandRef("red")
    profile = Profile("prof", "Title", "c", band, band, band, low=0, high=1, gsd_m=10)
    rule = AlertRule("any", tuple(ChangeKind), channels=CHANNELS)
    watch = Watch(
        "lakes", Instruction("segment the lakes", ("water",)), EVERYTHING, profile, "https://stac.example", START,
        rules=(rule,),
    )  # fmt: skip
    return replace(watch, tracking=tracking)


@pytest.fixture
def ledgers(database: Database, engine: Engine) -> Any:
    """Return a function that empties the database and makes a ledger in it."""

    def make(**numbers: Any) -> Ledger:
        return Ledger(database, engine, TrackingSettings(**{"gone_after": 1, **numbers}))

    return make


@pytest.fixture
def kit() -> Any:
    """The functions of this file, for tests that cannot import it."""

    class Kit:
        look = SceneContent
        cells = staticmethod(cells)
        merged = staticmethod(merged)
        union = staticmethod(union)
        day = staticmethod(day)
        everything = EVERYTHING
        channels = CHANNELS

    return Kit
