"""Page of exported columns, from the schemas of exports."""

from __future__ import annotations

from docs.generate.markdown import NOTICE, code, table
from segwatch.flows.export.schema import CHANGES, DETECTIONS, HISTORY, OBJECTS, OBSERVATIONS, REVIEWED

_INTRODUCTION = """# Columns of exports

`segwatch export` writes the same columns in every format: names, order and units below. Types are those of Arrow and
GeoParquet; GeoPackage, FlatGeobuf, GeoJSON and CSV hold the nearest that they have. All times are UTC, all areas
geodesic, all geometries EPSG:4326, longitude first. [Take data out](../how-to/take-data-out.md) shows how to read them.

"""
_TYPES = {
    "text": "string", "number": "float64", "count": "int32", "time": "timestamp[us, UTC]", "flag": "boolean",
    "wkb": "WKB",
}  # fmt: skip


def page() -> str:
    """Return the page: a table of columns for every layer."""
    parts = []
    for layer in (OBJECTS, CHANGES, HISTORY, OBSERVATIONS, DETECTIONS, REVIEWED):
        rows = [(code(name), _TYPES[one.kind], one.meaning) for name, one in layer.describe().items()]
        parts.append(f"## {layer.name}\n\n{layer.meaning}.\n\n" + table(("column", "type", "meaning"), rows))
    return NOTICE + _INTRODUCTION + "\n".join(parts)
