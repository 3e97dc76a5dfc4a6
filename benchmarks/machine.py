"""The peak performance of this machine, with the library that the product computes with; processor time of services."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Peak:
    """Measured limits."""

    flops: float
    """Floating-point operations per second of a large matrix product."""
    bytes_per_second: float
    """Read and written by a large copy."""


def seconds(
    work: Callable[[], object], device: torch.device, repeats: int = 3, *, warm: bool = False
) -> float:
    """Return the shortest of several runs, after one warm-up run unless the machine is warm."""
    if not warm:
        work()
    best = float("inf")
    for _ in range(repeats):
        _wait(device)
        begun = time.perf_counter()
        work()
        _wait(device)
        best = min(best, time.perf_counter() - begun)
    return best


def peak(device: torch.device, dtype: torch.dtype) -> Peak:
    """Measure a matrix product and a copy, large enough to exceed every cache."""
    side, count = (8192, 2**30) if device.type == "cuda" else (2048, 2**26)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    product = seconds(lambda: a @ b, device)
    source = torch.zeros(count, device=device, dtype=torch.float32)
    target = torch.empty_like(source)
    copy = seconds(lambda: target.copy_(source), device)
    return Peak(2 * side**3 / product, 2 * count * 4 / copy)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def read_processor_seconds(roots: Iterable[int]) -> float:
    """Read the processor time that these processes and all that they started have used so far, seconds.

    It says what a benchmark costs on a quiet machine, whatever else runs on this one.
    """
    used, children = dict[int, float](), defaultdict[int, list[int]](list)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # the name of the program, in parentheses, may contain spaces
            fields = (
                (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            )
        except OSError:
            continue  # it has ended
        # user and system time of the process and of the children that it waited for
        used[int(folder.name)] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        children[int(fields[1])].append(int(folder.name))
    waiting, counted = list(roots), set[int]()
    while waiting:
        one = waiting.pop()
        if one in used and one not in counted:
            counted.add(one)
            waiting.extend(children[one])
    return round(sum(used[one] for one in counted), 1)
