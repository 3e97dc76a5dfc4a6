"""Coordinates as people type them: decimal degrees, or degrees, minutes and seconds."""

from __future__ import annotations

import re

_NUMBER = r"\d{1,3}(?:[.,]\d+)?"
_DECIMAL = re.compile(r"\s*([+-]?\d{1,3}(?:\.\d+)?)\s*(?:[,;]\s*|\s+)([+-]?\d{1,3}(?:\.\d+)?)\s*")
_SIDE = re.compile(
    rf"({_NUMBER})\s*°?\s*(?:(\d{{1,2}}(?:[.,]\d+)?)\s*['′]\s*)?(?:(\d{{1,2}}(?:[.,]\d+)?)\s*(?:[\"″]|'')\s*)?([NSEWO])",
    re.IGNORECASE,
)
MAX_LENGTH = 100


def parse_coordinates(given: str) -> tuple[float, float] | None:
    """Parse a point.

    ``46.12, 11.3`` is latitude and longitude. With letters the order does not matter: ``11.3E 46.12N``,
    ``46°7'12"N 11°18'E``; O is west.

    Returns
    -------
    tuple[float, float] or None
        Longitude and latitude, degrees (EPSG:4326); None if the text is no point on Earth.
    """
    if len(given) > MAX_LENGTH:
        return None
    decimal = _DECIMAL.fullmatch(given)
    if decimal is not None:
        lat, lon = float(decimal[1]), float(decimal[2])
        return _check(lon, lat)
    sides = list(_SIDE.finditer(given))
    rest = _SIDE.sub("", given).strip(" ,;")
    if len(sides) != 2 or rest:
        return None
    found = dict(_read_side(one) for one in sides)
    if set(found) != {"lon", "lat"}:
        return None
    return _check(found["lon"], found["lat"])


def _read_side(match: re.Match[str]) -> tuple[str, float]:
    degrees, minutes, seconds = (float((part or "0").replace(",", ".")) for part in match.groups()[:3])
    if minutes >= 60 or seconds >= 60:
        return "", 0.0
    letter = match[4].upper()
    value = degrees + minutes / 60 + seconds / 3600
    return ("lat" if letter in "NS" else "lon"), (-value if letter in "SWO" else value)


def _check(lon: float, lat: float) -> tuple[float, float] | None:
    return (lon, lat) if abs(lon) <= 180 and abs(lat) <= 90 else None
