"""The map's vector tiles, made once for each state of the ledger.

What holds may change at any moment, so no tile is given without asking whether the ledger is still the one that it was
made from: the database names the transactions that it shows, and two equal names show the same rows.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from morecantile import Tile
from sqlalchemy import Engine

from segwatch.db import analyst
from segwatch.flows.web.caching import Flights, Made, TileCache
from segwatch.flows.web.guards.access import for_reader

#: Tiles that are made at a time, and connections that it takes: one more asks for snapshots.
THREADS = 4
CONNECTIONS = THREADS + 1
MAX_CACHE_BYTES = 64 * 2**20
MEDIA_TYPE = "application/vnd.mapbox-vector-tile"
#: Longer names of watches and times are not kept: they cost more than tiles do.
_MAX_KEPT_NAME = 300


@dataclass(frozen=True, slots=True)
class TileKey:
    """What a tile shows."""

    watch: str
    at: str
    place: Tile
    seen_by: tuple[str, str]
    """Settings of who may see it: readers of different watches share no tile."""


class Snapshots:
    """Names of what the database shows, each read after whoever asks for it has come.

    Those who come while one is read share the next one.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._reading: asyncio.Task[str] | None = None
        self._next: asyncio.Task[str] | None = None

    async def current(self) -> str:
        """The name of what the database shows now."""
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
    """Tiles of objects, at most :data:`THREADS` made at a time."""

    def __init__(self, engine: Engine, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._engine = engine
        self._snapshots = Snapshots(engine)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="vector-tile")
        self._kept: TileCache[TileKey] = TileCache(max_bytes)
        self._flights: Flights[tuple[TileKey, str], Made] = Flights()

    async def tile(self, key: TileKey) -> Made:
        """The tile, as the database shows it now."""
        now = await self._snapshots.current()
        kept = self._kept.get(key)
        if kept is not None and kept.snapshot == now:
            return kept
        return await self._flights.join((key, now), lambda: self._make(key))

    async def _make(self, key: TileKey) -> Made:
        made = await asyncio.get_running_loop().run_in_executor(self._threads, for_reader(self._read), key)
        if max(len(key.watch), len(key.at)) <= _MAX_KEPT_NAME:
            self._kept.put(key, made)
        return made

    def _read(self, key: TileKey) -> Made:
        with self._engine.connect() as conn:
            snapshot, content = analyst.read_object_tile(
                conn, key.watch, key.at, key.place.z, key.place.x, key.place.y
            )
        return Made.of(content, MEDIA_TYPE, snapshot)
