"""Vector tiles of the map, made once for each state of the ledger.

Objects may change at any moment, so before a cached tile is used, the database is asked for its current snapshot: two
equal snapshot names show the same rows.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from morecantile import Tile
from sqlalchemy import Engine

from segwatch.db import analyst
from segwatch.flows.web.caching import MadeTile, SingleFlight, TileCache
from segwatch.flows.web.guards.access import bind_reader

#: Tiles that are made at the same time; one more connection reads snapshots.
THREADS = 4
CONNECTIONS = THREADS + 1
MAX_CACHE_BYTES = 64 * 2**20
MEDIA_TYPE = "application/vnd.mapbox-vector-tile"
#: Tiles with longer names of watches or times are not cached, because the keys would take more memory than the tiles.
_MAX_CACHED_NAME = 300


@dataclass(frozen=True, slots=True)
class TileKey:
    """What identifies a tile."""

    watch: str
    at: str
    place: Tile
    seen_by: tuple[str, str]
    """Session settings of the reader, so that readers of different watches share no tile."""


class Snapshots:
    """Names of database snapshots, each read after the request that needs it came in.

    Requests that come in while one is being read share the next one.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._reading: asyncio.Task[str] | None = None
        self._next: asyncio.Task[str] | None = None

    async def read_current(self) -> str:
        """Return the name of the current snapshot."""
        if self._next is None:
            self._next = asyncio.create_task(self._read_after(self._reading))
        return await asyncio.shield(self._next)

    async def _read_after(self, before: asyncio.Task[str] | None) -> str:
        if before is not None:
            await asyncio.wait({before})
        self._reading, self._next = self._next, None
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read)

    def _read(self) -> str:
        with self._engine.connect() as conn:
            return analyst.read_snapshot(conn)


class VectorTiles:
    """Tiles of objects, made by at most :data:`THREADS` threads."""

    def __init__(self, engine: Engine, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._engine = engine
        self._snapshots = Snapshots(engine)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="vector-tile")
        self._cache: TileCache[TileKey] = TileCache(max_bytes)
        self._running: SingleFlight[tuple[TileKey, str], MadeTile] = SingleFlight()

    async def get_tile(self, key: TileKey) -> MadeTile:
        """Return the tile for the current snapshot."""
        now = await self._snapshots.read_current()
        cached = self._cache.get(key)
        if cached is not None and cached.snapshot == now:
            return cached
        return await self._running.join((key, now), lambda: self._make(key))

    async def _make(self, key: TileKey) -> MadeTile:
        made = await asyncio.get_running_loop().run_in_executor(self._threads, bind_reader(self._read), key)
        if max(len(key.watch), len(key.at)) <= _MAX_CACHED_NAME:
            self._cache.put(key, made)
        return made

    def _read(self, key: TileKey) -> MadeTile:
        with self._engine.connect() as conn:
            snapshot, content = analyst.read_object_tile(
                conn, key.watch, key.at, key.place.z, key.place.x, key.place.y
            )
        return MadeTile.from_content(content, MEDIA_TYPE, snapshot)
