"""Tables in Python: the same columns, dtypes and rows from the database and over HTTP, and what they are worth."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import geopandas
import httpx
import numpy as np
import pandas as pd
import pytest
import shapely
from pandas.testing import assert_frame_equal
from sqlalchemy import Engine, text

import segwatch
from segwatch.client.columns import DOCUMENTED, GEOMETRY, TABLES
from segwatch.db import reviews
from segwatch.db.engine import make_engine
from segwatch.flows.web.application import create_app
from tests.conftest import Database
from tests.integration.client.conftest import Ground
from tests.invariants.conftest import SceneContent, cells, day
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too
from tests.support.live_web import live
from tests.support.shown_series import SPEC, WATCH

#: SQL types that each dtype of a column may come from.
_SQL_TYPES = {
    "string": {"text", "uuid", "date"},
    "datetime64[us, UTC]": {"timestamp with time zone"},
    "Int64": {"integer", "bigint"},
    "boolean": {"boolean"},
    "float64": {"double precision"},
    "object": {"text[]", "jsonb"},
    "geometry": {"geometry(Geometry,4326)", "geometry"},
}
_COLUMNS = text(
    "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
    " WHERE attrelid = to_regclass('watch.' || :view) AND attnum > 0 AND NOT attisdropped"
)
_SMALL, _LARGE, _FAR = cells(1, 1, 2, 2), cells(1, 1, 4, 4), cells(6, 6, 7, 7)


def _dtypes(frame: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(dtype) for name, dtype in frame.dtypes.items()}


@pytest.mark.parametrize("name", TABLES)
def test_both_ways_give_the_documented_columns_and_equal_rows(
    session: segwatch.Session, web_session: segwatch.Session, name: str
) -> None:
    ours, theirs = (getattr(one, name)(WATCH) for one in (session, web_session))
    promised = {column: kind.dtype for column, kind in TABLES[name].columns.items()}
    assert _dtypes(ours) == _dtypes(theirs) == promised
    assert ours.crs == theirs.crs == "EPSG:4326"
    pd.testing.assert_frame_equal(
        pd.DataFrame(ours.drop(columns="geom")), pd.DataFrame(theirs.drop(columns="geom"))
    )
    assert len(ours) > 0
    moved = shapely.hausdorff_distance(ours.geom.array, theirs.geom.array)
    assert np.nanmax(moved) < 1e-8, "nine decimals over HTTP"
    nothing = {"bbox": (0, 0, 1, 1)}
    for one in (session, web_session):
        empty = getattr(one, name)(WATCH, **nothing)
        assert (len(empty), _dtypes(empty), empty.crs) == (0, promised, ours.crs)
    parts = [list(one.pages(name, WATCH, rows=2)) for one in (session, web_session)]
    for pages in parts:
        assert max(map(len, pages)) <= 2
        assert sum(map(len, pages)) == len(ours)
        assert _dtypes(pages[0]) == promised
    for column, kind in TABLES[name].columns.items():
        if kind.unit == "0..1":
            assert ours[column].dropna().between(0, 1).all()
        if kind.unit == "UTC":
            assert ours[column].dt.tz is not None


def test_every_documented_column_is_one_of_its_view(ground: Ground) -> None:
    """The dtype follows from the type of the view's column; objects_as_of is a function, read by the tests below."""
    engine = make_engine(ground.database.url())
    with engine.connect() as conn:
        for name, table in DOCUMENTED.items():
            found = {row[0]: row[1] for row in conn.execute(_COLUMNS, {"view": table.view})}
            wrong = [
                column
                for column, kind in table.columns.items()
                if found and found.get(column) not in _SQL_TYPES[kind.dtype]
            ]
            assert wrong == [], name
            assert GEOMETRY in table.columns.values()
    engine.dispose()


