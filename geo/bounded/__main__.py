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

#: Without a request for so long, it ends.
_IDLE_SECONDS = 60.0
#: Who started it ends it in time; it ends itself when nobody is left to do that.
_GRACE_SECONDS = 5


def main(max_bytes: int, max_seconds: float) -> None:
    """Answer requests until there are none."""
    resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    tasks.write_bytes(answers, b"ready")
    answers.flush()
    while select.select([requests], [], [], _IDLE_SECONDS)[0]:
        signal.alarm(int(max_seconds) + _GRACE_SECONDS)
        try:
            asked = tasks.read_request(requests)
        except EOFError:
            return
        _answer(answers, asked)
        signal.alarm(0)


def _answer(answers: BinaryIO, asked: tuple[tasks.Task, list[BaseGeometry], list[float]]) -> None:
    try:
        content = shapely.to_wkb(tasks.compute(*asked))
    except (MemoryError, shapely.errors.ShapelyError):
        content = b""
    tasks.write_bytes(answers, content)
    answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
