"""The main job through the Prefect deployment: from a STAC search to polygons, changes and delivered alerts."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image
from pyproj import CRS
from shapely import wkb
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from segwatch.geo.crs import to_crs
from tests.acceptance.conftest import COLOUR, System
from tests.support.made_scenes import MadeDate

UTM = CRS.from_epsg(32633)
HALF_PIXEL_M = 5.0
ALERTING = {
    "name": "any-change",
    "kinds": ["appeared", "grew", "shrank", "disappeared"],
    "channels": ["${SEGWATCH_RECEIVER_URL}/alerts"],
    "status": "provisional",
}


def metres(geometry: BaseGeometry) -> BaseGeometry:
    return to_crs(geometry, UTM)


def iou(one: BaseGeometry, other: BaseGeometry) -> float:
    return float(one.intersection(other).area / one.union(other).area)


def objects_at(system: System, watch: str, date: MadeDate) -> list[BaseGeometry]:
    rows = system.query(
        "SELECT geom FROM watch.objects_as_of(:at) WHERE watch = :watch", at=date.acquired_at, watch=watch
    )
    return [metres(wkb.loads(row["geom"], hex=True)) for row in rows]


def whole(shapes: list[BaseGeometry]) -> BaseGeometry:
    return shapely.union_all(shapes) if shapes else Polygon()


@pytest.fixture(scope="module")
def exact(system: System) -> str:
    """A watch observed once with the segmenter that knows the truth."""
    system.apply("exact", system.lakes, rules=[ALERTING])
    system.observe("exact", COLOUR)
    return "exact"


@pytest.fixture(scope="module")
def tiny(system: System) -> str:
    """A watch observed once with the shipped model, without workers, which would have to start again for it."""
    system.apply("tiny", system.lakes, min_polygon_m2=5000, tracking={"min_change_m2": 20_000})
    done = system.segwatch("run", "tiny")
    assert done.returncode == 0, done.stderr
    return "tiny"


def expected(system: System) -> dict[tuple[str, str], str]:
    """(day, lake) -> kind; see the default SeriesSpec."""
    days = [date.acquired_at.date().isoformat() for date in system.lakes.dates]
    return {
        (days[0], "growing"): "appeared",
        (days[0], "shrinking"): "appeared",
        (days[0], "steady"): "appeared",
        (days[1], "growing"): "grew",
        (days[1], "passing"): "appeared",
        (days[4], "shrinking"): "shrank",
        (days[5], "passing"): "disappeared",
    }


def lake_at(system: System, geometry: BaseGeometry) -> str:
    """Name of the lake whose largest extent a geometry lies in."""
    largest: dict[str, BaseGeometry] = {}
    for date in system.lakes.dates:
        for name, outline in date.lakes.items():
            if name not in largest or outline.area > largest[name].area:
                largest[name] = outline
    shares = {name: outline.intersection(geometry).area for name, outline in largest.items()}
    return max(shares, key=lambda name: shares[name])


def changes(system: System, watch: str) -> list[dict[str, Any]]:
    rows = system.query("SELECT * FROM watch.changes WHERE watch = :watch", watch=watch)
    return [row | {"lake": lake_at(system, wkb.loads(row["geom"], hex=True))} for row in rows]


def test_states_and_reasons(system: System, exact: str) -> None:
    rows = system.query(
        "SELECT acquired_at, state, reason FROM watch.coverage WHERE watch = :watch ORDER BY 1",
        watch=exact,
    )
    assert [row["state"] for row in rows] == ["observed"] * 3 + ["skipped"] + ["observed"] * 3
    assert rows[3]["reason"].startswith("cloudy: 0%")
    assert [row["acquired_at"] for row in rows] == [date.acquired_at for date in system.lakes.dates]


def test_outlines_are_exact_to_half_a_pixel(system: System, exact: str) -> None:
    for date in system.lakes.dates:
        found = objects_at(system, exact, date)
        truth = {name: metres(outline) for name, outline in date.lakes.items()}
        assert len(found) == len(truth), date.acquired_at
        for name, outline in truth.items():
            nearest = max(found, key=lambda one: float(one.intersection(outline).area))
            assert shapely.hausdorff_distance(nearest.boundary, outline.boundary) < HALF_PIXEL_M, name
            assert nearest.symmetric_difference(outline).area < 1e-4 * outline.area, name


def test_each_answer_has_a_picture_of_what_the_model_saw(system: System, exact: str) -> None:
    rows = system.query("SELECT * FROM watch.evidence WHERE watch = :watch ORDER BY acquired_at", watch=exact)
    assert len(rows) == 6
    for row in rows:
        assert row["item_hrefs"]
        with Image.open(system.stack.home / "evidence" / row["preview"]) as file:
            picture = np.moveaxis(np.asarray(file).astype(int), -1, 0)
        assert max(picture.shape[1:]) <= 768
        red, green, blue = picture
        assert ((red > 200) & (green < 120) & (blue < 120)).sum() > 20  # outlines of lakes
        assert (picture.min(axis=0) > 220).sum() > 20  # the border of the observed ground


def test_changes_are_those_on_the_ground(system: System, exact: str) -> None:
    rows = changes(system, exact)
    found = {(row["valid_at"].date().isoformat(), row["lake"]): row["kind"] for row in rows}
    assert found == expected(system)
    assert len(rows) == len(found)
    assert {row["lake"] for row in rows if row["baseline"]} == {"growing", "shrinking", "steady"}
    tracks = system.query("SELECT DISTINCT track_id FROM watch.object_history WHERE watch = :w", w=exact)
    assert len(tracks) == 4


def test_one_alert_for_each_change_but_the_baseline_and_each_arrived_once(system: System, exact: str) -> None:
    rows = system.query("SELECT * FROM watch.alerts WHERE watch = :watch", watch=exact)
    assert sorted(row["kind"] for row in rows) == ["appeared", "disappeared", "grew", "shrank"]
    assert all(row["delivered_at"] is not None for row in rows)
    mine = [one for one in system.received() if str(one).count(f"'{exact}'")]
    assert sum("'segwatch.alert'" in str(one) for one in mine) == len(rows)
    assert len(mine) <= 2 * len(rows), "one may follow each, once its change is confirmed or refuted"


def test_every_polygon_leads_back_to_its_imagery(system: System, exact: str) -> None:
    for row in system.query("SELECT item_hrefs, model FROM watch.objects_now WHERE watch = :w", w=exact):
        assert row["model"] == "colour@1"
        assert all(
            "/collections/made-lakes/items/made-lakes-2024-06-30" in href for href in row["item_hrefs"]
        )


def test_a_second_run_adds_no_row(system: System, exact: str, tiny: str) -> None:
    before, messages = system.counts(), len(system.received())
    again = system.segwatch("run", tiny)
    assert again.returncode == 0, again.stderr
    system.observe(exact, COLOUR)
    assert system.counts() == before
    assert len(system.received()) == messages


def test_the_shipped_model_finds_the_lakes(system: System, tiny: str) -> None:
    shares = []
    for date in system.lakes.dates:
        truth = [metres(outline) for outline in date.lakes.values()]
        found = whole(objects_at(system, tiny, date))
        shares.append(iou(found, whole(truth)))
        for outline in truth:
            near = whole([part for part in shapely.get_parts(found) if part.intersects(outline)])
            assert iou(near, outline) >= 0.7, (date.acquired_at, iou(near, outline))
    assert min(shares) >= 0.7, shares
    assert float(np.mean(shares)) >= 0.8, shares


def test_the_shipped_model_sees_the_changes(system: System, tiny: str) -> None:
    seen = {
        (row["valid_at"].date().isoformat(), row["lake"]): row["kind"]
        for row in changes(system, tiny)
        if max(row["before_m2"], row["after_m2"]) > 100_000
    }
    missing = {key: kind for key, kind in expected(system).items() if seen.get(key) != kind}
    assert missing == {}


def test_a_killed_run_is_finished_by_the_next(system: System, exact: str) -> None:
    system.apply("killed", system.lakes)
    environment = COLOUR | {"SEGWATCH_LEASE_SECONDS": "2"}
    with system.start("run", "killed", **environment) as run:
        while not system.query("SELECT 1 FROM watch.coverage WHERE watch = 'killed' AND state = 'inferred'"):
            assert run.poll() is None, "it ended before it could be killed"
        run.kill()
    states = system.query("SELECT state FROM watch.coverage WHERE watch = 'killed'")
    assert {row["state"] for row in states} != {"observed", "skipped"}
    time.sleep(2.1)  # until the dead worker's lease has run out
    done = system.segwatch("run", "killed", **environment)
    assert done.returncode == 0, done.stderr
    assert _what_happened(system, "killed") == _what_happened(system, exact)


def test_the_job_also_runs_in_one_process(system: System, exact: str) -> None:
    system.apply("in-process", system.lakes, rules=[ALERTING | {"channels": []}])
    done = system.segwatch("run", "in-process", "--json", **COLOUR)
    assert done.returncode == 0, done.stderr
    assert _what_happened(system, "in-process") == _what_happened(system, exact)


def _what_happened(system: System, watch: str) -> list[tuple[str, str, float]]:
    return sorted((row["kind"], str(row["valid_at"]), row["after_m2"]) for row in changes(system, watch))


def test_from_and_to_narrow_the_run(system: System) -> None:
    system.apply("narrow", system.lakes)
    done = system.segwatch("run", "narrow", "--from", "2024-05-05", "--to", "2024-05-25", **COLOUR)
    assert done.returncode == 0, done.stderr
    rows = system.query("SELECT acquired_at FROM watch.coverage WHERE watch = 'narrow' ORDER BY 1")
    assert [row["acquired_at"] for row in rows] == [date.acquired_at for date in system.lakes.dates[1:3]]
