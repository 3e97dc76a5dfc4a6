"""The child process of :mod:`segwatch.geo.bounded.child`: ``python -m segwatch.geo.bounded BYTES SECONDS``."""

from __future__ import annotations

import resource
import select
import signal
import sys
from typing import BinaryIO

import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.geo.bounded import tasks

#: Exit after this time without a request.
_IDLE_SECONDS = 60.0
#: The parent kills the child at the time limit; if the parent is gone, the alarm does so this much later.
_GRACE_SECONDS = 5


def main(max_bytes: int, max_seconds: float) -> None:
    """Serve requests from standard input until it is closed or idle."""
    resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, results = sys.stdin.buffer, sys.stdout.buffer
    tasks.write_bytes(results, b"ready")
    results.flush()
    while select.select([requests], [], [], _IDLE_SECONDS)[0]:
        signal.alarm(int(max_seconds) + _GRACE_SECONDS)
        try:
            request = tasks.read_request(requests)
        except EOFError:
            return
        _compute(results, request)
        signal.alarm(0)


def _compute(results: BinaryIO, request: tuple[tasks.Task, list[BaseGeometry], list[float]]) -> None:
    try:
        content = shapely.to_wkb(tasks.compute(*request))
    except (MemoryError, shapely.errors.ShapelyError):
        content = b""
    tasks.write_bytes(results, content)
    results.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
