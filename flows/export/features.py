"""Features of the OGC API, as its GeoJSON has them, as GeoParquet or FlatGeobuf.

A page of features is bounded, so it is held in memory. Types come from the columns of the view, not from the values: an
empty page has the same schema as a full one.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shapely
from shapely.geometry import shape

from segwatch.flows.export import gdal
from segwatch.flows.export.geoparquet import write_geoparquet
from segwatch.flows.export.schema import GEOMETRY

if TYPE_CHECKING:
    import pyarrow as pa


class FeatureFormat(StrEnum):
    """Binary formats of a page of features, by the name that the parameter ``f`` takes."""

    PARQUET = "parquet"
    FGB = "fgb"

    @property
    def media_type(self) -> str:
        """Media type of a response."""
        return {"parquet": "application/vnd.apache.parquet", "fgb": "application/vnd.flatgeobuf"}[self.value]


def write_features(
    features: Sequence[Mapping[str, Any]], columns: Mapping[str, str], form: FeatureFormat, name: str
) -> bytes:
    """Write GeoJSON features.

    Parameters
    ----------
    features
        With ``id``, ``properties`` and ``geometry`` (EPSG:4326, may be null).
    columns
        Name of each property -> its PostgreSQL type; the others are left out.
    name
        Name of the layer.
    """
    table = _make_table(features, columns)
    if form is FeatureFormat.PARQUET:
        made = io.BytesIO()
        write_geoparquet(table.to_reader(), made, {"software": "segwatch", "layer": name})
        return made.getvalue()
    with tempfile.TemporaryDirectory(prefix="segwatch-features-") as folder:
        target = Path(folder) / "features.fgb"
        gdal.write_layer(
            table.to_reader(),
            target,
            gdal.FLATGEOBUF if table[GEOMETRY].null_count == 0 else gdal.FLATGEOBUF_WITHOUT_INDEX,
            {"software": "segwatch"},
            layer=name,
            geometry_type=_find_type(table),
        )
        return target.read_bytes()


def _make_table(features: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> pa.Table:
    import pyarrow as pa

    wkb = pa.field(GEOMETRY, pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"})
    fields = [pa.field("id", pa.string())]
    fields += [pa.field(column, _choose_type(kind)) for column, kind in columns.items()]
    values: list[list[Any]] = [[None if one.get("id") is None else str(one["id"]) for one in features]]
    for field in fields[1:]:
        values.append([_convert(one["properties"].get(field.name), field.type) for one in features])
    shapes = [None if one.get("geometry") is None else shape(one["geometry"]) for one in features]
    return pa.table(
        [*(pa.array(one, field.type) for one, field in zip(values, fields, strict=True)), _to_wkb(shapes)],
        schema=pa.schema([*fields, wkb]),
    )


def _to_wkb(shapes: Sequence[Any]) -> pa.Array:
    """Convert shapes to WKB; polygons become multipolygons if there are such."""
    import pyarrow as pa

    kinds = {one.geom_type for one in shapes if one is not None}
    if kinds == {"Polygon", "MultiPolygon"}:
        shapes = [
            shapely.MultiPolygon([one]) if one is not None and one.geom_type == "Polygon" else one
            for one in shapes
        ]
    return pa.array([None if one is None else one.wkb for one in shapes], pa.binary())


def _find_type(table: pa.Table) -> str:
    kinds = {shapely.from_wkb(one).geom_type for one in table[GEOMETRY].to_pylist() if one is not None}
    return kinds.pop() if len(kinds) == 1 else "Unknown"


def _choose_type(kind: str) -> pa.DataType:
    """Choose the Arrow type for a PostgreSQL type; JSON, arrays and everything else are text."""
    import pyarrow as pa

    if kind.endswith("[]"):
        return pa.string()
    return {
        "timestamptz": pa.timestamp("us", tz="UTC"), "timestamp with time zone": pa.timestamp("us", tz="UTC"),
        "float8": pa.float64(), "double precision": pa.float64(), "numeric": pa.float64(),
        "int4": pa.int32(), "integer": pa.int32(), "int8": pa.int64(), "bigint": pa.int64(),
        "bool": pa.bool_(), "boolean": pa.bool_(),
    }.get(kind, pa.string())  # fmt: skip


def _convert(value: Any, kind: pa.DataType) -> Any:
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_timestamp(kind):
        return datetime.fromisoformat(value) if isinstance(value, str) else value
    if pa.types.is_string(kind):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if pa.types.is_floating(kind):
        return float(value)
    return value
