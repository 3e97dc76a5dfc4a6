"""Rows to GeoDataFrames: every column with its dtype, geometries in EPSG:4326, times in UTC, facts in ``attrs``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely
from shapely.geometry import shape

from segwatch.client.columns import Kind, Table

CRS = "EPSG:4326"
#: A row as a source returns it; geometries are hexadecimal EWKB or GeoJSON.
Row = Mapping[str, Any]


def make_frame(
    table: Table, pages: Iterable[Sequence[Row]], facts: Mapping[str, Any]
) -> geopandas.GeoDataFrame:
    """Make one table from pages of rows.

    Each page becomes typed columns before the next is taken, so that only one page at a time is held as rows.

    Parameters
    ----------
    facts
        Content of ``attrs``, of JSON types.
    """
    parts = list(make_frames(table, pages, facts)) or [_convert(table, [])]
    whole = parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)
    made = geopandas.GeoDataFrame(whole, geometry="geom", crs=CRS)
    made.attrs = dict(facts)
    return made


def make_frames(
    table: Table, pages: Iterable[Sequence[Row]], facts: Mapping[str, Any]
) -> Iterator[geopandas.GeoDataFrame]:
    """Make a table of each page of rows."""
    for page in pages:
        made = _convert(table, page)
        made.attrs = dict(facts)
        yield made


def _convert(table: Table, rows: Sequence[Row]) -> geopandas.GeoDataFrame:
    columns = {name: _make_column(kind, [row[name] for row in rows]) for name, kind in table.columns.items()}
    return geopandas.GeoDataFrame(columns, geometry="geom", crs=CRS)


def _make_column(kind: Kind, values: list[Any]) -> Any:
    return _CONVERSIONS.get(kind.dtype, _to_nullable)(kind, values)


def _to_nullable(kind: Kind, values: list[Any]) -> Any:
    return pd.array(values, dtype=kind.dtype)  # type: ignore[call-overload]  # the stubs list the names of dtypes


def _to_texts(kind: Kind, values: list[Any]) -> Any:
    return pd.array([None if one is None else str(one) for one in values], dtype="string")


def _to_numbers(kind: Kind, values: list[Any]) -> Any:
    return np.array([np.nan if one is None else float(one) for one in values], np.float64)


def _to_objects(kind: Kind, values: list[Any]) -> Any:
    made = np.empty(len(values), object)
    made[:] = values
    return pd.Series(made, dtype=object)


def _to_times(kind: Kind, values: list[Any]) -> Any:
    return pd.Series([parse_time(one) for one in values], dtype=kind.dtype)


def parse_time(value: Any) -> datetime | None:
    """Read a time; times without a zone are UTC, and times beyond the calendar its first or last moment."""
    if value is None:
        return None
    if isinstance(value, str):
        if value.endswith("infinity"):
            return (datetime.min if value.startswith("-") else datetime.max).replace(tzinfo=UTC)
        value = datetime.fromisoformat(value)
    made: datetime = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return made


def _to_geometries(kind: Kind, values: list[Any]) -> Any:
    shapes = np.empty(len(values), object)
    shapes[:] = [parse_geometry(one) for one in values]
    return geopandas.GeoSeries(shapes, crs=CRS)


def parse_day(value: Any) -> date:
    """Read a day."""
    return value if isinstance(value, date) else date.fromisoformat(str(value)[:10])


def parse_geometry(value: Any) -> Any:
    """Read a geometry in hexadecimal EWKB or GeoJSON; None stays None."""
    if value is None:
        return None
    # EWKB names its CRS, which is that of the column
    return shapely.set_srid(shapely.from_wkb(value), 0) if isinstance(value, str) else shape(value)


_CONVERSIONS: Mapping[str, Callable[[Kind, list[Any]], Any]] = {
    "string": _to_texts,
    "float64": _to_numbers,
    "object": _to_objects,
    "datetime64[us, UTC]": _to_times,
    "geometry": _to_geometries,
}
