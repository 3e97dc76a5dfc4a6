"""GeoParquet 1.1: WKB in longitude and latitude, a bounding box for each row, and the format's ``geo`` metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import shapely

from segwatch.flows.export.schema import CRS, GEOMETRY

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows that readers skip together by their bounding boxes.
_GROUP_ROWS = 50_000
_BBOX = "bbox"
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def write_geoparquet(
    reader: pa.RecordBatchReader,
    target: Path | IO[bytes],
    metadata: Mapping[str, str],
    *,
    geometry: str = GEOMETRY,
) -> None:
    """Write a stream of record batches as GeoParquet.

    Parameters
    ----------
    reader
        Batches; the column ``geometry`` is WKB, EPSG:4326, and may hold null.
    target
        File to write.
    metadata
        Further metadata of the file: name -> text.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    box_type = pa.struct([pa.field(side, pa.float64()) for side in _SIDES])
    # extension types need packages that readers may lack; the geo metadata says what the column is
    fields = [one.remove_metadata() if one.name == geometry else one for one in reader.schema]
    schema = pa.schema([*fields, pa.field(_BBOX, box_type)])
    seen = _Seen()
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        group: list[pa.RecordBatch] = []
        for batch in reader:
            boxes = seen.add(batch.column(geometry).to_numpy(zero_copy_only=False))
            group.append(pa.record_batch([*batch.columns, _to_structs(boxes, box_type)], schema=schema))
            if sum(one.num_rows for one in group) >= _GROUP_ROWS:
                writer.write_table(pa.Table.from_batches(group, schema))
                group = []
        if group:
            writer.write_table(pa.Table.from_batches(group, schema))
        writer.add_key_value_metadata({**metadata, "geo": json.dumps(_describe(geometry, seen))})


class _Seen:
    """Bounds and types of the geometries so far."""

    def __init__(self) -> None:
        self.types: set[str] = set()
        self.bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])

    def add(self, wkb: Any) -> Any:
        """Return the bounds of geometries, float64 [n, 4] in order of :data:`_SIDES`; NaN where there is none."""
        shapes = shapely.from_wkb(wkb)
        boxes = shapely.bounds(shapes)
        self.types |= {shape.geom_type for shape in shapes if shape is not None}
        if len(boxes) and not np.isnan(boxes).all():
            self.bounds[:2] = np.fmin(self.bounds[:2], np.nanmin(boxes[:, :2], axis=0))
            self.bounds[2:] = np.fmax(self.bounds[2:], np.nanmax(boxes[:, 2:], axis=0))
        return boxes


def _to_structs(boxes: Any, box_type: pa.DataType) -> pa.Array:
    import pyarrow as pa

    columns = [pa.array(boxes[:, place]) for place in range(len(_SIDES))]
    return pa.StructArray.from_arrays(
        columns, fields=list(box_type), mask=pa.array(np.isnan(boxes).any(axis=1))
    )


def _describe(geometry: str, seen: _Seen) -> dict[str, Any]:
    import pyproj

    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted(seen.types),
        "crs": pyproj.CRS.from_user_input(CRS).to_json_dict(),
        "edges": "planar",
        "covering": {_BBOX: {side: [_BBOX, side] for side in _SIDES}},
    }
    if np.isfinite(seen.bounds).all():
        column["bbox"] = seen.bounds.tolist()
    return {"version": "1.1.0", "primary_column": geometry, "columns": {geometry: column}}
