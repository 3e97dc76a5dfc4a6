"""A ledger with a watch over the lakes of :mod:`tests.support.made_scenes`: observed, tracked, and with alerts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from shapely.geometry import Point, shape
from sqlalchemy import Engine

from segwatch.db import assessments, observations, scenes, watches
from segwatch.flows.assessment.drawing import draw_assessment
from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference.drain import Drain
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.geo.sources import profiles
from segwatch.geo.types.assessment import Label
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.tracking import ChangeKind
from segwatch.geo.types.watch import AlertRule, Instruction, Watch
from tests.support.colour_segmenter import ColourSegmenter
from tests.support.made_scenes import Lake, MadeDate, MadeSeries, SeriesSpec, make_series
from tests.support.serving import serving_files

WATCH = "prairie-lakes"
#: 160 x 160 pixels, five dates; the third is half under cloud, and in the fourth a lake has appeared.
SPEC = SeriesSpec(
    days=("05-01", "05-11", "05-21", "05-31", "06-10"),
    lakes=(
        Lake("growing", 45, 45, (18, 18, 18, 28, 28)),
        Lake("appearing", 110, 45, (0, 0, 0, 20, 20)),
        Lake("steady", 90, 115, (22, 22, 22, 22, 22)),
    ),
    clouds=(None, None, (0, 80, 160, 80), None, None),
    size_px=160,
)


@dataclass(frozen=True)
class Shown:
    """What is in the ledger."""

    made: MadeSeries
    url: str
    """Address of the server of its imagery."""
    asked: list[tuple[str, int, int]]
    """Path, first and last byte of each request to that server."""


@contextmanager
def showing_series(engine: Engine, folder: Path) -> Iterator[Shown]:
    """Observe and track every date of the series; its imagery is served meanwhile."""
    made = make_series(folder, SPEC)
    files = {
        f"/{path.relative_to(made.imagery).as_posix()}": path.read_bytes()
        for path in made.imagery.rglob("*.tif")
    }
    with serving_files(files) as server:
        _observe(engine, made, server.url)
        yield Shown(made, server.url, server.asked)


def _observe(engine: Engine, made: MadeSeries, url: str) -> None:
    rule = AlertRule(
        "new water", (ChangeKind.APPEARED, ChangeKind.GREW), 1000.0, channels=("https://hook.example/1",)
    )
    profile = profiles.load(str(made.profile))
    begin = min(one.acquired_at for one in made.dates)
    watch = Watch(
        WATCH, Instruction("segment the water", ("water",)), made.area, profile, url, begin, rules=(rule,)
    )
    settings = load_settings().model_copy(update={"linger_seconds": 0.0, "evidence": "none"})
    with engine.begin() as conn:
        revision = watches.apply(conn, watch).revision_id
        found = [_make_scene(one, url) for one in made.items]
        observations.enqueue(conn, revision, ColourSegmenter.version, scenes.upsert(conn, found))
    Drain(engine, ColourSegmenter(), settings).run()
    track_ready(engine)


def _make_scene(item: dict[str, object], url: str) -> Scene:
    properties: dict[str, object] = item["properties"]  # type: ignore[assignment]
    at = datetime.fromisoformat(str(properties["datetime"]))
    outline: dict[str, Any] = item["geometry"]  # type: ignore[assignment]
    footprint = shape(outline)
    collection, identity = str(item["collection"]), str(item["id"])
    links: dict[str, dict[str, str]] = item["assets"]  # type: ignore[assignment]
    assets = {name: one["href"].replace("{imagery}", url) for name, one in links.items()}
    made = Item(
        identity,
        collection,
        f"{url}/items/{identity}",
        at,
        None,
        "made-1",
        "1",
        "",
        footprint,
        assets,
        properties,
    )
    return Scene(collection, "made-1", "1", at.date(), at, (made,), footprint)


def assess(engine: Engine, made: MadeSeries, samples: int = 60) -> None:
    """Draw an assessment of the watch and label every sample as the ground is."""
    drawn = draw_assessment(engine, WATCH, samples=samples, seed=7)
    assert drawn is not None
    first, last = made.dates[0], made.dates[-1]
    with engine.begin() as conn:
        found = assessments.find(conn, WATCH)
        assert found is not None
        for row in assessments.list_samples(conn, found):
            place = Point(row["lon"], row["lat"])
            before, after = (_is_water(one, place) for one in (first, last))
            label = {(True, True): Label.BOTH, (False, True): Label.AFTER, (True, False): Label.BEFORE}
            assessments.add_label(conn, row["sample_id"], label.get((before, after), Label.NEITHER), "ada")


def _is_water(date: MadeDate, place: Point) -> bool:
    return any(outline.contains(place) for outline in date.lakes.values())
