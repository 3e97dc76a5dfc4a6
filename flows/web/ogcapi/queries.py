"""What requests to the OGC API ask, before tipg reads it: limits, unknown parameters, and counts of answers."""

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

from segwatch.flows.web.guards.refusals import refuse
from segwatch.flows.web.ogcapi.collections import MAX_FEATURES, Counted, counted

_MAX_COLLECTIONS = 1000
#: A page for people is written by the one thread that serves all requests.
_MAX_HTML_FEATURES = 100
#: The only reference system in which coordinates are given and taken; parameters may name it.
_CRS84 = {
    "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
    "https://www.opengis.net/def/crs/OGC/1.3/CRS84",
    "[OGC:CRS84]",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_CRS_PARAMETERS = {"crs", "bbox-crs", "filter-crs"}


class Bounded:
    """Lowers ``limit`` to the most there is, as OGC API Features asks, and says in headers how much an answer holds.

    ``OGC-NumberMatched``, ``OGC-NumberReturned`` and a ``Link`` to the next page also come with formats that have no
    place for them, such as CSV and tiles.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 400 itself where the limit is not a number from 1 on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = _max_limit(scope)
        asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        limits = [value for name, value in asked if name == "limit"]
        if any(not _is_limit(one) for one in limits):
            await refuse(scope, send, 400, f"limit: write a whole number from 1 to {most}")
            return
        if limits:
            lowered = [(name, _at_most(value, most) if name == "limit" else value) for name, value in asked]
            scope = {**scope, "query_string": urlencode(lowered).encode()}
        told = Counted()
        token = counted.set(told)
        try:
            await self._app(scope, receive, _counting(scope, send, told))
        finally:
            counted.reset(token)


def _max_limit(scope: Scope) -> int:
    if scope["path"].endswith("/collections"):
        return _MAX_COLLECTIONS
    query = scope["query_string"].decode("latin-1")
    forms = [value.lower() for name, value in parse_qsl(query) if name == "f"]
    accepted = Headers(scope=scope).get("accept", "")
    html = "html" in forms or (not forms and ("text/html" in accepted or "text/*" in accepted))
    return _MAX_HTML_FEATURES if html else MAX_FEATURES


def _is_limit(text: str) -> bool:
    return text.isascii() and text.isdigit() and text.strip("0") != ""


def _at_most(text: str, most: int) -> str:
    digits = text.lstrip("0")
    return str(most) if len(digits) > len(str(most)) or int(digits) > most else digits


def _counting(scope: Scope, send: Send, told: Counted) -> Send:
    async def start(message: Message) -> None:
        if message["type"] == "http.response.start" and told.matched is not None:
            headers = MutableHeaders(scope=message)
            headers["OGC-NumberMatched"] = str(told.matched)
            headers["OGC-NumberReturned"] = str(told.returned)
            if told.next_offset is not None:
                url = Request(scope).url.include_query_params(offset=told.next_offset)
                headers.append("Link", f'<{url}>; rel="next"')
        await send(message)

    return start


def known_parameters(request: Request) -> None:
    """400 for parameters that nobody knows, as OGC API Features asks: a filter that is misspelt filters nothing."""
    route = request.scope["route"]
    known = _declared(route.dependant)
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
            raise HTTPException(400, f"there is no parameter {name!r}; there are {', '.join(sorted(known))}")


def _declared(dependant: Dependant) -> set[str]:
    """Parameters of a route and of everything that it depends on."""
    names = {one.alias for one in dependant.query_params}
    return names.union(*(_declared(one) for one in dependant.dependencies))


def csv_rows(rows: Iterable[dict[str, Any]]) -> Generator[str, None, None]:
    """Lines of CSV, with a head also where there are no rows."""
    rows = iter(rows)
    first = next(rows, None)
    told = counted.get()
    names = ("collectionId", "itemId", *(told.columns if told else ()), "geometry")
    return _lines(list(names if first is None else first), () if first is None else chain((first,), rows))


def _cell(value: Any) -> Any:
    """Spreadsheets compute texts that begin so, whoever wrote them; an apostrophe before one makes it a text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _lines(names: list[str], rows: Iterable[dict[str, Any]]) -> Generator[str, None, None]:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names)
    writer.writeheader()
    yield buffer.getvalue()
    for row in rows:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow({name: _cell(value) for name, value in row.items()})
        yield buffer.getvalue()
