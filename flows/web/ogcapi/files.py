"""GeoParquet and FlatGeobuf of the OGC API: ``f=parquet`` and ``f=fgb`` of a collection's items.

The request is passed on for GeoJSON, so that parameters, access, limits and pages are those of every other format, and
the page is then written in the other format. Headers say how many features match and where the next page is.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl, urlencode

import anyio.to_thread
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segwatch.flows.export.features import FeatureFormat, write_features
from segwatch.flows.runtime import extras
from segwatch.flows.web.guards.refusals import refuse

_ITEMS = re.compile(r"/collections/(?P<collection>[^/]+)/items/?$")
#: Headers of the GeoJSON response that do not describe the file.
_REPLACED = {b"content-type", b"content-length", b"content-disposition"}


class BinaryFormats:
    """Middleware that writes pages of features as GeoParquet or FlatGeobuf."""

    def __init__(self, app: ASGIApp, features: FastAPI) -> None:
        self._app = app
        self._features = features

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for a binary format, and pass every other one on."""
        found = _ITEMS.search(scope["path"]) if scope["type"] == "http" else None
        form = None if found is None else _find_format(scope)
        if found is None or form is None:
            await self._app(scope, receive, send)
            return
        if not extras.has_extra("analysis"):
            await refuse(
                scope, send, 406, f"f={form} needs packages that this server lacks; use f=geojson or f=csv"
            )
            return
        kept = _Kept()
        await self._app(_ask_geojson(scope), receive, kept.send)
        if kept.status != 200:
            await Response(kept.body, kept.status, dict(kept.headers))(scope, receive, send)
            return
        collection = found["collection"]
        columns = self._list_columns(collection, scope)
        name = collection.rpartition(".")[2]
        content = await anyio.to_thread.run_sync(
            lambda: write_features(json.loads(kept.body)["features"], columns, form, name)
        )
        headers = {name: value for name, value in kept.headers.items() if name.encode() not in _REPLACED}
        headers["content-disposition"] = f'attachment; filename="{name}.{form.value}"'
        await Response(content, 200, headers, form.media_type)(scope, receive, send)

    def _list_columns(self, name: str, scope: Scope) -> dict[str, str]:
        """List the requested properties of a collection with their types."""
        collection = self._features.state.collection_catalog["collections"][name]
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        asked = query.get("properties")
        wanted = None if asked is None else {one.strip() for one in asked.split(",")}
        return {
            one.name: str(one.type)
            for one in collection.properties
            if not one.is_geometry and one.name != "id" and (wanted is None or one.name in wanted)
        }


class _Kept:
    """A response that is kept instead of sent."""

    def __init__(self) -> None:
        self.status = 500
        self.headers: dict[str, str] = {}
        self.body = b""
        self._parts: list[bytes] = []

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(Headers(raw=message["headers"]))
        elif message["type"] == "http.response.body":
            self._parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                self.body = b"".join(self._parts)
                self._parts = []


def _find_format(scope: Scope) -> FeatureFormat | None:
    query: list[tuple[str, str]] = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    given = [value.lower() for name, value in query if name == "f"]
    if given:
        return next((one for one in FeatureFormat if one.value == given[-1]), None)
    accepted = Headers(scope=scope).get("accept", "")
    return next((one for one in FeatureFormat if one.media_type in accepted), None)


def _ask_geojson(scope: Scope) -> dict[str, Any]:
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    kept = [(name, value) for name, value in query if name != "f"]
    # the answer must be readable here, whatever the client can decompress
    headers = [
        (name, value)
        for name, value in scope["headers"]
        if name.lower() not in {b"accept", b"accept-encoding"}
    ]
    return {**scope, "query_string": urlencode([*kept, ("f", "geojson")]).encode(), "headers": headers}
