"""Measure the peak performance of this machine, with the library that the product computes with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

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
