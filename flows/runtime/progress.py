"""Progress lines for long steps, and tables whose cells are not cut off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from segwatch.flows.runtime.terminal import SafeConsole

#: Width in columns where output goes to a file or another program: wide enough for any row.
_UNBOUNDED_WIDTH = 10_000

Say = Callable[[str], None]

EVERY_SECONDS = 5.0


@contextmanager
def step(say: Say, what: str, *, every_seconds: float = EVERY_SECONDS) -> Iterator[Say]:
    """Announce a step, and repeat every few seconds how long its block has been running.

    Yields a function that takes what the block is doing by now, for the next repetition.
    """
    say(what)
    newest = what
    begun = time.monotonic()
    done = threading.Event()

    def tick() -> None:
        while not done.wait(every_seconds):
            say(f"{newest}: {time.monotonic() - begun:.0f} s so far")

    def tell(text: str) -> None:
        nonlocal newest
        newest = text

    ticking = threading.Thread(target=tick, daemon=True)
    ticking.start()
    try:
        yield tell
    finally:
        done.set()
        ticking.join()


def print_table(out: Console, table: Table, *, at_least: int = 0) -> None:
    """Print a table at the terminal's width, or ``at_least`` columns; without a terminal, as wide as it needs."""
    width = max(out.width, at_least) if out.is_terminal else _UNBOUNDED_WIDTH
    SafeConsole(file=out.file, width=width, soft_wrap=True).print(table)
