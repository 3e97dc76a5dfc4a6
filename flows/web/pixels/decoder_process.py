"""One decoder process, as the web server sees it: start it, ask it, end it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Timer
from typing import IO, Any

from odc.geo.geobox import GeoBox

from segwatch.flows.web.pixels import wire

#: Environment variables that a decoder does not get: they may hold secrets or the ledger's address.
_WITHHELD = ("SEGWATCH_", "PREFECT_", "PG")
#: One memory arena and one thread, because each further one reserves memory that counts against the limit.
_FRUGAL = {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
#: Time for a process to load its libraries; rendering has a time limit of its own.
_START_SECONDS = 60.0


class DecoderProcess:
    """A process that renders one tile at a time; see :mod:`segwatch.flows.web.pixels.decoder`."""

    def __init__(self, memory_bytes: int) -> None:
        given = {name: value for name, value in os.environ.items() if not name.startswith(_WITHHELD)}
        argv = [sys.executable, "-P", "-m", "segwatch.flows.web.pixels.decoder", str(memory_bytes)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=given | _FRUGAL
        )
        self._ready = False
        self.overdue = Event()
        """Set if the process was ended because it took too long."""

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def ask(self, message: bytes, seconds: float, grid: GeoBox) -> tuple[dict[str, Any] | None, bytes]:
        """Send a request and return head and body of the response.

        The head is None if the process died or sent something invalid; the process is ended then.
        """
        complete = False
        try:
            assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018
            if not self._ready:
                with self._limited_to(_START_SECONDS):
                    self._ready = wire.read_exactly(self._process.stdout, len(wire.READY)) == wire.READY
            with self._limited_to(seconds):
                self._process.stdin.write(wire.frame(message))
                self._process.stdin.flush()
                head = dict(json.loads(wire.receive(self._process.stdout, wire.MAX_HEAD_BYTES)))
                count = 0 if "error" in head else 4 * grid.width * grid.height
                body = wire.read_exactly(self._process.stdout, count)
            complete = True
        except (OSError, ValueError, TypeError, EOFError, RecursionError):
            return None, b""
        finally:
            if not complete:
                self.kill()
        return head, body

    @contextmanager
    def _limited_to(self, seconds: float) -> Iterator[None]:
        """End the process if the block takes longer."""
        timer = Timer(seconds, self._end_overdue)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def kill(self) -> None:
        """End the process now."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                _close(pipe)

    def _end_overdue(self) -> None:
        self.overdue.set()
        self._process.kill()


def _close(pipe: IO[bytes]) -> None:
    with suppress(OSError):  # closing flushes to a process that is gone
        pipe.close()
