"""Stop a process that was told to: its leases go back at once, whatever it is in the middle of.

What holds leases registers how to give them back (:func:`giving_back`). On SIGTERM, SIGINT or SIGHUP loops that look at
:data:`requested` end by themselves; what does not end within a moment is ended, after its leases were given back. Every
other state is in the ledger, where a process may end between any two statements.
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

from segwatch.db.errors import words

_log = logging.getLogger(__name__)

#: Set once this process was told to stop.
requested = threading.Event()
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: How long the process may take to end by itself, and to give back what it holds.
_GRACE_SECONDS = 1.0
_RELEASE_SECONDS = 5.0

_Release = Callable[[], int]
_held: dict[object, tuple[str, _Release]] = {}
_lock = threading.Lock()
_ending = threading.Lock()


@contextmanager
def giving_back(what: str, release: _Release) -> Iterator[None]:
    """While the block runs, ``release`` gives its leases back if the process is stopped, from another thread.

    Parameters
    ----------
    what
        In a message, after the number that ``release`` returns.
    """
    key = object()
    with _lock:
        _held[key] = (what, release)
    try:
        yield
    finally:
        with _lock:
            _held.pop(key, None)


def give_back() -> list[str]:
    """Give back every lease of this process; what that was, in words."""
    with _lock:
        held = list(_held.values())
    done: list[str] = []

    def release(what: str, how: _Release) -> None:
        try:
            count = how()
        except Exception as error:
            # the others must go back all the same
            _log.warning(
                "%s could not be given back, their leases run out by themselves: %s", what, words(error)
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
def on_signals(say: Callable[[str], None]) -> Iterator[None]:
    """End the process with status 128 + N when signal N asks for it during the block.

    A signal that is ignored, as under nohup, stays ignored. Outside the main thread nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    requested.clear()
    watching = _Watching(say)
    try:
        yield
    finally:
        watching.end()


class _Watching:
    """A thread that learns of signals even while the main thread is in a library that does not return."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._over = threading.Event()
        self._got: int | None = None
        self._reads, self._writes = socket.socketpair()
        self._writes.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._writes.fileno())
        self._handlers_before = {
            number: signal.signal(number, _leave_to_thread)
            for number in _SIGNALS
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        self._thread = threading.Thread(target=self._watch, name="stopping", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Signals mean what they meant before; if one has come, the process ends here."""
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
                requested.set()
                if not self._over.wait(_GRACE_SECONDS):
                    _exit(number, self._say)
                return


def _leave_to_thread(_number: int, _frame: FrameType | None) -> None:
    """Python's own handler would end what the main thread does between any two instructions."""


def _exit(number: int, say: Callable[[str], None]) -> None:
    """Give back what is held and end; threads that hang in a read or a driver are not waited for."""
    _ending.acquire()  # for good: the main thread and the one that watches may both come here
    given = give_back()
    name = signal.Signals(number).name
    say(f"stopped by {name}; given back: {', '.join(given) or 'nothing was held'}. Run it again to go on")
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(128 + number)
