"""What people see while services work: a line when a step begins and every few seconds, and tables that stay whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from segwatch.flows.runtime.terminal import SafeConsole

#: As many columns as a row may need: a file or a program that reads it has no edge.
_NO_EDGE = 10_000

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


def print_table(out: Console, table: Table, *, at_least: int = 0) -> None:
    """Print a table as wide as the terminal (or ``at_least`` so wide), and as it needs where there is no terminal."""
    width = max(out.width, at_least) if out.is_terminal else _NO_EDGE
    SafeConsole(file=out.file, width=width, soft_wrap=True).print(table)
