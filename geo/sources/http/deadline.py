"""Limit the total time of a call.

Timeouts of HTTP clients restart with every byte received, so a server that sends a byte per second blocks them for
ever.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def call_within(seconds: float, call: Callable[[], T]) -> T:
    """Run a function in a thread and return its result, or raise its exception.

    A call that does not return in time keeps running in its daemon thread, until its connections are closed or the
    process ends.

    Raises
    ------
    TimeoutError
        The call did not return in time.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # re-raised by future.result()
            future.set_exception(error)

    Thread(target=run, name="within", daemon=True).start()
    return future.result(seconds)
