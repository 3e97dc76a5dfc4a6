"""Nobody but ``geo/antimeridian.py`` takes bounds, centres or hulls of geometry that may be split at 180 degrees."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.support.paths import ROOT

HOME = "geo/antimeridian.py"
#: Of shapely, as attributes of geometries or as functions.
MEASURES = frozenset(
    (
        *("bounds", "total_bounds", "centroid", "representative_point", "point_on_surface", "convex_hull"),
        *("concave_hull", "envelope", "buffer", "minimum_rotated_rectangle", "oriented_envelope"),
        *("minimum_bounding_circle", "minimum_clearance"),
    )
)
SQL = re.compile(
    r"\bST_(?:[XY]M(?:in|ax)|3?D?Extent|EstimatedExtent|Envelope|MakeEnvelope|MakeBox2D|Expand|Centroid|PointOnSurface"
    r"|GeometricMedian|ConvexHull|Buffer|OrientedEnvelope|MinimumBoundingCircle|X|Y)\b",
    re.IGNORECASE,
)
#: Where it is right all the same, and why. Whoever adds a place says why, or uses ``geo/antimeridian.py``.
ALLOWED = {
    "geo/area.py:_cut_into_slices": "one polygon, which lies on one side; its width alone",
    "geo/grid.py:make_grid": "projected, in metres",
    "geo/chips.py": "projected, in metres",
    "geo/items.py:_footprint": "as received, before it is split: whether its numbers are degrees",
    "geo/bounded/__main__.py:main": "standard input and output",
    "geo/bounded/tasks.py:compute": "for those who call it",
    "geo/seams.py:_find_neighbours": "pixels",
    "geo/seams.py:touches_seam": "pixels",
    "geo/events/xml.py:buffer_metres": "projected, in metres",
    "geo/events/linking.py:_are_near": "south and north alone",
    "geo/events/area.py:_around": "projected, in metres",
    "geo/scenes.py:_covers": "a hair around one footprint, on either side",
    "geo/sources/search/requests.py:split_hemispheres": "tells the parts on both sides apart",
    "geo/sources/search/requests.py:_parameters": "of one hemisphere",
    "geo/sources/search/requests.py:split_quarters": "of one hemisphere",
    "geo/sources/search/completeness.py:_quarter_areas": "of one hemisphere",
    "geo/sources/rasters/files.py:_check_georeference": "of a raster in its own CRS",
    "geo/sources/search/inspection.py:_middle": "a point of the shape, on either side, then metres",
    "geo/tracking/crossing.py": "projected, in metres",
    "geo/tracking/ground.py": "in degrees around parts that lie on one side, or projected",
    "geo/tracking/cutting.py": "projected, in metres",
    "geo/tracking/step_builder.py:begin_track": "projected, in metres",
    "flows/pipeline/discovery.py:select_unknown": "a hair around parts that lie on one side",
    "flows/web/ogcapi/collections.py": "one tile, which lies on one side",
    "db/sql/0013/12_objects_tile.sql": "one tile, which lies on one side",
    "db/sql/0022/23_watch.objects_tile.sql": "one tile, which lies on one side",
    "db/sql/0024/24_watch.objects_tile.sql": "one tile, which lies on one side",
    "db/sql/0028/24_watch.objects_tile.sql": "one tile, which lies on one side",
    "db/sql/0032/29_watch.objects_tile.sql": "one tile, which lies on one side",
    "db/sql/0041/34_watch.objects_tile.sql": "one tile, which lies on one side",
    "db/sql/0047/34_watch.objects_tile.sql": "one tile, which lies on one side",
    "db/sql/0049/35_watch.objects_tile.sql": "one tile, which lies on one side",
    "db/sql/0041/36_watch.compare.sql": "one tile, which lies on one side",
    "db/sql/current/watch/compare.sql": "one tile, which lies on one side",
    "db/sql/current/watch/objects_tile.sql": "one tile, which lies on one side",
    "geo/tracking/link.py": "projected, in metres",
    "geo/tracking/fold.py": "projected, in metres",
    "geo/tracking/overlay.py": "in degrees around parts that lie on one side",
    "geo/tracking/transitions.py": "projected, in metres",
    "geo/tracking/holds.py:_list_neighbours": "its latitude alone",
    "geo/exemplars.py:_locate": "projected",
    "geo/tracking/regions.py:bridge": "of continuous longitudes, in metres",
    "geo/tracking/regions.py:_clip_around": "clips less if it is split, which costs time alone",
    "geo/tracking/regions.py:_open_by": "around parts that lie on one side, in metres",
    "geo/tracking/regions.py:erase": "around parts that lie on one side, in metres",
    "geo/tracking/registration.py": "projected, in metres",
    "geo/tracking/reach.py:covers": "selects more if it is split; distances to its parts decide",
    "geo/spectral/cells.py:_find_cells": "projected, in metres",
    "geo/spectral/zones.py:__init__": "projected, in metres",
    "flows/learning/rescan.py:limit_area": "projected, in metres",
    "flows/web/pixels/decoder.py:main": "standard input",
    "flows/web/ogcapi/extents.py": "bounds of tipg's columns",
    "db/analyst/statements.py": "measures with longitudes to 360; the caller chooses the narrower bounds",
    "db/analyst/watches.py": "measures with longitudes to 180 and to 360; choose_bounds() takes the narrower",
    "db/analyst/events.py:<module>": "measures with longitudes to 180 and to 360; choose_bounds() takes the narrower",
    "db/analyst/exports.py:values": "what the caller asked for, as a geometry",
    "db/summaries.py:<module>": "orders sums alone, so that they repeat",
    "flows/config/watch_writer.py:_write_area": "whether the shape is one box; a split one is not",
    "flows/export/geoparquet.py": "boxes that readers skip by: a split shape has a wider one, which skips less",
    "flows/export/stac.py:_write_catalog": "union_bounds() of the footprints",
    "flows/export/stac_items.py:make_model_item": "union_bounds() of footprints, or choose_bounds()",
    "flows/export/stac_items.py:make_collection": "union_bounds() of footprints, or choose_bounds()",
    "db/analyst/catalogs.py:<module>": "measures with longitudes to 180 and to 360; choose_bounds() takes the narrower",
    "db/analyst/catalogs.py:list_catalog_page": "what the caller asked for, as a geometry",
    "db/messages.py:_snap": "a split shape gets a coarser grid",
    "db/postgis_rights.py:<module>": "names of functions that nobody may call",
    "flows/export/stac.py:export_catalog": "union_bounds() of the footprints",
    "flows/report/drawing.py": "millimetres on the page",
    "flows/report/exposure.py:count_buildings": "one building, which lies on one side",
    "flows/report/exposure.py:_sum_pixels": "in the raster's own CRS; parts on both sides read more, up to a limit",
    "flows/report/exposure.py:_read_features": "parts are taken by side",
    "flows/report/frame.py": "projected, in metres, or millimetres on the page",
    "flows/report/locator.py:_find_near": "countries, whose parts lie on one side",
    "flows/report/locator.py:draw_locator": "millimetres on the page",
    "flows/report/maps.py:_draw_outline": "millimetres on the page",
    "flows/report/painting.py": "millimetres on the page",
    "flows/export/tables.py": "the box that the caller asked for: west, south, east, north",
    "flows/web/ogcapi/tilesets.py": "tipg's bounds of a collection; west of east where they cross",
    "db/analyst/alert_inbox.py:<module>": "measures to 180 and to 360 for choose_bounds(), and the box asked for",
    "db/analyst/comparisons.py:<module>": "the box that the caller asked for",
    "db/analyst/downloads.py:<module>": "the box that the caller asked for",
    "db/analyst/search.py:<module>": "measures with longitudes to 180 and to 360; choose_bounds() takes the narrower",
    "db/analyst/shadows.py:<module>": "a point on the surface lies on one of the parts",
    "db/analyst/changes.py:<module>": "a point on the surface lies on one of the parts",
    "db/assessments.py:<module>": "points",
    "geo/assessment/sampling.py:find_core": "projected, in metres",
    "geo/assessment/sampling.py:_draw_by_rejection": "projected, in metres",
}  # fmt: skip


def uses(name: str, source: str) -> Iterator[tuple[str, str]]:
    """Place and word of every use in a Python file."""
    tree = ast.parse(source)
    functions = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    for node in ast.walk(tree):
        words: list[str] = []
        if isinstance(node, ast.Attribute) and node.attr in MEASURES:
            words = [node.attr]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = SQL.findall(node.value)
        if words and isinstance(node, ast.expr):
            line = node.lineno
            around = [one for one in functions if one.lineno <= line <= (one.end_lineno or one.lineno)]
            inner = max(around, key=lambda one: one.lineno, default=None)
            yield f"{name}:{inner.name if inner else '<module>'}", words[0]


def found() -> dict[str, set[str]]:
    """Words by place."""
    places: dict[str, set[str]] = {}
    for folder in ("geo", "db", "flows"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name != HOME:
                for place, word in uses(name, path.read_text(encoding="utf-8")):
                    places.setdefault(place, set()).add(word)
    for path in sorted((ROOT / "db/sql").rglob("*.sql")):
        for word in SQL.findall(path.read_text(encoding="utf-8")):
            places.setdefault(path.relative_to(ROOT).as_posix(), set()).add(word)
    return places


def test_only_one_module_measures_what_180_degrees_may_split() -> None:
    new = {
        place: sorted(words)
        for place, words in found().items()
        if place not in ALLOWED and place.split(":")[0] not in ALLOWED
    }
    assert not new, (
        f"{new}: a shape split at 180 degrees has its bounding box, centre and hull on the other side of the earth; "
        f"use {HOME} (compute_bounds, compute_centre, compute_centroid, to_box, intersects), or say in ALLOWED why "
        "the shape cannot be split"
    )


def test_no_excuse_is_left_over() -> None:
    used = {name for place in found() for name in (place, place.split(":")[0])}
    assert set(ALLOWED) <= used


def test_uses_are_found_in_code_and_in_sql() -> None:
    code = """
def somewhere(shape):
    return shape.bounds, shapely.centroid(shape), "SELECT ST_Extent(geom), ST_Area(geom)"
"""
    assert sorted(uses("a.py", code)) == [
        ("a.py:somewhere", "ST_Extent"),
        ("a.py:somewhere", "bounds"),
        ("a.py:somewhere", "centroid"),
    ]
