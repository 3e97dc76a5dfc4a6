"""Render scenes for the map in decoder processes, each with limits of memory and time.

Files come from anyone, and anyone may request tiles. A process that exceeds a limit ends, its request fails with a
reason, and the next request gets a new process. There are few processes: further requests wait, and beyond that they
are refused at once. The only secrets that a process gets are the credentials of the source that it reads.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Condition

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from segwatch.flows.web.pixels import wire
from segwatch.flows.web.pixels.decoder_process import DecoderProcess
from segwatch.geo.errors import UnfitPixels
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.http.credentials import NO_CREDENTIALS, Credentials
from segwatch.geo.types.scene import Scene
from segwatch.geo.types.source import Profile

MiB = 1024**2


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of decoding."""

    processes: int = 4
    waiting: int = 32
    """Requests that may wait for a process; further ones are refused."""
    wait_seconds: float = 10.0
    reading_seconds: float = 10.0
    """Time limit for the network."""
    seconds: float = 20.0
    """Time limit for one tile, network included; then its process is ended."""
    memory_bytes: int = 512 * MiB
    """Memory of one process, on top of what it has when it starts."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A scene rendered on a grid."""

    rgb: NDArray[np.uint8]
    """(H, W, 3); 0 where not valid."""
    valid: NDArray[np.bool_]
    """(H, W): where the scene holds data."""


class DecodersBusy(Exception):
    """All processes are busy and enough requests wait; retry after ``retry_seconds``."""

    def __init__(self, retry_seconds: int) -> None:
        super().__init__("too many imagery tiles are being requested; try again later")
        self.retry_seconds = retry_seconds


class Decoders:
    """A bounded number of decoder processes; thread-safe.

    Processes start when they are first needed and stay.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._idle: list[DecoderProcess] = []
        self._busy: set[DecoderProcess] = set()
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
        """Render the scene on the grid; blocks until it is done.

        Raises
        ------
        ReadFailed, UnsafeHref, AccessDenied
            See :func:`segwatch.geo.sources.rasters.pixels.open_scene`.
        UnfitPixels
            Also if decoding exceeded its limit of time or memory.
        DecodersBusy
            No process became free in time.
        """
        message = wire.encode_request(
            scene,
            profile,
            grid,
            hosts=allowed_hosts,
            credentials=credentials,
            reading_seconds=self.limits.reading_seconds,
        )
        with self._process() as process:
            head, body = process.ask(message, self.limits.seconds, grid)
        if head is None:
            limits = self.limits
            overdue = f"took more than {limits.seconds:g} s"
            died = f"failed or needed more than {limits.memory_bytes // MiB} MiB"
            excess = overdue if process.overdue.is_set() else died
            raise UnfitPixels(
                profile.red.asset, hrefs.redact_href(scene.items[0].href), f"decoding it for a tile {excess}"
            )
        if "error" in head:
            raise wire.load_error(head)
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
    def _process(self) -> Iterator[DecoderProcess]:
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

    def _take(self) -> DecoderProcess:
        limits = self.limits
        with self._changed:
            if self._running >= limits.processes:
                self._wait()
            self._running += 1
            while self._idle and not self._idle[-1].alive:
                self._idle.pop()
            try:
                process = self._idle.pop() if self._idle else DecoderProcess(limits.memory_bytes)
            except BaseException:
                self._running -= 1
                raise
            self._busy.add(process)
            return process

    def _wait(self) -> None:
        """Wait for a process to become free; the caller holds the condition."""
        limits = self.limits
        if self._waiting >= limits.waiting:
            raise DecodersBusy(round(limits.wait_seconds))
        self._waiting += 1
        try:
            if not self._changed.wait_for(lambda: self._running < limits.processes, limits.wait_seconds):
                raise DecodersBusy(round(limits.wait_seconds))
        finally:
            self._waiting -= 1


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
    """Render as :meth:`Decoders.render` does, with the decoders that this process shares."""
    return _shared().render(scene, profile, grid, allowed_hosts=allowed_hosts, credentials=credentials)
