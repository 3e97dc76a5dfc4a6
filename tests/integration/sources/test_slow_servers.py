"""Servers that send slowly, without end, or not HTTP are given up in time, with a reason."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime

import pytest
from shapely.geometry import box

from segwatch.geo.errors import CatalogUnreachable, ReadFailed
from segwatch.geo.sources import profiles
from segwatch.geo.sources.http import range_requests
from segwatch.geo.sources.rasters.pixels import read_scene
from segwatch.geo.sources.search import catalog, item_search
from segwatch.geo.types.scene import Item, Scene
from tests.support import behaving as ways
from tests.support.behaving import Behaviour, behaving
from tests.support.images import GRID

#: Far above the limits set below, far below the time that the servers would take.
PATIENCE_SECONDS = 20.0
EVERYWHERE, ALWAYS = (
    box(-170, -80, 170, 80),
    (datetime(2000, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)),
)
WAYS = [ways.dripping_headers, ways.dripping_body, ways.endless_headers, ways.endless_body, ways.no_http]


@pytest.mark.parametrize("way", WAYS, ids=lambda one: one.__name__)
def test_a_slow_catalog_is_given_up(way: Behaviour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_RESPONSE_SECONDS", 2.0)
    monkeypatch.setattr(catalog, "_MAX_CONNECT_ATTEMPTS", 2)

    def look(url: str) -> None:
        with pytest.raises(CatalogUnreachable):
            list(item_search.search(url, profiles.load("rgb-cog"), EVERYWHERE, *ALWAYS))

    with behaving(way) as server:
        begun = time.monotonic()
        look(server.url)
        assert time.monotonic() - begun < PATIENCE_SECONDS


@pytest.mark.parametrize("way", WAYS, ids=lambda one: one.__name__)
def test_a_slow_file_is_given_up(way: Behaviour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_requests, "_REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(range_requests, "_MAX_ATTEMPTS", 2)

    def look(url: str) -> None:
        square = box(0, 0, 1, 1)
        now = datetime.now(UTC)
        item = Item("one", "visual", url, now, None, "made", "1", "", square, {"visual": f"{url}/a.tif"})
        scene = Scene("visual", "made", "1", date(2024, 5, 1), now, (item,), square)
        with pytest.raises(ReadFailed):
            read_scene(scene, profiles.load("rgb-cog"), GRID, allowed_hosts=["127.0.0.1:*"])

    with behaving(way) as server:
        begun = time.monotonic()
        look(server.url)
        assert time.monotonic() - begun < PATIENCE_SECONDS
