"""Parameters of OGC API requests before tipg reads them: limits, unknown parameters; and counts in responses."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Iterable
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import HTTPException, Request
from fastapi.dependencies.models import Dependant
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segwatch.flows.export.text import escape_formula
from segwatch.flows.web.guards.refusals import refuse
from segwatch.flows.web.ogcapi.collections import MAX_FEATURES, ResponseCounts, response_counts

_MAX_COLLECTIONS = 1000
#: HTML is rendered on the one thread that serves all requests.
_MAX_HTML_FEATURES = 100
#: Names of the only supported coordinate reference system.
_CRS84 = {
    "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
    "https://www.opengis.net/def/crs/OGC/1.3/CRS84",
    "[OGC:CRS84]",
}
_CRS_PARAMETERS = {"crs", "bbox-crs", "filter-crs"}


class LimitCap:
    """Middleware that caps ``limit``, as OGC API Features requires, and adds headers with counts to responses.

    ``OGC-NumberMatched``, ``OGC-NumberReturned`` and a ``Link`` to the next page are also sent with formats that have
    no place for them, such as CSV and tiles.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Cap the limit and pass the request on; 400 if the limit is not a positive whole number."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        cap = _find_max_limit(scope)
        asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        limits = [value for name, value in asked if name == "limit"]
        if any(not _is_limit(one) for one in limits):
            await refuse(scope, send, 400, f"limit: write a whole number from 1 to {cap}")
            return
        if limits:
            lowered = [(name, _cap(value, cap) if name == "limit" else value) for name, value in asked]
            scope = {**scope, "query_string": urlencode(lowered).encode()}
        counts = ResponseCounts()
        token = response_counts.set(counts)
        try:
            await self._app(scope, receive, _add_counts(scope, send, counts))
        finally:
            response_counts.reset(token)


def _find_max_limit(scope: Scope) -> int:
    if scope["path"].endswith("/collections"):
        return _MAX_COLLECTIONS
    query = scope["query_string"].decode("latin-1")
    forms = [value.lower() for name, value in parse_qsl(query) if name == "f"]
    accepted = Headers(scope=scope).get("accept", "")
    html = "html" in forms or (not forms and ("text/html" in accepted or "text/*" in accepted))
    return _MAX_HTML_FEATURES if html else MAX_FEATURES


def _is_limit(text: str) -> bool:
    return text.isascii() and text.isdigit() and text.strip("0") != ""


def _cap(text: str, limit: int) -> str:
    digits = text.lstrip("0")
    return str(limit) if len(digits) > len(str(limit)) or int(digits) > limit else digits


def _add_counts(scope: Scope, send: Send, counts: ResponseCounts) -> Send:
    async def start(message: Message) -> None:
        if message["type"] == "http.response.start" and counts.matched is not None:
            headers = MutableHeaders(scope=message)
            headers["OGC-NumberMatched"] = str(counts.matched)
            headers["OGC-NumberReturned"] = str(counts.returned)
            if counts.after is not None:
                url = (
                    Request(scope).url.remove_query_params("offset").include_query_params(after=counts.after)
                )
                headers.append("Link", f'<{url}>; rel="next"')
        await send(message)

    return start


def require_known_parameters(request: Request) -> None:
    """Refuse unknown parameters with 400, as OGC API Features requires: a misspelt filter would filter nothing."""
    route = request.scope["route"]
    known = _list_parameters(route.dependant)
    collection = request.app.state.collection_catalog["collections"].get(
        request.path_params.get("collectionId")
    )
    if collection is not None and "filter" in known:
        known |= {one.name for one in collection.properties}
    for name, value in request.query_params.multi_items():
        if name in _CRS_PARAMETERS and "bbox" in known:
            if value not in _CRS84:
                raise HTTPException(
                    400, f"{name}: coordinates are in {min(_CRS84, key=len)} only: {min(_CRS84)}"
                )
        elif name not in known and name.lower() not in known:
            raise HTTPException(
                400, f"unknown parameter {name!r}; the parameters are {', '.join(sorted(known))}"
            )


def _list_parameters(dependant: Dependant) -> set[str]:
    """List the parameters of a route and of its dependencies."""
    names = {one.alias for one in dependant.query_params}
    return names.union(*(_list_parameters(one) for one in dependant.dependencies))


def write_csv_rows(rows: Iterable[dict[str, Any]]) -> Generator[str, None, None]:
    """Write lines of CSV, with a header even if there are no rows."""
    rows = iter(rows)
    first = next(rows, None)
    counts = response_counts.get()
    names = ("collectionId", "itemId", *(counts.columns if counts else ()), "geometry")
    return _write_lines(
        list(names if first is None else first), () if first is None else chain((first,), rows)
    )


def _write_lines(names: list[str], rows: Iterable[dict[str, Any]]) -> Generator[str, None, None]:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names)
    writer.writeheader()
    yield buffer.getvalue()
    for row in rows:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow({name: escape_formula(value) for name, value in row.items()})
        yield buffer.getvalue()
