"""Batches made ahead of their use, in other processes of one thread each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

import torch

T_co = TypeVar("T_co", covariant=True)

_DEPTH = 3  # batches a worker makes ahead


class BatchMaker(Protocol[T_co]):
    """Makes the batch of a pass; goes to other processes before its first call."""

    def __call__(self, number: int, /) -> T_co:
        """The batch of a pass: always the same for the same number."""


M = TypeVar("M", bound=BatchMaker[Any])
_maker: Callable[[int], Any]


class Prefetcher(Generic[M]):
    """Batches by number, made here or by workers while others are used.

    Args:
        make: makes one.
        workers: processes; 0 makes each batch here when it is asked for.
        stride: how far apart the numbers are that will be asked for.
    """

    def __init__(self, make: M, workers: int, stride: int = 1) -> None:
        self.make = make
        self._stride = stride
        self._ahead = workers * _DEPTH
        self._waiting: dict[int, Future[Any]] = {}
        self._workers = (
            ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (make,))
            if workers
            else None
        )

    def get(self, number: int) -> Any:
        """The batch of a number; those after it are begun."""
        if self._workers is None:
            return self.make(number)
        for coming in range(number, number + self._ahead * self._stride, self._stride):
            if coming not in self._waiting:
                self._waiting[coming] = self._workers.submit(_made, coming)
        return self._waiting.pop(number).result()

    def close(self) -> None:
        """End the workers."""
        if self._workers is not None:
            self._workers.shutdown(wait=True, cancel_futures=True)


def _begin(make: Callable[[int], Any]) -> None:
    global _maker  # noqa: PLW0603 - a worker's own
    torch.set_num_threads(1)
    _maker = make


def _made(number: int) -> Any:
    return _maker(number)
