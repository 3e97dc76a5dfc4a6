"""Small scenes of lakes that come and go, in a catalog and on a server of imagery that fail when told to."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

import numpy as np
from shapely.geometry import box, mapping

from segwatch.geo.crs import to_lonlat
from segwatch.geo.grid import get_crs
from segwatch.geo.sources import profiles
from segwatch.geo.types.tracking import ChangeKind
from segwatch.geo.types.watch import AlertRule, Instruction, TrackingSettings, Watch
from tests.support.images import GRID, tiff
from tests.support.serving import Answer, serving_files
from tests.support.stac_store import Store, stac_store

_BEGAN = datetime(2024, 1, 1, 10, tzinfo=UTC)
_FOOTPRINT = to_lonlat(box(*GRID.boundingbox), get_crs(GRID))
_AREA = to_lonlat(box(*GRID.boundingbox).buffer(-20), get_crs(GRID))
#: The colour that :class:`tests.support.colour_segmenter.Well` knows, and that of the meadow.
_WATER, _MEADOW = (10, 20, 30), (120, 160, 90)
#: (row, column) of the corner of each lake, 11 pixels wide.
_LAKES = ((4, 4), (4, 24), (24, 4), (24, 24))
_SIDE_PX = 11


@dataclass
class Breaker:
    """How many of the next requests fail, and how; safe to use from threads."""

    _left: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def fail_next(self, how: str, count: int) -> None:
        """Let the next requests fail: ``error`` = status 500, ``cut`` = the body ends early."""
        with self._lock:
            self._left.extend([how] * count)

    def take(self) -> str | None:
        """Take how the current request fails; None = it does not."""
        with self._lock:
            return self._left.pop() if self._left else None

    def heal(self) -> None:
        """Let nothing fail any more."""
        with self._lock:
            self._left.clear()


class Catalog(Store):
    """A STAC API of several collections, one for each watch, of which the first ``visible`` items can be found."""

    def __init__(self, breaker: Breaker) -> None:
        super().__init__(fault=lambda _: _break(breaker.take()))
        self.visible = 0

    def page(self, body: dict[str, Any], base: str) -> dict[str, Any]:
        """See :class:`tests.support.stac_store.Store`."""
        shown = list(self.items.items())[: self.visible]
        wanted = set(body.get("collections", ()))
        held = {name: item for name, item in shown if item["collection"] in wanted}
        return Store(items=held).page(body, base)


@dataclass(frozen=True)
class World:
    """A running catalog with imagery, and what fails of it."""

    catalog: Catalog
    catalog_breaker: Breaker
    imagery_breaker: Breaker
    watches: tuple[Watch, ...]


@contextmanager
def serving_world(scenes: int, watches: int, receiver: str, seed: int) -> Iterator[World]:
    """Serve scenes, shared out among watches, with alerts to a receiver; nothing is visible yet."""
    pictures = {f"/{number}.tif": _picture(number) for number in range(2 ** len(_LAKES))}
    catalog_breaker, imagery_breaker = Breaker(), Breaker()

    def break_imagery(_: int, right: Answer) -> Answer:
        return _break(imagery_breaker.take(), right) or right

    with serving_files(pictures, break_imagery) as files:
        catalog = Catalog(catalog_breaker)
        # a lake stays for some scenes: what is seen once only is never confirmed
        chance, shown = random.Random(seed), [0] * watches  # noqa: S311
        for number in range(scenes):
            site, day = number % watches, number // watches
            if day % 4 == 2:
                shown[site] ^= 1 << chance.randrange(len(_LAKES))
            item = _item(f"site-{site}", day, f"{files.url}/{shown[site]}.tif")
            catalog.items[item["id"]] = item
        with stac_store(catalog) as url:
            made = tuple(_watch(f"site-{site}", url, receiver) for site in range(watches))
            yield World(catalog, catalog_breaker, imagery_breaker, made)


def _break(how: str | None, right: Answer | None = None) -> Answer | None:
    """Return the response of a failure; None = none."""
    if how is None:
        return None
    if how == "error":
        return 500, {}, b"the server failed"
    status, headers, body = right or (200, {}, json.dumps({"type": "FeatureCollection"}).encode())
    return status, headers | {"content-length": str(len(body))}, body[: len(body) // 2]


def _picture(lakes: int) -> bytes:
    """Make a GeoTIFF whose lakes are the bits of a number."""
    noise = np.random.default_rng(7).integers(0, 4, (GRID.height, GRID.width))
    bands = np.stack([noise + value for value in _MEADOW])
    for number, (row, column) in enumerate(_LAKES):
        if lakes >> number & 1:
            window = np.s_[row : row + _SIDE_PX, column : column + _SIDE_PX]
            for band, value in enumerate(_WATER):
                bands[band][window] = noise[window] + value
    return tiff(bands.astype("uint8"))


def _item(collection: str, day: int, href: str) -> dict[str, Any]:
    at = (_BEGAN + timedelta(days=day)).isoformat().replace("+00:00", "Z")
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"{collection}-{day:04d}",
        "collection": collection,
        "geometry": mapping(_FOOTPRINT),
        "properties": {"datetime": at, "updated": at, "platform": "made-1"},
        "links": [],
        "assets": {"visual": {"href": href}},
    }


def _watch(name: str, catalog: str, receiver: str) -> Watch:
    profile = replace(profiles.load("rgb-cog"), collection=name)
    rule = AlertRule("any", tuple(ChangeKind), channels=(receiver,))
    return Watch(
        name, Instruction("the water", ("water",)), _AREA, profile, catalog, _BEGAN,
        tracking=TrackingSettings(gone_after=1, min_change_m2=1000.0), rules=(rule,),
    )  # fmt: skip
