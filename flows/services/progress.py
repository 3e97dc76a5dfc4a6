"""Progress for people: a line when a step begins, and again every few seconds while it lasts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Say = Callable[[str], None]

EVERY_SECONDS = 5.0


@contextmanager
def step(say: Say, what: str, *, every_seconds: float = EVERY_SECONDS) -> Iterator[None]:
    """Say what is done in the block, and how long it has taken so far until it ends."""
    say(what)
    begun = time.monotonic()
    done = threading.Event()

    def tick() -> None:
        while not done.wait(every_seconds):
            say(f"{what}: {time.monotonic() - begun:.0f} s so far")

    ticking = threading.Thread(target=tick, daemon=True)
    ticking.start()
    try:
        yield
    finally:
        done.set()
        ticking.join()
