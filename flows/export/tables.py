"""Export the objects or changes of a watch, or what became known of them since a token, to one file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine

from segwatch.db import analyst
from segwatch.flows.errors import ConfigError
from segwatch.flows.export import feed, gdal
from segwatch.flows.export.batches import Rows, WatchedRows, make_reader
from segwatch.flows.export.geoparquet import write_geoparquet
from segwatch.flows.export.places import check_target, write_whole
from segwatch.flows.export.schema import CHANGES, OBJECTS, Layer, make_schema
from segwatch.flows.export.text import write_csv
from segwatch.geo.antimeridian import to_box

if TYPE_CHECKING:
    import pyarrow as pa

#: Written beside files whose format has no place for metadata.
_BESIDE = ".metadata.json"


class TableFormat(StrEnum):
    """Formats of one table, by the name that the command line takes."""

    GEOPARQUET = "geoparquet"
    GPKG = "gpkg"
    FGB = "fgb"
    GEOJSON = "geojson"
    CSV = "csv"
    PMTILES = "pmtiles"

    @property
    def extension(self) -> str:
        """Extension of file names, with its dot."""
        return ".parquet" if self is TableFormat.GEOPARQUET else f".{self.value}"


@dataclass(frozen=True, slots=True)
class Request:
    """What to export."""

    watch: str
    changes: bool = False
    """Whether changes are exported instead of objects."""
    at: datetime | None = None
    """When objects were there, or until when changes happened, UTC; None = now."""
    known_at: datetime | None = None
    """Use what was recorded up to then, UTC; None = everything."""
    bounds: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees; west > east crosses the antimeridian. None = everywhere."""
    since: str | None = None
    """Token of an earlier export: only what became known since then."""

    @property
    def layer(self) -> Layer:
        """The table."""
        return CHANGES if self.changes else OBJECTS

    @property
    def selection(self) -> analyst.Selection:
        """The rows to read."""
        bounds = None if self.bounds is None else to_box(self.bounds)
        return analyst.Selection(self.watch, self.at, self.known_at, bounds)


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote."""

    path: Path
    rows: int
    next_token: str | None
    """Where the next delta feed goes on; None for exports of the past, which no feed follows."""
    shown_by_zoom: Mapping[int, int] | None = None
    """Of tiles: zoom -> number of rows that its tiles show; None for other formats."""


_Write = Callable[["pa.RecordBatchReader", Path, Mapping[str, str]], None]


def export_table(
    engine: Engine, request: Request, form: TableFormat, target: Path, *, force: bool = False
) -> Exported:
    """Export a table; the file appears whole or not at all.

    Memory does not grow with the number of rows, except for what GDAL's drivers keep: indexes of FlatGeobuf.

    Raises
    ------
    ConfigError
        The request contradicts itself, the token is not of this feed, the target exists, cannot be written or is named
        as another format, or tiles would be empty.
    segwatch.db.errors.NotFound
        No watch has this name.
    segwatch.db.errors.UnknownPosition
        The token is not of this ledger.
    """
    check_request(request, form)
    check_extension(target, form)
    check_target(target, force=force)
    with analyst.open_snapshot(engine) as conn:
        parts, token = read_parts(conn, request)
        rows = WatchedRows(parts)
        metadata = describe(request, token)
        with write_whole(target) as made, rows.keep_error(), _explain_failures(rows, request, form, target):
            write_table(rows, request.layer, form, made, metadata)
    shown = gdal.count_by_zoom(target, request.layer.name) if form is TableFormat.PMTILES else None
    if shown is not None:
        metadata |= {"rows": str(rows.count), "shown_by_zoom": json.dumps(shown)}
    if form in {TableFormat.CSV, TableFormat.PMTILES}:
        with write_whole(target.with_name(target.name + _BESIDE)) as beside:
            beside.write_text(json.dumps(metadata, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return Exported(target, rows.count, token, shown)


def add_layer(engine: Engine, request: Request, target: Path, *, append: bool) -> int:
    """Add the table of a request to a GeoPackage that is being made; returns the number of rows."""
    with analyst.open_snapshot(engine) as conn:
        parts, _ = read_parts(conn, request)
        rows = WatchedRows(parts)
        with rows.keep_error():
            gdal.write_layer(
                make_reader(make_schema(request.layer), rows),
                target,
                gdal.GEOPACKAGE,
                describe(request, None),
                layer=request.layer.name,
                append=append,
            )
    return rows.count


@contextmanager
def _explain_failures(rows: WatchedRows, request: Request, form: TableFormat, target: Path) -> Iterator[None]:
    """Say for people what GDAL could not write, such as tiles of nothing or a file on a full disk."""
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

    try:
        yield
    except (DataSourceError, DataLayerError, FeatureError) as error:
        if form is TableFormat.PMTILES and rows.count == 0:
            raise ConfigError(
                f"there are no {request.layer.name} of {request.watch} to draw, and a file of tiles cannot be empty; "
                "other formats can"
            ) from error
        raise OSError(f"{target} could not be written: {error}") from error


def check_extension(target: Path, form: TableFormat) -> None:
    """Refuse a name that says another format than is written.

    Raises
    ------
    ConfigError
        The name ends like those of another format.
    """
    told = {one.extension: one for one in TableFormat}.get(target.suffix.lower(), form)
    if told is not form:
        raise ConfigError(
            f"--out {target} is named as {told.value}, and --format is {form.value}; give --format {told.value}, or a "
            f"name that ends in {form.extension}"
        )


def check_request(request: Request, form: TableFormat | None = None) -> None:
    """Check that a request makes sense.

    Raises
    ------
    ConfigError
        It does not.
    """
    if request.since is not None and (request.at is not None or request.known_at is not None):
        raise ConfigError("--since tells what became known up to now; leave out --at and --known-at")
    if request.since is not None and form is TableFormat.PMTILES:
        raise ConfigError("tiles show a state and no differences; use --since with another format")
    if request.known_at is not None and request.at is not None and request.at > request.known_at:
        raise ConfigError(
            f"nothing was known at {request.known_at:%Y-%m-%d %H:%M} of {request.at:%Y-%m-%d %H:%M}, which was later; "
            "give a later --known-at or an earlier --at"
        )


def read_parts(conn: Connection, request: Request) -> tuple[Iterable[Rows], str | None]:
    """Begin to read the rows of a request, in order of id.

    Returns
    -------
    Iterable
        Parts of rows in order of the layer's columns.
    str | None
        The token that the next delta feed goes on with.
    """
    now = analyst.read_position(conn, request.watch)
    selection = request.selection
    if request.since is None:
        parts = (analyst.iter_changes if request.changes else analyst.iter_objects)(conn, selection)
    else:
        since = feed.read_token(request.since, request.watch, request.layer.name, request.bounds)
        analyst.check_position(conn, request.watch, since)
        read = analyst.iter_change_deltas if request.changes else analyst.iter_object_deltas
        parts = read(conn, selection, since, now)
    is_past = request.at is not None or request.known_at is not None
    token = None if is_past else feed.write_token(request.watch, request.layer.name, request.bounds, now)
    return parts, token


def write_table(
    parts: Iterable[Rows], layer: Layer, form: TableFormat, target: Path, metadata: Mapping[str, str]
) -> None:
    """Write parts of rows to a file, which need not be whole while it is written."""
    _WRITERS[form](make_reader(make_schema(layer), parts), target, {**metadata, "layer": layer.name})


def describe(request: Request, token: str | None) -> dict[str, str]:
    """Describe an export for the metadata of its file; times in ISO 8601, UTC."""
    described = {
        "software": "segwatch",
        "exported_at": _write_time(datetime.now(UTC)),
        "watch": request.watch,
        "crs": "EPSG:4326",
        "columns": json.dumps({name: field.meaning for name, field in request.layer.describe().items()}),
    }
    given = {"at": request.at, "known_at": request.known_at}
    described |= {name: _write_time(value) for name, value in given.items() if value is not None}
    if request.bounds is not None:
        described["bbox"] = ",".join(map(repr, request.bounds))
    if request.since is not None:
        described["since"] = request.since
    if token is not None:
        described["next_token"] = token
    return described


def _write_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _write_gdal(
    reader: pa.RecordBatchReader, target: Path, metadata: Mapping[str, str], *, driver: gdal.Driver
) -> None:
    gdal.write_layer(reader, target, driver, metadata, layer=metadata["layer"])


def _write_csv(reader: pa.RecordBatchReader, target: Path, _: Mapping[str, str]) -> None:
    write_csv(reader, target)


_WRITERS: Mapping[TableFormat, _Write] = {
    TableFormat.GEOPARQUET: write_geoparquet,
    TableFormat.GPKG: partial(_write_gdal, driver=gdal.GEOPACKAGE),
    TableFormat.FGB: partial(_write_gdal, driver=gdal.FLATGEOBUF),
    TableFormat.GEOJSON: partial(_write_gdal, driver=gdal.GEOJSON),
    TableFormat.PMTILES: partial(_write_gdal, driver=gdal.PMTILES),
    TableFormat.CSV: _write_csv,
}
