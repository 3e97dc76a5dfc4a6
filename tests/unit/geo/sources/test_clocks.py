"""Impossible times of catalogs and servers do not affect later items."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from segwatch.geo.errors import BadItem
from segwatch.geo.items import parse_item, parse_time_and_footprint
from segwatch.geo.scenes import select_newest
from segwatch.geo.sources import profiles
from segwatch.geo.sources.http import headers, signatures
from segwatch.geo.sources.search.watermark import UpdateTimes, advance, plan_searches
from segwatch.geo.types.scene import Watermark
from tests.support.hostile_shapes import as_geojson, knot

PROFILE = profiles.load("local-sentinel2")
NOW = datetime.now(UTC)
BOX = {"type": "Polygon", "coordinates": [[[15, 46], [16, 46], [16, 47], [15, 47], [15, 46]]]}


def document(*, geometry: dict[str, Any] = BOX, **properties: Any) -> dict[str, Any]:
    assets = {name: {"href": f"https://example.org/{name}.tif"} for name in PROFILE.assets()}
    said = {"datetime": "2024-05-01T10:00:00Z"} | properties
    return {
        "type": "Feature",
        "id": "one",
        "collection": PROFILE.collection,
        "geometry": geometry,
        "properties": said,
        "assets": assets,
    }


def test_a_self_crossing_footprint_is_rejected() -> None:
    begun = time.monotonic()
    with pytest.raises(BadItem, match="cross each other"):
        parse_item(document(geometry=as_geojson(knot(6000))), PROFILE)
    assert time.monotonic() - begun < 20


def test_an_item_of_the_future_is_rejected_with_its_time() -> None:
    found = document(datetime="2099-01-01T00:00:00Z")
    with pytest.raises(BadItem, match=r"2099-01-01.* is in the future"):
        parse_item(found, PROFILE)
    assert parse_time_and_footprint(found)[0] == datetime(2099, 1, 1, tzinfo=UTC)
    tomorrow = (NOW + timedelta(hours=14)).isoformat()
    parse_item(document(datetime=tomorrow), PROFILE)


def test_an_update_time_in_the_future_does_not_supersede_later_updates() -> None:
    bogus = parse_item(document(updated="2099-01-01T00:00:00Z"), PROFILE)
    assert bogus.updated_at == datetime(2099, 1, 1, tzinfo=UTC)
    later = parse_item(document(updated=(NOW + timedelta(hours=1)).isoformat()), PROFILE)
    assert select_newest([bogus, later]) == select_newest([later, bogus]) == [later]


def test_one_item_of_the_future_moves_no_watermark() -> None:
    updated = UpdateTimes()
    seen = NOW - timedelta(hours=3)
    for moment in (seen, NOW + timedelta(days=3650)):
        updated.add(moment, NOW)
    start = NOW - timedelta(days=30)
    (look,) = plan_searches(Watermark(), PROFILE, start, NOW, NOW)
    mark = advance(Watermark(), look, updated, last=True, now=NOW)
    assert mark == Watermark(NOW, None, seen)


def test_a_watermark_in_the_future_is_due() -> None:
    ahead = NOW + timedelta(days=3650)
    (look,) = plan_searches(Watermark(ahead, None, ahead), PROFILE, NOW - timedelta(days=30), NOW, NOW)
    assert look.reconciles


@pytest.mark.parametrize("digits", ["9" * 5000, "9" * 400, "\u0663" * 5])
def test_numbers_in_headers_have_a_maximum_length(digits: str) -> None:
    assert headers.parse_length({"content-length": digits}) is None
    found = headers.parse_content_range(f"bytes 0-1/{digits}")
    assert found is None or found.size == int(digits)
    assert 0.0 <= headers.parse_retry_after({"retry-after": digits}, NOW) <= 366 * 86400


@pytest.mark.parametrize("zone", ["-0500", "+0500"])
def test_dates_beyond_the_calendar_are_none(zone: str) -> None:
    for date in (f"Fri, 31 Dec 9999 23:59:59 {zone}", f"Mon, 01 Jan 0001 00:00:00 {zone}"):
        moment = headers.parse_date(date)
        assert moment is None or moment.tzinfo is UTC


@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-Date=99991231T235959Z&X-Amz-Expires=999999999",
        "X-Amz-Date=20240101T000000Z&X-Amz-Expires=" + "9" * 5000,
        "sig=a&se=9999-12-31T23:59:59-05:00",
        "Signature=a&Expires=" + "9" * 5000,
    ],
)
def test_expiries_beyond_the_calendar_are_none(query: str) -> None:
    assert signatures.parse_expiry(f"https://example.org/a.tif?{query}") is None
