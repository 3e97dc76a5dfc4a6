"""A briefing as GeoPackage: objects at the later time, changes, and the ground that was not seen."""

from __future__ import annotations

from pathlib import Path

import shapely
from sqlalchemy import Engine

from segwatch.flows.export import gdal, tables
from segwatch.flows.export.places import write_whole
from segwatch.flows.report.briefing import Briefing
from segwatch.flows.runtime.extras import require_extras
from segwatch.geo.area import compute_area_m2, extract_polygons


def write_geopackage(engine: Engine, briefing: Briefing, target: Path) -> None:
    """Write the layers ``objects``, ``changes`` and ``not_seen``; the file appears whole or not at all.

    Raises
    ------
    ConfigError
        The extra ``analysis`` is not installed.
    """
    require_extras("a GeoPackage", "analysis")
    at = briefing.request.until
    with write_whole(target) as made:
        for number, changes in enumerate((False, True)):
            request = tables.Request(briefing.request.watch, changes=changes, at=at)
            tables.add_layer(engine, request, made, append=number > 0)
        _write_unseen(briefing, made)


def _write_unseen(briefing: Briefing, target: Path) -> None:
    import pyarrow as pa

    after = briefing.after
    parts = extract_polygons(after.unseen if after else briefing.area)
    table = pa.table(
        {
            "watch": pa.array([briefing.request.watch] * len(parts), pa.string()),
            "since": pa.array(
                [briefing.period.before if briefing.period else None] * len(parts), pa.timestamp("us", "UTC")
            ),
            "until": pa.array([briefing.moment] * len(parts), pa.timestamp("us", "UTC")),
            "area_m2": pa.array([compute_area_m2(one) for one in parts], pa.float64()),
            "geometry": pa.array([shapely.to_wkb(shapely.MultiPolygon([one])) for one in parts], pa.binary()),
        }
    )
    metadata = {"software": "segwatch", "meaning": "ground of the area that no scene has shown in the period"}
    gdal.write_layer(table.to_reader(), target, gdal.GEOPACKAGE, metadata, layer="not_seen", append=True)
