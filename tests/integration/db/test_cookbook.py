"""Every query of the documents runs as it stands, as the analyst, and the cookbook's give the right answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Engine, text

from segwatch.benchmarks.sql import COOKBOOK, read_cookbook
from segwatch.benchmarks.tracking_scale import make_scene, make_watch
from segwatch.db import admin_areas, ledger, observations, reviews, scenes, watches
from segwatch.db.admin_areas import AdminArea
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.geo.area import compute_area_m2
from segwatch.geo.types.tracking import Detection, ObservationResult
from tests.support import documents

QUERIES = read_cookbook()
_COOKBOOK = "docs/how-to/cookbook.md"
OTHERS = [
    (page.name, block.text)
    for page in documents.list_pages()
    if page.name != _COOKBOOK
    for block in page.blocks
    if block.language == "sql"
]
AOI, WEST = box(15.0, 46.0, 15.2, 46.1), box(15.0, 46.0, 15.01, 46.1)
#: The first fire, around the place that the questions ask about, before and after it grew, and a second one east of it.
FIRE, GROWN, SECOND = (
    box(15.0, 46.0, 15.003, 46.002), box(15.0, 46.0, 15.006, 46.002), box(15.02, 46.01, 15.023, 46.012),
)  # fmt: skip
MODEL = "bench@0"


class Fires:
    """The watch of the cookbook, scene by scene."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        with engine.begin() as conn:
            self.revision = watches.apply(conn, make_watch(AOI)).revision_id

    def find(self, day: int) -> None:
        """Find the scene of a day of June 2025."""
        with self.engine.begin() as conn:
            ids = scenes.upsert(conn, [make_scene(datetime(2025, 6, day, 10, tzinfo=UTC), AOI)])
            observations.enqueue(conn, self.revision, MODEL, ids)

    def lease(self) -> Any:
        """Lease the scene that waits."""
        with self.engine.begin() as conn:
            leased = ledger.lease(
                conn, worker="w", seconds=600, model_version=MODEL, watch=None, max_attempts=3
            )
        assert leased is not None
        return leased.observations[0].id

    def observe(self, day: int, shapes: Sequence[BaseGeometry], footprint: BaseGeometry = AOI) -> None:
        """Find, predict and track the scene of a day."""
        self.find(day)
        found = tuple(Detection("burned", shape, 0.9, compute_area_m2(shape)) for shape in shapes)
        one = self.lease()
        with self.engine.begin() as conn:
            ledger.save(conn, one, "w", ObservationResult(footprint, found, "", 1, 0, 1.0, 0, 0.0), {})
        track_ready(self.engine)


@pytest.fixture
def fires(engine: Engine) -> Fires:
    """The first fire on 2 June, grown on the 9th beside a second one, which is not found on the 23rd; the 16th shows
    the west only, the 25th is cloudy, and the 30th waits. Somebody confirms the first."""
    made = Fires(engine)
    with engine.begin() as conn:
        halves = [
            ("District 10", box(15.0, 46.0, 15.01, 46.1)),
            ("District 11", box(15.01, 46.0, 15.2, 46.1)),
        ]
        admin_areas.replace_layer(conn, "districts", [AdminArea(*one) for one in halves])
    made.observe(2, [FIRE])
    made.observe(9, [GROWN, SECOND])
    made.observe(16, [GROWN], WEST)
    made.observe(23, [GROWN])
    made.find(25)
    with engine.begin() as conn:
        ledger.skip(conn, made.lease(), "w", "cloudy: 0% of the area is clear")
    made.find(30)
    with engine.begin() as conn:
        (track,) = conn.execute(
            text("SELECT track_id FROM watch.objects_now ORDER BY area_m2 DESC LIMIT 1")
        ).scalars()
        reviews.decide(conn, track, reviews.Verdict.CONFIRMED, reviewer="ada", reason="seen from the road")
    return made


