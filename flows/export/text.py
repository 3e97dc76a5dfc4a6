"""CSV for spreadsheets and scripts: geometry as WKT, times in ISO 8601, no text that a spreadsheet would compute."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shapely

from segwatch.flows.export.schema import GEOMETRY

if TYPE_CHECKING:
    import pyarrow as pa

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def escape_formula(value: Any) -> Any:
    """Put an apostrophe before texts that a spreadsheet would evaluate as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def write_csv(reader: pa.RecordBatchReader, target: Path) -> None:
    """Write a stream of record batches as CSV, UTF-8, with a line of names."""
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(reader.schema.names)
        for batch in reader:
            columns = [
                shapely.to_wkt(shapely.from_wkb(column.to_numpy(zero_copy_only=False)), rounding_precision=-1)
                if name == GEOMETRY
                else column.to_pylist()
                for name, column in zip(reader.schema.names, batch.columns, strict=True)
            ]
            writer.writerows([_write(value) for value in row] for row in zip(*columns, strict=True))


def _write(value: Any) -> Any:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else escape_formula(value)
