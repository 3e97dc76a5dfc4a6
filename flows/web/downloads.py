"""What the map shows as a file: GeoPackage, GeoJSON, CSV and the other formats of ``segwatch export``."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Response
from pydantic import AwareDatetime
from sqlalchemy import Engine

from segwatch.db import analyst
from segwatch.flows.export.batches import WatchedRows
from segwatch.flows.export.schema import SHOWN
from segwatch.flows.export.tables import TableFormat, write_table
from segwatch.flows.runtime import extras
from segwatch.flows.web.boxes import BoxText, parse_box
from segwatch.flows.web.guards.refusals import REFUSALS
from segwatch.flows.web.guards.sending import MAX_RESPONSE_BYTES
from segwatch.flows.web.known_watches import check_watch

#: More are exported by the command line, which needs no memory for them.
_MAX_OBJECTS = 200_000
_MEDIA_TYPES = {
    TableFormat.GPKG: "application/geopackage+sqlite3",
    TableFormat.GEOJSON: "application/geo+json",
    TableFormat.CSV: "text/csv; charset=utf-8",
    TableFormat.FGB: "application/vnd.flatgeobuf",
    TableFormat.GEOPARQUET: "application/vnd.apache.parquet",
}
_DESCRIBED: dict[int | str, dict[str, Any]] = {
    200: {"description": "A file", "content": {one.partition(";")[0]: {} for one in _MEDIA_TYPES.values()}}
}


def make_router(reading: Engine) -> APIRouter:
    """Make the route ``GET /watches/NAME/download``."""
    routes = APIRouter()

    @routes.get("/watches/{name}/download", response_class=Response, responses={**_DESCRIBED, **REFUSALS})
    def download(
        name: Annotated[str, Path(max_length=200)],
        form: Annotated[TableFormat, Query(alias="format")] = TableFormat.GPKG,
        at: Annotated[
            AwareDatetime | None, Query(description="when objects were there; without it, now")
        ] = None,
        known_at: Annotated[
            AwareDatetime | None, Query(description="only what was recorded up to then")
        ] = None,
        bbox: BoxText = None,
        target: Annotated[list[str] | None, Query()] = None,
        status: Annotated[
            list[analyst.ChangeStatus] | None, Query(description="status of the object")
        ] = None,
    ) -> Response:
        """Download the objects of a watch at a time as a file, with model, accuracy and links to the imagery.

        At most 200 000 objects and a limited number of bytes; ``segwatch export`` has no limit.
        """
        if form not in _MEDIA_TYPES:
            raise HTTPException(422, f"format: {form} is not for downloads; use {', '.join(_MEDIA_TYPES)}")
        if not extras.has_extra("analysis"):
            raise HTTPException(503, "this server lacks the extra analysis, which writes files; install it")
        shown = analyst.Shown(
            name,
            at,
            known_at,
            parse_box(bbox),
            target,
            None if status is None else [one.value for one in status],
        )
        with reading.connect() as conn:
            check_watch(conn, name)
        content, count = _write(reading, shown, form)
        file = f"{_plain(name)}-{(at or datetime.now(UTC)):%Y%m%d}{form.extension}"
        headers = {"Content-Disposition": f'attachment; filename="{file}"', "X-Total-Count": str(count)}
        return Response(content, media_type=_MEDIA_TYPES[form], headers=headers)

    return routes


def _write(reading: Engine, shown: analyst.Shown, form: TableFormat) -> tuple[bytes, int]:
    with tempfile.TemporaryDirectory(prefix="segwatch-download-") as folder, reading.connect() as conn:
        target = FilePath(folder) / f"objects{form.extension}"
        rows = WatchedRows(analyst.iter_shown(conn, shown, _MAX_OBJECTS + 1))
        metadata = {"software": "segwatch", "watch": shown.watch, "crs": "EPSG:4326"}
        with rows.keep_error():
            write_table(rows, SHOWN, form, target, metadata)
        if rows.count > _MAX_OBJECTS or target.stat().st_size > MAX_RESPONSE_BYTES:
            raise HTTPException(
                413,
                f"these are too many objects for a download; give a bbox, or run: segwatch export {shown.watch}",
            )
        return target.read_bytes(), rows.count


def _plain(name: str) -> str:
    return "".join(one if one.isascii() and (one.isalnum() or one in "-_.") else "-" for one in name)
