"""A limit on how long another machine may take, whatever it does meanwhile.

Time-outs of HTTP clients begin anew with every byte that comes: one that comes each second keeps a client for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T]) -> T:
    """What ``call`` gives, if it comes back in time.

    One that does not is left behind on a thread of its own, which ends with the process, or when the connections that
    it waits for are closed.

    Raises
    ------
    TimeoutError
        It did not come back in time. What the call itself raises comes as it is.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # handed on, not handled
            future.set_exception(error)

    Thread(target=run, name="within", daemon=True).start()
    return future.result(seconds)
