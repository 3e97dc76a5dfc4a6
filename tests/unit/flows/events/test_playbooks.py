"""Playbooks: which events they are for, where they look, and which entries of feeds are one event."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import LineString, MultiPoint, Point, box
from shapely.geometry.base import BaseGeometry

from segwatch.flows.errors import ConfigError
from segwatch.flows.events import playbooks
from segwatch.geo.area import compute_area_m2
from segwatch.geo.errors import InvalidEvent
from segwatch.geo.events.area import compute_area
from segwatch.geo.events.document import read_events
from segwatch.geo.events.linking import group_same_events
from segwatch.geo.scenes import select_best_scene
from segwatch.geo.types.event import Event, EventKind, EventLevel
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.watch import AlertStatus
from tests.support.paths import DATA

FEEDS = DATA / "feeds"
WHEN = datetime(2024, 5, 25, tzinfo=UTC)
FLOOD = Event("a", "1", EventKind.FLOOD, "Flood", WHEN, Point(10.0, 45.0), level=EventLevel.ORANGE)


@cache
def shipped(name: str) -> playbooks.Playbook:
    return playbooks.find_playbook(playbooks.load_all(), name)


def test_every_kind_of_disaster_has_its_playbook() -> None:
    books = playbooks.load_all()
    kinds = [kind for one in books for kind in one.match.kinds]
    assert {one.name for one in books} == {
        "flood", "earthquake", "wildfire", "cyclone", "volcano", "landslide", "oil-spill",
    }  # fmt: skip
    assert sorted(kinds) == sorted(set(kinds)), "one playbook each"
    for one in books:
        watch = one.watch_over(box(0, 0, 1, 1), WHEN, "gdacs/1", one.sources[0])
        assert watch.tracking.gone_after == 1, "what is gone after a disaster is gone at the first look"
        assert {(rule.status, rule.confidence) for rule in watch.rules} == {(AlertStatus.PROVISIONAL, 0.0)}
        assert watch.priority > 100
        assert watch.schedule is not None
        assert (watch.start, watch.end) == (WHEN, WHEN + timedelta(days=one.days))


def test_a_rule_of_a_playbook_may_wait_for_confirmation() -> None:
    book = shipped("flood")
    rules = [{"name": "sure", "status": "confirmed"}, {"name": "fast"}]
    other = book.model_copy(update={"watch": {**book.watch, "rules": rules}})
    watch = other.watch_over(box(0, 0, 1, 1), WHEN, "gdacs/1", book.sources[0])
    assert [(rule.status.value, rule.confidence) for rule in watch.rules] == [
        ("confirmed", 0.8),
        ("provisional", 0),
    ]


def test_shipped_playbooks_prefer_what_shows_most() -> None:
    order = {one.name: [source.profile for source in one.sources] for one in playbooks.load_all()}
    assert order["flood"][-1] == "sentinel1-rtc-planetary", "through cloud, when photographs show nothing"
    assert order["oil-spill"][0] == "sentinel1-rtc-planetary", "oil is seen by it"
    for name in ("earthquake", "landslide"):
        assert order[name][:2] == ["maxar-open-data", "openaerialmap"]
        assert order[name][2:] == ["sentinel2-l2a-earthsearch", "sentinel2-l2a-planetary"]
    for book in playbooks.load_all():
        for source in book.sources:
            watch = book.watch_over(box(10, 45, 10.1, 45.1), WHEN, "gdacs/1", source)
            assert ("radar" in watch.instruction.text) == source.profile.startswith("sentinel1")
            assert source.only_after == (watch.profile.gsd_m < 1), "nobody knows whether it will be taken"
            assert source.only_after == (source.largest_km2 is not None)


@pytest.mark.parametrize(
    ("event", "matches"),
    [
        (FLOOD, True),
        (replace(FLOOD, level=EventLevel.RED), True),
        (replace(FLOOD, level=EventLevel.YELLOW), False),
        (replace(FLOOD, level=None), False),
        (replace(FLOOD, cancelled=True), False),
        (replace(FLOOD, kind=EventKind.DROUGHT), False),
    ],
)
def test_matching(event: Event, matches: bool) -> None:
    assert shipped("flood").matches(event) is matches


def test_bounds_on_what_a_feed_does_not_say_match_nothing() -> None:
    book = shipped("flood")
    bounds = {"min_magnitude": 6.0, "min_population": 1000}
    for name, value in bounds.items():
        strict = book.model_copy(update={"match": book.match.model_copy(update={name: value})})
        assert not strict.matches(FLOOD)
    there = book.model_copy(
        update={"match": book.match.model_copy(update={"regions": ((9.0, 44.0, 11.0, 46.0),)})}
    )
    assert there.matches(FLOOD)
    assert not there.matches(replace(FLOOD, geometry=Point(0, 0)))


@pytest.mark.parametrize(
    ("region", "inside"),
    [
        ((175.0, -20.0, -175.0, -10.0), True),
        ((175.0, -20.0, 185.0, -10.0), True),
        ((-180.0, -20.0, -175.0, -10.0), True),
        ((-180.0, -90.0, 180.0, 90.0), True),
        ((-175.0, -20.0, 175.0, -10.0), False),
        ((170.0, -20.0, 175.0, -10.0), False),
    ],
)
@pytest.mark.parametrize(
    "place", [Point(180, -17), Point(-180, -17), MultiPoint([(179.9, -17), (-179.9, -17)])]
)
def test_regions_across_180_degrees(
    region: tuple[float, float, float, float], inside: bool, place: BaseGeometry
) -> None:
    book = shipped("flood")
    there = book.model_copy(update={"match": book.match.model_copy(update={"regions": (region,)})})
    assert there.matches(replace(FLOOD, geometry=place)) is inside


def test_no_magnitude_is_not_a_magnitude_of_zero() -> None:
    book = shipped("flood")
    weak = book.model_copy(update={"match": book.match.model_copy(update={"min_magnitude": -1.0})})
    assert not weak.matches(FLOOD)
    assert weak.matches(replace(FLOOD, magnitude=0.0))


def test_recorded_events_start_the_right_playbooks() -> None:
    started: dict[str, set[EventKind]] = {}
    for file in sorted(FEEDS.iterdir()):
        if file.suffix == ".md":
            continue
        for event in read_events(file.read_bytes(), "feed"):
            if isinstance(event, Event):
                for book in playbooks.load_all():
                    if book.matches(event):
                        started.setdefault(book.name, set()).add(event.kind)
    assert started.keys() >= {"wildfire", "earthquake"}
    assert all(len(kinds) == 1 for kinds in started.values())


def document(**more: Any) -> dict[str, Any]:
    path = Path(playbooks.__file__).parent / "playbooks_data" / "flood.yaml"
    return {**yaml.safe_load(path.read_text(encoding="utf-8")), **more}


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        ({"match": {"kinds": ["meteor"]}}, "match.kinds.0"),
        ({"radius_km": -1}, "radius_km"),
        ({"match": {"kinds": ["flood"], "regions": [[10, 46, 11, 45]]}}, "match.regions.* is not west"),
        ({"match": {"kinds": ["flood"], "regions": [[500, 45, 501, 46]]}}, "in degrees"),
        ({"radius_km": 300}, "radius_km: .* circle 600 km wide .* at most 240"),
        ({"sources": []}, "sources"),
        ({"sources": [{"profile": "nowhere"}]}, "nowhere"),
        ({"watch": {"instruction": "x"}}, "instruction"),
        ({"watch": {"instruction": "segment the water", "colour": 1}}, "colour"),
        ({"area": {"shake_intensity": 6}}, "only earthquakes"),
        ({"match": {"kinds": ["earthquake"]}, "area": {"shake_intensity": 60}}, "area.shake_intensity"),
        ({"surprise": 1}, "surprise"),
        ({"match": {"kinds": ["flood"], "min_levl": "red"}}, r"match\.min_levl: .*did you mean min_level\?"),
        ({"watch": {"instruction": "segment the water", "shedule": "0 * * * *"}}, "did you mean schedule"),
        ({"watch": {"instruction": "segment the water", "schedule": "0 0 31 2 *"}}, "never fires"),
        (
            {"days": 5, "watch": {"instruction": "segment the water", "schedule": "0 6 1 * *"}},
            "may not fire during .* 12 days",
        ),
        ({"days": float("inf")}, "days"),
        ({"days": 1e9}, "days: .*3650"),
        ({"days": 0.001}, "days"),
    ],
)
def test_a_playbook_that_is_wrong_says_where(tmp_path: Path, more: dict[str, Any], hint: str) -> None:
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(document(**more)), encoding="utf-8")
    with pytest.raises(ConfigError, match=hint) as caught:
        playbooks.load_all(tmp_path)
    assert "p.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"\xff\xfe", "not UTF-8 text"),
        (b"name: [", "cannot be read as YAML"),
        (
            yaml.safe_dump(document(title="t")).replace("days: ", "days: 2024-02-30 #").encode(),
            "days: .*'2024-02-30'",
        ),
        (
            yaml.safe_dump(document(watch={"instruction": "segment \0 it"})).encode(),
            "instruction: a character that cannot be stored",
        ),
    ],
)
def test_a_playbook_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, hint: str) -> None:
    (tmp_path / "p.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=hint) as caught:
        playbooks.load_all(tmp_path)
    assert "p.yaml" in str(caught.value)


def test_two_playbooks_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(yaml.safe_dump(document()), encoding="utf-8")
    with pytest.raises(ConfigError, match="two playbooks"):
        playbooks.load_all(tmp_path)
    with pytest.raises(ConfigError, match="no such folder"):
        playbooks.load_all(tmp_path / "none")


@given(st.text(max_size=60), st.text(max_size=60))
@settings(deadline=None)
def test_watch_names_are_names_and_no_two_events_share_one(one: str, other: str) -> None:
    book = shipped("flood")
    name = playbooks.make_watch_name(book, one)
    assert book.watch_over(box(0, 0, 1, 1), WHEN, one, book.sources[0]).name == name
    assert (name == playbooks.make_watch_name(book, other)) == (one == other)


@pytest.mark.parametrize(
    "place",
    [
        Point(10, 45),
        Point(179.99, -17),
        Point(-179.95, 65),
        Point(30, 83),
        LineString([(10, 45), (10.5, 45)]),
    ],
)
def test_ground_around_a_place(place: Any) -> None:
    area = compute_area(replace(FLOOD, geometry=place), radius_km=10, largest_km2=5000)
    assert area.is_valid
    west, _, east, _ = area.bounds
    assert -180 <= west < east <= 180
    if place.geom_type == "Point":
        assert compute_area_m2(area) == pytest.approx(3.1416e8, rel=0.01)


def test_an_area_of_its_own_is_taken_and_an_absurd_one_refused() -> None:
    own = box(10, 45, 10.1, 45.1)
    assert compute_area(replace(FLOOD, geometry=own), radius_km=10, largest_km2=5000).equals(own)
    for absurd in (box(-180, -90, 180, 90), box(-170, -80, 170, 80), box(0, 0, 5, 5)):
        with pytest.raises(InvalidEvent, match="larger"):
            compute_area(replace(FLOOD, geometry=absurd), radius_km=10, largest_km2=5000)


def test_an_area_that_no_one_grid_holds_is_refused_and_the_largest_circle_is_not() -> None:
    long = replace(FLOOD, geometry=box(8, 45, 15.2, 45.05))
    with pytest.raises(InvalidEvent, match=r"measures 5\d\d km on a side, at most 500 km .* --area"):
        compute_area(long, radius_km=10, largest_km2=50_000)
    for place in (Point(15, 45), Point(17.99, 65), Point(179.9, -17)):
        area = compute_area(replace(FLOOD, geometry=place), radius_km=240, largest_km2=200_000)
        assert compute_area_m2(area) == pytest.approx(1.81e11, rel=0.01)


def test_entries_of_several_feeds_about_one_event_are_linked() -> None:
    near = replace(FLOOD, source="b", geometry=Point(10.5, 45.2), occurred_at=WHEN + timedelta(days=2))
    far = replace(FLOOD, source="b", external_id="2", geometry=Point(13.0, 45.0))
    late = replace(FLOOD, source="b", external_id="3", occurred_at=WHEN + timedelta(days=9))
    fire = replace(FLOOD, source="b", external_id="4", kind=EventKind.WILDFIRE)
    beside = replace(FLOOD, external_id="5", geometry=Point(10.1, 45.0))
    antipode = replace(FLOOD, source="b", external_id="6", geometry=Point(-170.0, -45.0))
    every = [late, near, fire, far, FLOOD, beside, antipode]
    groups = group_same_events(every)
    assert [FLOOD, near] in groups
    assert sum(len(one) for one in groups) == len(every)
    assert len(groups) == 6, "two entries of one feed are two events"
    track = replace(FLOOD, source="b", external_id="7", geometry=MultiPoint([(10, 45), (30, 60)]))
    assert [FLOOD, track] in group_same_events([FLOOD, track])


def scene(day: int, cloud: float, east: float = 1.0) -> Scene:
    item = Item(
        f"i{day}", "c", "", WHEN - timedelta(days=day), None, "p", "1", "", box(0, 0, east, 1), {},
        {"eo:cloud_cover": cloud},
    )  # fmt: skip
    return Scene("c", "p", "1", item.acquired_at.date(), item.acquired_at, (item,), item.footprint)


def test_the_best_picture_from_before_is_clear_whole_and_of_much_the_same_the_newest() -> None:
    area = box(0, 0, 1, 1)
    assert select_best_scene([scene(9, 0), scene(5, 3), scene(2, 60), scene(1, 0, east=0.5)], area) == scene(
        5, 3
    )
    assert select_best_scene([scene(9, 0), scene(5, 40)], area) == scene(9, 0)
    assert select_best_scene([], area) is None
