"""Processor time of processes and all that they started, as Linux counts it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def read_processor_seconds(roots: Iterable[int]) -> float:
    """Sum the processor seconds of processes, of their descendants, and of descendants that ended."""
    children, ticks = defaultdict[int, list[int]](list), dict[int, int]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # the name of the program, in brackets, may hold blanks
            fields = (
                (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            )
        except OSError:
            continue  # it ended meanwhile
        children[int(fields[1])].append(int(folder.name))
        ticks[int(folder.name)] = sum(map(int, fields[11:15]))
    waiting, total = list(roots), 0
    while waiting:
        one = waiting.pop()
        total += ticks.get(one, 0)
        waiting += children[one]
    return total / _TICKS_PER_SECOND
