"""``segwatch export``: take objects and changes of a watch to other tools."""

from __future__ import annotations

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
    from segwatch.flows.export.tables import Request


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
        done = _export(request, form, target, force=force, server=server)
    if as_json:
        print_json(done)
        return
    out.print(f"{done['path']}: {done['rows']} {done['what']}", markup=False)
    if done["next_token"] is not None:
        out.print(f"next token: {done['next_token']}", markup=False)


def _export(
    request: Request, form: Format, target: Path | None, *, force: bool, server: str | None
) -> dict[str, object]:
    from segwatch.flows.export import qgis, stac, tables

    with open_engine() as engine:
        if form is Format.STAC:
            what = "observations"
            done = stac.export_catalog(engine, request, target or Path(f"{request.watch}-stac"), force=force)
        elif form is Format.QGIS:
            what = "objects"
            folder = target or Path(f"{request.watch}-qgis")
            done = qgis.export_project(engine, request, folder, force=force, server=server)
        else:
            table, what = tables.TableFormat(form.value), request.layer.name
            named = f"{request.watch}{'-changes' if request.changes else ''}{table.extension}"
            done = tables.export_table(engine, request, table, target or Path(named), force=force)
    return {"path": str(done.path), "rows": done.rows, "what": what, "next_token": done.next_token}
