"""``segwatch export``: take objects and changes of a watch to other tools."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segwatch.flows.cli.console import Json, WatchName, clear_errors, open_engine, out, print_json
from segwatch.flows.cli.parsing import TIME_FORMS, Box, parse_last_moment
from segwatch.flows.errors import ConfigError
from segwatch.flows.runtime.extras import require_extras

if TYPE_CHECKING:
    from segwatch.flows.export.tables import Exported, Request


class Format(StrEnum):
    """What ``--format`` takes."""

    GEOPARQUET = "geoparquet"
    GPKG = "gpkg"
    FGB = "fgb"
    GEOJSON = "geojson"
    CSV = "csv"
    PMTILES = "pmtiles"
    STAC = "stac"
    QGIS = "qgis"


def export(
    watch: WatchName,
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            "-f",
            help="geoparquet, gpkg, fgb, geojson, csv (WKT) or pmtiles: one table in one file; stac: a folder with a "
            "static catalog; qgis: a folder with a project and its GeoPackage.",
        ),
    ],
    target: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="PATH", help="File or folder to write. Default: named after the watch, here."
        ),
    ] = None,
    changes: Annotated[
        bool, typer.Option("--changes", help="Export the changes that hold instead of the objects.")
    ] = False,
    at: Annotated[
        datetime | None,
        typer.Option(
            metavar="TIME",
            parser=parse_last_moment,
            help="Objects as they were on the ground at this time, or changes up to it: "
            f"{TIME_FORMS}, UTC; a date means its whole day. Default: now.",
        ),
    ] = None,
    known_at: Annotated[
        datetime | None,
        typer.Option(
            metavar="TIME",
            parser=parse_last_moment,
            help=f"Use only what was recorded up to this time: {TIME_FORMS}, UTC. Default: now.",
        ),
    ] = None,
    bbox: Box = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            help="Only what became known since the export that printed this token; the column delta says inserted, "
            "changed, ended or retracted.",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Of qgis: address of segwatch serve, for imagery and live layers in the project.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing export.")] = False,
    as_json: Json = False,
) -> None:
    """Write the objects or changes of a watch for QGIS, DuckDB, geopandas, GDAL, R, web maps or another segwatch.

    The file appears once it is whole. The next token, for --since, is printed and kept in the file's metadata.
    """
    with clear_errors():
        require_extras("segwatch export", "analysis")
        from segwatch.flows.export.tables import Request

        request = Request(watch, changes, at, known_at, bbox, since)
        if server is not None and form is not Format.QGIS:
            raise ConfigError("--server belongs to --format qgis")
        done, what = _export(request, form, target, force=force, server=server)
    if as_json:
        told = {"path": str(done.path), "rows": done.rows, "what": what, "next_token": done.next_token}
        print_json(told if done.shown_by_zoom is None else told | {"shown_by_zoom": done.shown_by_zoom})
        return
    out.print(f"{done.path}: {done.rows} {what}", markup=False)
    if done.shown_by_zoom is not None:
        out.print(_tell_shown(done.shown_by_zoom, done.rows, what), markup=False)
    if done.next_token is not None:
        out.print(f"next token: {done.next_token}", markup=False)


def _export(
    request: Request, form: Format, target: Path | None, *, force: bool, server: str | None
) -> tuple[Exported, str]:
    """Export, and say what the rows are."""
    from segwatch.flows.export import qgis, stac, tables

    with open_engine() as engine:
        if form is Format.STAC:
            folder = target or Path(f"{request.watch}-stac")
            return stac.export_catalog(engine, request, folder, force=force), "observations"
        if form is Format.QGIS:
            folder = target or Path(f"{request.watch}-qgis")
            return qgis.export_project(engine, request, folder, force=force, server=server), "objects"
        table = tables.TableFormat(form.value)
        named = f"{request.watch}{'-changes' if request.changes else ''}{table.extension}"
        return (
            tables.export_table(engine, request, table, target or Path(named), force=force),
            request.layer.name,
        )


def _tell_shown(shown: Mapping[int, int], rows: int, what: str) -> str:
    """Tell at which zooms tiles show all rows."""
    lacking = [zoom for zoom, count in shown.items() if count < rows]
    if not lacking:
        return f"the tiles of every zoom show all {rows} {what}"
    last = max(shown)
    if last in lacking:
        return (
            f"the tiles of zoom {last} show {shown[last]} of {rows} {what}, those of lower zooms may show fewer; the "
            "others are too small or too many for a tile; other formats hold all"
        )
    largest = max(lacking)
    return (
        f"the tiles of zoom {largest + 1} to {last} show all {rows} {what}, those of zoom {largest} show "
        f"{shown[largest]} and those of lower zooms may show fewer"
    )