def test_areas_are_geodesic_square_metres_of_the_ground(session: segwatch.Session, ground: Ground) -> None:
    truth = ground.shown.made.dates[-1].lakes
    objects = session.objects(WATCH)
    in_metres = sum(geopandas.GeoSeries(list(truth.values()), crs=4326).to_crs(32633).area)
    assert objects.area_m2.sum() == pytest.approx(in_metres, rel=0.002), (
        "UTM enlarges by 0.08 % at its meridian"
    )
    summed = session.areas(WATCH)
    assert _dtypes(summed)["acquired_at"] == "datetime64[us, UTC]"
    assert list(summed.objects) == [2, 2, 2, 3, 3]
    assert list(summed.clear_share.round(1)) == [1, 1, 0.5, 1, 1]
    assert summed.area_m2.iloc[-1] == pytest.approx(objects.area_m2.sum())
    assert (summed.confirmed_m2 <= summed.area_m2).all()


def test_every_table_says_what_it_is_worth(
    session: segwatch.Session, web_session: segwatch.Session, ground: Ground
) -> None:
    for one in (session, web_session):
        facts = one.objects(WATCH).attrs
        assert facts["accuracy"].startswith("water: assessed on ")
        assert (facts["model"], facts["is_demonstration_model"]) == ("colour@1", False)
        assert facts["units"]["area_m2"] == "m2, geodesic"
        assert json.loads(json.dumps(facts)) == facts, "formats that keep attrs need JSON"
        assessed = one.accuracy(WATCH).set_index("measure")
        area = assessed.loc["area_m2"]
        assert area.low <= area.value <= area.high
        assert area.mapped_m2 == pytest.approx(session.objects(WATCH).area_m2.sum())
        assert assessed.loc["users"].high == 1.0
    assert one.watches().attrs["units"]["gsd_m"] == "m"


def test_an_object_is_followed_look_by_look(session: segwatch.Session, web_session: segwatch.Session) -> None:
    objects = session.objects(WATCH)
    grown = objects[objects.last_change == "grew"].iloc[0]
    for one in (session, web_session):
        looks = one.history(grown)
        assert len(looks) == len(SPEC.days), "one row a look, in order"
        assert looks.valid_from.is_monotonic_increasing
        assert list(looks.change.fillna("")) == ["appeared", "", "", "grew", ""]
        assert looks.area_m2.iloc[3] > 1.5 * looks.area_m2.iloc[2]
        assert looks.confidence.between(0, 1).all()
        assert all(links[0].startswith("http") for links in looks.item_hrefs)
        assert len(one.history(grown.track_id)) == len(looks)


