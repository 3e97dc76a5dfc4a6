"""Run expensive geometry operations in a child process whose memory and time the operating system limits.

Limits in this process would not work: GEOS allocates memory itself and does not stop for Python's signal handlers. One
child serves the process; it is started on first use, and again after a limit has ended it.
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

#: Limit of address space; an idle child uses some 250 MiB of it, and 60 MiB of memory.
MAX_BYTES = 768 * 1024**2
#: Limit of one operation; what passes :mod:`segwatch.geo.bounded.screen` takes a second or two.
MAX_SECONDS = 5.0
#: Starting the child may take longer on a busy machine.
_START_SECONDS = 60.0
#: Environment variables of the child; secrets are not passed on.
_PASSED_VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
_READY = b"ready"


class _Child:
    def __init__(self) -> None:
        self.owner = os.getpid()
        passed = {name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "segwatch.geo.bounded", str(MAX_BYTES), str(MAX_SECONDS)],
            env=passed | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._requests = cast("BinaryIO", self._process.stdin)
        self._results = cast("BinaryIO", self._process.stdout)
        with self._limited(_START_SECONDS):
            if self._read_result() != _READY:
                raise EOFError

    def run(self, task: Task, geometries: Sequence[BaseGeometry], numbers: Sequence[float]) -> bytes:
        """Return the result as WKB; raise EOFError or BrokenPipeError if the child has ended."""
        with self._limited(MAX_SECONDS):
            tasks.write_request(self._requests, task, geometries, numbers)
            return self._read_result()

    def is_alive(self) -> bool:
        """Whether the child runs and belongs to this process, not to the one it was forked from."""
        return self.owner == os.getpid() and self._process.poll() is None

    def close(self) -> None:
        """Kill the child."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._results):
            with suppress(BrokenPipeError):  # an unsent request
                pipe.close()

    def _read_result(self) -> bytes:
        return tasks.read_bytes(self._results)

    def _limited(self, seconds: float) -> _Timer:
        return _Timer(seconds, self._process.kill)


class _Timer(threading.Timer):
    """Calls its function unless the block ends in time."""

    def __enter__(self) -> None:
        self.daemon = True
        self.start()

    def __exit__(self, *_: object) -> None:
        self.cancel()


_lock = threading.Lock()
_current: _Child | None = None


def run(task: Task, geometries: Sequence[BaseGeometry], numbers: Sequence[float] = ()) -> BaseGeometry:
    """Compute an operation in the child.

    Raises
    ------
    TooComplex
        The operation exceeds :data:`MAX_BYTES` or :data:`MAX_SECONDS`, or fails.
    """
    with _lock:
        if _current is not None and not _current.is_alive():
            _end()  # an idle child exits
        try:
            result = _get_child().run(task, geometries, numbers)
        except (EOFError, OSError) as error:
            _end()
            raise _refusal() from error
    if not result:
        raise _refusal()
    return shapely.from_wkb(result)


def _refusal() -> TooComplex:
    return TooComplex(
        f"computing with its geometry takes more than {MAX_SECONDS:g} s or {MAX_BYTES // 1024**2} MiB"
    )


def _get_child() -> _Child:
    global _current  # noqa: PLW0603 - one child per process
    if _current is None or _current.owner != os.getpid():
        _current = _Child()
    return _current


def _end() -> None:
    global _current  # noqa: PLW0603 - see above
    if _current is not None and _current.owner == os.getpid():
        _current.close()
    _current = None


atexit.register(_end)
