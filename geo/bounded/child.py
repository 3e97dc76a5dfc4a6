"""A child process that computes what may cost too much, with limits of memory and time that the system enforces.

One child serves this process as long as there is work; it is started when first needed, and anew after a limit ended
it. Its limits are its own: GEOS takes memory by itself, and stops for no signal handler of Python.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO, cast

import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.geo.bounded import tasks
from segwatch.geo.bounded.tasks import Task
from segwatch.geo.errors import TooComplex

#: Of address space; an idle child takes some 250 MiB of it, and 60 MiB of memory.
MAX_BYTES = 768 * 1024**2
#: For one operation. What passes :mod:`segwatch.geo.bounded.screen` takes a second or two.
MAX_SECONDS = 5.0
#: The child itself may need longer to start on a busy machine.
_START_SECONDS = 60.0
#: What the child needs of the environment; secrets are not among it.
_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
_READY = b"ready"


class _Child:
    def __init__(self) -> None:
        self.owner = os.getpid()
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "segwatch.geo.bounded", str(MAX_BYTES), str(MAX_SECONDS)],
            env=kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._requests = cast("BinaryIO", self._process.stdin)
        self._answers = cast("BinaryIO", self._process.stdout)
        with self._limited(_START_SECONDS):
            if self._answer() != _READY:
                raise EOFError

    def run(self, task: Task, geometries: Sequence[BaseGeometry], numbers: Sequence[float]) -> bytes:
        """WKB of the result; EOFError, BrokenPipeError when the child has ended."""
        with self._limited(MAX_SECONDS):
            tasks.write_request(self._requests, task, geometries, numbers)
            return self._answer()

    def is_alive(self) -> bool:
        """Whether it can be asked: it is this process's own, and runs."""
        return self.owner == os.getpid() and self._process.poll() is None

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._answers):
            with suppress(BrokenPipeError):  # what was not sent yet
                pipe.close()

    def _answer(self) -> bytes:
        return tasks.read_bytes(self._answers)

    def _limited(self, seconds: float) -> _Timer:
        return _Timer(seconds, self._process.kill)


class _Timer(threading.Timer):
    """Runs its function unless the block ends in time."""

    def __enter__(self) -> None:
        self.daemon = True
        self.start()

    def __exit__(self, *_: object) -> None:
        self.cancel()


_lock = threading.Lock()
_current: _Child | None = None


def run(task: Task, geometries: Sequence[BaseGeometry], numbers: Sequence[float] = ()) -> BaseGeometry:
    """The result of an operation, computed in the child.

    Raises
    ------
    TooComplex
        It takes more memory than :data:`MAX_BYTES`, longer than :data:`MAX_SECONDS`, or fails.
    """
    with _lock:
        if _current is not None and not _current.is_alive():
            _end()  # an idle child ends by itself
        try:
            answer = _started().run(task, geometries, numbers)
        except (EOFError, OSError) as error:
            _end()
            raise _refusal() from error
    if not answer:
        raise _refusal()
    return shapely.from_wkb(answer)


def _refusal() -> TooComplex:
    return TooComplex(
        f"its outline takes more than {MAX_SECONDS:g} s or {MAX_BYTES // 1024**2} MiB to compute with"
    )


def _started() -> _Child:
    global _current  # noqa: PLW0603 - one child for the process
    if _current is None or _current.owner != os.getpid():
        _current = _Child()
    return _current


def _end() -> None:
    global _current  # noqa: PLW0603 - see above
    if _current is not None and _current.owner == os.getpid():
        _current.close()
    _current = None


atexit.register(_end)