#: Areas of the first fire, of it once it has grown, and of the second one, square metres.
A0, A1, A2 = (compute_area_m2(shape) for shape in (FIRE, GROWN, SECOND))
_9TH = datetime(2025, 6, 9, 10, tzinfo=UTC)
#: Answer to each question: some columns, and their values row by row.
ANSWERS: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "Which objects are in a box now?": (
        "target area_m2 last_change", [("burned", A1, "grew"), ("burned", A2, "appeared")]
    ),
    "Which objects are within 500 m of a place, the nearest first?": (
        "status area_m2 distance_m", [("confirmed", A1, 0.0)]
    ),
    "What was there on a day?": ("area_m2 valid_from", [(A1, _9TH), (A2, _9TH)]),
    # all of it was recorded this year
    "What do we know today about that day that we did not know then?": (
        "known_then_m2 known_now_m2", [(None, A1), (None, A2)]
    ),
    "What is the history of one object, as it is known today?": (
        "change area_m2 alive", [("appeared", A0, True), ("grew", A1, True), (None, A1, True), (None, A1, True)]
    ),
    "What changed in an area in a month?": (
        "kind valid_at before_m2 after_m2", [("appeared", _9TH, 0.0, A2), ("grew", _9TH, A0, A1)]
    ),
    "How sure is segwatch of what changed?": ("kind status observations_for", [("grew", "confirmed", 2)]),
    "What changed in a box in the last scene, the largest first?": ("kind", []),
    "How much did each kind of change add and take away in a month?": (
        "kind status changes gained_m2 lost_m2",
        [("appeared", "provisional", 1, A2, 0.0), ("grew", "confirmed", 1, A1 - A0, 0.0)],
    ),
    "How large was the area at the end of each week?": (
        "coverage confirmed_m2 provisional_m2 confirmed_objects provisional_objects",
        [("seen", A0, 0.0, 1, 0), ("seen", A1 + A2, 0.0, 2, 0), ("seen", A1 + A2, 0.0, 2, 0), ("seen", A1, A2, 1, 1)],
    ),
    "How large is it really, with an interval?": ("mapped_m2 adjusted_m2 accuracy", [(A1 + A2, None, "not assessed")]),
    "Which districts are hit most?": (
        "admin_area coverage confirmed_m2 provisional_m2",
        [("District 10", "seen", A1, 0.0), ("District 11", "seen", 0.0, A2)],
    ),
    "How did one district develop?": (
        "coverage confirmed_m2 more_than_last_week_m2",
        [("seen", 0.0, None), ("seen", A2, A2), ("not seen", A2, 0.0), ("seen", 0.0, -A2)],
    ),
    "How much burned in each week, by the changes of a box?": ("changes hectares", [(2, (A1 - A0 + A2) / 10_000)]),
    "When was a place last seen clearly?": ("acquired_at", [(datetime(2025, 6, 23, 10, tzinfo=UTC),)]),
    "Which scenes gave no result, and why?": (
        "state reason", [("skipped", "cloudy: 0% of the area is clear"), ("pending", None)]
    ),
    # the change that alerted is the ground that the fire grew by, east of the place
    "Why is there no alert at this place?": (
        "answer", [("pending",), ("cloudy",), *[("below threshold",)] * 4]
    ),
    "How long does a scene take from acquisition to result?": ("month scenes", [(datetime(2025, 6, 1, tzinfo=UTC), 4)]),
    "What was said of alerts, and taken back?": ("rule kind correction", [("large", "grew", "confirmed")]),
    "Which objects did people review, and how?": ("verdict reason", [("confirmed", "seen from the road")]),
}  # fmt: skip
#: Questions whose order of rows is by id.
_BY_ID = ("Which objects are in a box now?", "What was there on a day?", "What do we know today about that day that we"
          " did not know then?", "What changed in an area in a month?")  # fmt: skip


def _rounded(row: tuple[Any, ...]) -> str:
    return str([round(one) if isinstance(one, float) else one for one in row])


def test_the_cookbook_answers_twenty_questions(fires: Fires, analyst_engine: Engine) -> None:
    assert len(QUERIES) == 20
    assert COOKBOOK.read_text(encoding="utf-8").count("```sql") == len(QUERIES)
    assert list(QUERIES) == list(ANSWERS)
    with analyst_engine.connect() as conn:
        for title, query in QUERIES.items():
            result = conn.execute(text(query.replace(":", "\\:")))
            names = list(result.keys())
            assert len(set(names)) == len(names), title
            columns, expected = ANSWERS[title]
            found = [tuple(getattr(row, name) for name in columns.split()) for row in result]
            if title in _BY_ID:
                found, expected = sorted(found, key=_rounded), sorted(expected, key=_rounded)
            assert len(found) == len(expected), title
            for row, wanted in zip(found, expected, strict=True):
                assert row == tuple(
                    pytest.approx(one, rel=1e-6, abs=0.01) if isinstance(one, float) else one
                    for one in wanted
                ), title


@pytest.mark.parametrize(("page", "query"), OTHERS)
def test_queries_of_other_pages_run(analyst_engine: Engine, page: str, query: str) -> None:
    with analyst_engine.connect() as conn:
        assert conn.execute(text(query)).all() == []
