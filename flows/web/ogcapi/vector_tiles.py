"""Vector tiles of the map, made once for each version of a watch's data.

Objects may change at any moment, so before a cached tile is used, or a client is told that its own one still holds, the
database is asked for the version of the watch. The ETag names version and parameters, so that nothing is read for a
tile that the client has.
"""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version as read_package_version

from fastapi import Request, Response
from sqlalchemy import Engine

from segwatch.db import analyst
from segwatch.flows.web.caching import (
    MadeTile,
    SingleFlight,
    TileCache,
    has_current_etag,
    respond_unchanged,
    respond_with_tile,
)
from segwatch.flows.web.guards.access import bind_reader

#: Tiles that are made at the same time; one more connection reads versions.
THREADS = 4
CONNECTIONS = THREADS + 1
MAX_CACHE_BYTES = 64 * 2**20
MEDIA_TYPE = "application/vnd.mapbox-vector-tile"
#: Another release may draw the same data otherwise.
_DRAWN_BY = read_package_version("segwatch"), 3
#: A new scene or verdict may change the objects at any moment.
_CACHE_CONTROL = "no-cache"
#: Tiles with longer names of watches or times are not cached, because the keys would take more memory than the tiles.
_MAX_CACHED_NAME = 300


@dataclass(frozen=True, slots=True)
class TileKey:
    """What identifies a tile."""

    shown: analyst.TileMoment | analyst.TileSpan
    place: analyst.TilePlace
    seen_by: tuple[str, str]
    """Session settings of the reader, so that readers of different watches share no tile."""

    def make_etag(self, version: str) -> str:
        """Make the ETag of this tile for a version of the watch's data."""
        return f'"{hashlib.sha256(repr((_DRAWN_BY, version, self)).encode()).hexdigest()[:32]}"'


class Versions:
    """Versions of watches, each read after the request that needs it came in.

    Requests of readers with the same rights that come in while a version is being read share the next one.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="data-version")
        self._reading: dict[tuple[str, tuple[str, str]], asyncio.Task[str]] = {}
        self._next: dict[tuple[str, tuple[str, str]], asyncio.Task[str]] = {}

    async def read_current(self, watch: str, seen_by: tuple[str, str]) -> str:
        """Return the current version of a watch."""
        key = (watch, seen_by)
        if key not in self._next:
            self._next[key] = asyncio.create_task(self._read_after(key, self._reading.get(key)))
        return await asyncio.shield(self._next[key])

    async def _read_after(self, key: tuple[str, tuple[str, str]], before: asyncio.Task[str] | None) -> str:
        if before is not None:
            await asyncio.wait({before})
        current = self._reading[key] = self._next.pop(key)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, bind_reader(self._read), key[0])
        finally:
            if self._reading.get(key) is current:
                del self._reading[key]

    def _read(self, watch: str) -> str:
        with self._engine.connect() as conn:
            return analyst.read_version(conn, watch)


class VectorTiles:
    """Tiles of objects, made by at most :data:`THREADS` threads."""

    def __init__(self, engine: Engine, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._engine = engine
        self._versions = Versions(engine)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="vector-tile")
        self._cache: TileCache[TileKey] = TileCache(max_bytes)
        self._running: SingleFlight[tuple[TileKey, str], MadeTile] = SingleFlight()

    async def respond(self, request: Request, key: TileKey) -> Response:
        """Respond with the tile for the current version, or 304 if the client has it already."""
        version = await self._versions.read_current(key.shown.watch, key.seen_by)
        etag = key.make_etag(version)
        if has_current_etag(request, etag):
            return respond_unchanged(etag, _CACHE_CONTROL)
        cached = self._cache.get(key)
        if cached is None or cached.version != version:
            cached = await self._running.join((key, version), lambda: self._make(key))
        return respond_with_tile(request, cached, _CACHE_CONTROL)

    async def _make(self, key: TileKey) -> MadeTile:
        made = await asyncio.get_running_loop().run_in_executor(self._threads, bind_reader(self._read), key)
        if key.shown.longest_text <= _MAX_CACHED_NAME:
            self._cache.put(key, made)
        return made

    def _read(self, key: TileKey) -> MadeTile:
        with self._engine.connect() as conn:
            if isinstance(key.shown, analyst.TileMoment):
                version, content = analyst.read_object_tile(conn, key.shown, key.place)
            else:
                version, content = analyst.read_change_tile(conn, key.shown, key.place)
        return MadeTile(content, MEDIA_TYPE, key.make_etag(version), version)
