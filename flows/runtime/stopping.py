"""Stop the process on a signal and release its leases at once, whatever it is doing.

Code that holds leases registers how to release them (:func:`release_on_stop`). On SIGTERM, SIGINT or SIGHUP, loops that
check :data:`stop_requested` end by themselves. A process that does not end within a second is ended after its leases
were released. All other state is in the ledger, where a process may end between any two statements.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from segwatch.db.errors import describe_error

_log = logging.getLogger(__name__)

#: Set once a signal asked this process to stop.
stop_requested = threading.Event()
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Time for the process to end by itself, and time to release its leases.
_GRACE_SECONDS = 1.0
_RELEASE_SECONDS = 5.0

_Release = Callable[[], int]
_held: dict[object, tuple[str, _Release]] = {}
_lock = threading.Lock()
_ending = threading.Lock()


@contextmanager
def release_on_stop(what: str, release: _Release) -> Iterator[None]:
    """Register how to release the leases that the block holds, for the case that the process is stopped.

    Parameters
    ----------
    what
        Name of the leases for messages, such as ``scenes``.
    release
        Releases the leases and returns their number; called from another thread.
    """
    key = object()
    with _lock:
        _held[key] = (what, release)
    try:
        yield
    finally:
        with _lock:
            _held.pop(key, None)


def release_all() -> list[str]:
    """Release every lease of this process; return a description of each kind."""
    with _lock:
        held = list(_held.values())
    done: list[str] = []

    def release(what: str, how: _Release) -> None:
        try:
            count = how()
        except Exception as error:
            # continue with the others
            _log.warning(
                "%s could not be released, their leases will expire: %s", what, describe_error(error)
            )
        else:
            done.extend([f"{count} {what}"] if count else [])

    threads = [threading.Thread(target=release, args=one, daemon=True) for one in held]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_RELEASE_SECONDS)
    return done


@contextmanager
def stop_on_signals(say: Callable[[str], None]) -> Iterator[None]:
    """End the process with status 128 + N if signal N arrives during the block.

    Ignored signals, such as under nohup, stay ignored. Outside the main thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stop_requested.clear()
    watching = _SignalWatcher(say)
    try:
        yield
    finally:
        watching.end()


class _SignalWatcher:
    """A thread that handles signals even while the main thread is blocked in a library."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._over = threading.Event()
        self._got: int | None = None
        self._reads, self._writes = socket.socketpair()
        self._writes.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._writes.fileno())
        self._handlers_before = {
            number: signal.signal(number, _ignore)
            for number in _SIGNALS
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        self._thread = threading.Thread(target=self._watch, name="stopping", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Restore the signal handlers; end the process if a signal has arrived."""
        self._over.set()
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        if self._got is not None:
            _exit(self._got, self._say)
        self._writes.send(b"\0")
        self._thread.join()
        self._reads.close()
        self._writes.close()

    def _watch(self) -> None:
        while not self._over.is_set():
            (number,) = self._reads.recv(1)
            if number in self._handlers_before:
                self._got = number
                stop_requested.set()
                if not self._over.wait(_GRACE_SECONDS):
                    _exit(number, self._say)
                return


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing; Python's own handler would interrupt the main thread between any two instructions."""


def _exit(number: int, say: Callable[[str], None]) -> None:
    """Release all leases and end the process, without waiting for threads that hang in a read or a driver."""
    _ending.acquire()  # never released: the main thread and the watching thread may both get here
    released = release_all()
    name = signal.Signals(number).name
    say(f"stopped by {name}; released: {', '.join(released) or 'nothing'}. Run the command again to continue")
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(128 + number)
