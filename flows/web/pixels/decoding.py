"""Pixels of scenes for the map, decoded in processes of their own.

Files come from anyone and anyone may ask for tiles. Each process has a limit of memory and each answer one of time;
a process that exceeds either ends, the request fails with a reason, and the next one gets a new process. They are few:
requests beyond them wait, and beyond that are refused at once. Nothing that a process sends back is executed: it is
JSON and plain bytes. It knows no secret but the credentials of the source that it reads.
"""

from __future__ import annotations

import atexit
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from threading import Condition, Event, Timer
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from segwatch.db.codec import dump_profile
from segwatch.geo.errors import AccessDenied, GeoError, ReadFailed, SourceFailed, UnfitPixels, UnsafeHref
from segwatch.geo.grid import get_crs
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.http.credentials import NO_CREDENTIALS, Credentials
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.source import Profile

MiB = 1024**2
#: A larger tile, or the reason of a failure, is no answer of ours.
_MAX_SIDE = 1024
_MAX_HEAD_BYTES = 64 * 1024
#: Variables that may hold secrets, or tell where the ledger is.
_NOT_PASSED_ON = ("SEGWATCH_", "PREFECT_", "PG")
#: Threads each reserve memory of their own otherwise, which counts against the limit.
_FRUGAL = {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
#: For a process to load its libraries; what it then does has a time of its own.
_START_SECONDS = 60.0
#: What it sends first.
READY = b"ready"
#: Errors that a process tells of by name and values; an error is told as the first of these that it is.
ERRORS: Mapping[str, type[GeoError]] = {
    one.__name__: one for one in (SourceFailed, UnfitPixels, ReadFailed, UnsafeHref, AccessDenied)
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What decoding may take."""

    processes: int = 4
    waiting: int = 32
    """Requests that wait for a process; further ones are refused."""
    wait_seconds: float = 10.0
    reading_seconds: float = 10.0
    """For the network: a host that does not answer in this time is given up."""
    seconds: float = 20.0
    """For one tile, network included; then its process ends."""
    memory_bytes: int = 512 * MiB
    """Of one process, besides what it has when it starts."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A scene on a grid as it is shown."""

    rgb: NDArray[np.uint8]
    """(H, W, 3); 0 where not valid."""
    valid: NDArray[np.bool_]
    """(H, W): imaged."""


class DecodersBusy(Exception):
    """All processes are busy and enough requests wait; asking again in ``retry_seconds`` may do."""

    def __init__(self, retry_seconds: int) -> None:
        super().__init__("too many tiles of imagery are asked for at the moment; ask again later")
        self.retry_seconds = retry_seconds


class Decoders:
    """A bounded number of processes that read and render; for several threads.

    Processes start when they are first needed and stay.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        self._running = 0
        self._waiting = 0
        self._changed = Condition()

    def render(
        self,
        scene: Scene,
        profile: Profile,
        grid: GeoBox,
        *,
        allowed_hosts: Sequence[str],
        credentials: Credentials = NO_CREDENTIALS,
    ) -> Rendered:
        """The scene on the grid; blocks until it is there.

        Raises
        ------
        ReadFailed, UnsafeHref, AccessDenied
            See :func:`segwatch.geo.sources.rasters.pixels.opened`.
        UnfitPixels
            Also where decoding took more time or memory than it may.
        DecodersBusy
            No process is free in time.
        """
        message = _request(scene, profile, grid, allowed_hosts, credentials, self.limits.reading_seconds)
        with self._process() as process:
            head, body = process.ask(message, self.limits.seconds, grid)
        if head is None:
            limits = self.limits
            overdue = f"took more than {limits.seconds:g} s"
            died = f"failed or needed more than {limits.memory_bytes // MiB} MiB"
            excess = overdue if process.overdue.is_set() else died
            raise UnfitPixels(
                profile.red.asset, hrefs.shown(scene.items[0].href), f"decoding it for a tile {excess}"
            )
        if "error" in head:
            raise _error(head)
        count = grid.height * grid.width
        rgb = np.frombuffer(body, np.uint8, 3 * count).reshape(*grid.shape, 3)
        valid = np.frombuffer(body, np.uint8, count, 3 * count).reshape(grid.shape) != 0
        return Rendered(rgb, valid)

    def close(self) -> None:
        """End all processes."""
        with self._changed:
            processes, self._idle = [*self._idle, *self._busy], []
        for one in processes:
            one.kill()

    @contextmanager
    def _process(self) -> Iterator[_Process]:
        process = self._take()
        try:
            yield process
        finally:
            with self._changed:
                self._running -= 1
                self._busy.discard(process)
                if process.alive:
                    self._idle.append(process)
                self._changed.notify()

    def _take(self) -> _Process:
        limits = self.limits
        with self._changed:
            if self._running >= limits.processes:
                if self._waiting >= limits.waiting:
                    raise DecodersBusy(round(limits.wait_seconds))
                self._waiting += 1
                try:
                    if not self._changed.wait_for(
                        lambda: self._running < limits.processes, limits.wait_seconds
                    ):
                        raise DecodersBusy(round(limits.wait_seconds))
                finally:
                    self._waiting -= 1
            self._running += 1
            while self._idle and not self._idle[-1].alive:
                self._idle.pop()
            try:
                process = self._idle.pop() if self._idle else _Process(limits.memory_bytes)
            except BaseException:
                self._running -= 1
                raise
            self._busy.add(process)
            return process


@cache
def _shared() -> Decoders:
    decoders = Decoders()
    atexit.register(decoders.close)
    return decoders


def render(
    scene: Scene,
    profile: Profile,
    grid: GeoBox,
    *,
    allowed_hosts: Sequence[str],
    credentials: Credentials = NO_CREDENTIALS,
) -> Rendered:
    """As :meth:`Decoders.render`, in the processes that everything in this process shares."""
    return _shared().render(scene, profile, grid, allowed_hosts=allowed_hosts, credentials=credentials)


class _Process:
    """One process that answers one request at a time; see :mod:`segwatch.flows.web.pixels.decoder`."""

    def __init__(self, memory_bytes: int) -> None:
        given = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED_ON)}
        argv = [sys.executable, "-P", "-m", "segwatch.flows.web.pixels.decoder", str(memory_bytes)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=given | _FRUGAL
        )
        self._ready = False
        self.overdue = Event()
        """Set once it was ended for taking too long."""

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, message: bytes, seconds: float, grid: GeoBox) -> tuple[dict[str, Any] | None, bytes]:
        """Head and body of its answer; no head where it died or what it sent is no answer, and then it is ended."""
        answered = False
        try:
            assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018
            if not self._ready:
                with self._within(_START_SECONDS):
                    self._ready = exactly(self._process.stdout, len(READY)) == READY
            with self._within(seconds):
                self._process.stdin.write(framed(message))
                self._process.stdin.flush()
                head = dict(json.loads(received(self._process.stdout, _MAX_HEAD_BYTES)))
                body = (
                    exactly(self._process.stdout, 4 * grid.width * grid.height)
                    if "error" not in head
                    else b""
                )
            answered = True
        except (OSError, ValueError, TypeError, EOFError, RecursionError):
            return None, b""
        finally:
            if not answered:
                self.kill()
        return head, body

    @contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        """End it where the block takes longer."""
        timer = Timer(seconds, self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def kill(self) -> None:
        """End it now."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                _close(pipe)

    def _end(self) -> None:
        self.overdue.set()
        self._process.kill()


def _close(pipe: IO[bytes]) -> None:
    with suppress(OSError):  # what could not be sent is sent to nobody
        pipe.close()


def _request(
    scene: Scene,
    profile: Profile,
    grid: GeoBox,
    hosts: Sequence[str],
    credentials: Credentials,
    reading_seconds: float,
) -> bytes:
    if grid.width > _MAX_SIDE or grid.height > _MAX_SIDE:
        raise ValueError(f"a tile of {grid.width} x {grid.height} pixels is larger than {_MAX_SIDE}")
    document = {
        "items": [_item(one) for one in scene.items],
        "profile": dump_profile(profile),
        "crs": get_crs(grid).to_wkt(),
        "transform": list(grid.transform)[:6],
        "shape": list(grid.shape),
        "hosts": list(hosts),
        "credentials": dict(credentials),
        "reading_seconds": reading_seconds,
    }
    return json.dumps(document).encode()


def _item(item: Item) -> dict[str, Any]:
    """What reading an item needs to know of it."""
    return {
        "id": item.id,
        "collection": item.collection,
        "href": item.href,
        "acquired_at": item.acquired_at.isoformat(),
        "platform": item.platform,
        "relative_orbit": item.relative_orbit,
        "processing_baseline": item.processing_baseline,
        "assets": dict(item.assets),
        "properties": dict(item.properties),
    }


def _error(head: dict[str, Any]) -> GeoError:
    kind, values = ERRORS.get(str(head["error"])), head.get("values")
    if kind is None or not isinstance(values, list):
        return GeoError("imagery could not be read")
    return kind(*map(str, values))


def framed(content: bytes) -> bytes:
    """A message with its length."""
    return struct.pack(">I", len(content)) + content


def received(pipe: IO[bytes], limit: int) -> bytes:
    """A message without its length.

    Raises
    ------
    EOFError
        It did not come, or is longer than it may be.
    """
    (count,) = struct.unpack(">I", exactly(pipe, 4))
    if count > limit:
        raise EOFError
    return exactly(pipe, count)


def exactly(pipe: IO[bytes], count: int) -> bytes:
    """So many bytes.

    Raises
    ------
    EOFError
        Fewer came.
    """
    content = pipe.read(count)
    if len(content) < count:
        raise EOFError
    return content