def test_what_was_there_and_what_was_known_then(
    ledgers: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledgers().arrive([SceneContent(()), SceneContent((_SMALL,)), SceneContent((_LARGE,))], [0, 1, 2])
    monkeypatch.setenv("SEGWATCH_ANALYST_URL", database.url("segwatch_analyst"))
    with segwatch.connect() as s:
        assert s.objects("lakes").geometry.iloc[0].equals(_LARGE)
        (before,) = s.objects("lakes", at=day(1)).geometry
        assert before.equals(_SMALL)
        # a date means its whole day, as on the command line
        for whole_day in (f"{day(2):%Y-%m-%d}", f"{day(2):%Y%m%d}", day(2).date()):
            assert s.objects("lakes", at=whole_day).geometry.iloc[0].equals(_LARGE)
        assert s.objects("lakes", at=f"{day(2):%Y-%m-%d}T00:00").geometry.iloc[0].equals(_SMALL)
        early = s.objects("lakes", at=pd.Timestamp(day(1)), known_at=day(1))
        assert early.empty
        assert _dtypes(early) == {
            name: kind.dtype for name, kind in DOCUMENTED["objects(watch, at=...)"].columns.items()
        }
        assert list(s.changes("lakes").kind) == ["appeared", "grew"]
        assert list(s.changes("lakes", start=day(2)).kind) == ["grew"]
        assert list(s.changes("lakes", end="2024-01-03").kind) == ["appeared"]
        assert list(s.alerts("lakes").kind) == ["appeared", "grew"]
        assert set(s.states("lakes").valid_from) == {day(1), day(2)}
        assert list(s.coverage("lakes").state) == ["observed"] * 3
        west, south, east, north = _SMALL.bounds
        assert len(s.objects("lakes", bbox=(west, south, east, north))) == 1
        assert s.objects("lakes", bbox=(170, south, -170, north)).empty, "a box across the antimeridian"
        assert s.objects("lakes").attrs["accuracy"] == "not assessed"
        with pytest.raises(segwatch.errors.BadRequest, match="known_at needs at"):
            s.objects("lakes", known_at=day(1))


def test_objects_of_a_time_over_http_are_those_of_the_database(ledgers: Any, database: Database) -> None:
    small = tuple(cells(column, row, column + 0.5, row + 0.5) for column in range(5) for row in (1, 3))
    ledgers().arrive([SceneContent(()), SceneContent(small), SceneContent((*small[1:], _FAR))], [0, 1, 2])
    url = database.url("segwatch_analyst")
    west, south, east, north = small[0].bounds
    with segwatch.connect(url) as direct, live(create_app(url)) as address, segwatch.connect(address) as web:
        for asked in (
            {"at": day(1)}, {"at": day(2)}, {"at": day(0)}, {"at": day(1), "known_at": day(0)},
            {"at": day(1), "bbox": (west, south, east, north)}, {"at": "2030-01-01", "known_at": "2031-01-01"},
        ):  # fmt: skip
            one, other = direct.objects("lakes", **asked), web.objects("lakes", **asked)
            assert_frame_equal(
                pd.DataFrame(one.drop(columns="geom")), pd.DataFrame(other.drop(columns="geom"))
            )
            assert one.geom_equals_exact(other, 1e-9).all()
        assert len(direct.objects("lakes", at=day(1))) == len(small)
        query = {"watch": "lakes", "at": day(1).isoformat(), "limit": "3"}
        page = httpx.get(f"{address}/api/objects", params=query)
        first, seen = page.json(), page.json()["features"]
        # what is recorded between two pages changes neither
        with make_engine(database.url()).begin() as conn:
            reviews.decide(conn, UUID(seen[-1]["id"]), reviews.Verdict.REJECTED, reviewer="ada", reason="no")
        while "next" in page.links:
            page = httpx.get(page.links["next"]["url"])
            assert page.json()["known_at"] == first["known_at"]
            seen += page.json()["features"]
        assert [one["id"] for one in seen] == sorted(
            direct.objects("lakes", at=day(1), known_at=first["known_at"]).track_id
        )
        assert len(seen) == len(small)
        for wrong in (
            "at=x",
            "at=2024-01-02T00:00:00Z&bbox=1,2,3",
            "at=2024-01-02T00:00:00Z&after=x",
            "at=2024-01-02",
        ):
            assert httpx.get(f"{address}/api/objects?watch=lakes&{wrong}").status_code == 422, wrong


def test_a_watch_without_scenes_gives_empty_tables(ledgers: Any, database: Database) -> None:
    ledgers()
    with segwatch.connect(database.url("segwatch_analyst")) as s:
        for name, table in TABLES.items():
            assert _dtypes(getattr(s, name)("lakes")) == {
                one: kind.dtype for one, kind in table.columns.items()
            }
        assert s.areas("lakes").empty
        assert s.accuracy("lakes").empty
        assert s.objects("lakes").attrs["model"] is None
        cube = s.cube("lakes")
        assert cube.sizes["time"] == 0
        assert list(cube.target.values) == ["water"]


def test_values_that_are_hard_for_tables(ledgers: Any, database: Database, engine: Engine) -> None:
    """Nulls, also in whole numbers, and times beyond the calendar."""
    ledgers().arrive([SceneContent(()), SceneContent((_SMALL,))], [0, 1])
    with engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.observation SET committed_at = 'infinity'"))
    with segwatch.connect(database.url("segwatch_analyst")) as s:
        found = s.coverage("lakes")
        assert set(found.committed_at) == {datetime.max.replace(tzinfo=UTC)}
        assert found.tiles.dtype == "Int64"
        assert found.compute_seconds.dtype == "float64"
        assert found.superseded_at.isna().all()
