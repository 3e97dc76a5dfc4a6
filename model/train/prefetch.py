"""Prepare batches ahead of their use, in worker processes of one thread each."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

import torch

T_co = TypeVar("T_co", covariant=True)

_DEPTH = 3  # batches per worker to prepare ahead


class BatchMaker(Protocol[T_co]):
    """Makes the batch of a pass; sent to the worker processes before its first call."""

    def __call__(self, number: int, /) -> T_co:
        """Make the batch of a pass; the same number always gives the same batch."""


M = TypeVar("M", bound=BatchMaker[Any])
_maker: Callable[[int], Any]


class Prefetcher(Generic[M]):
    """Batches by number, made here or ahead of time by workers.

    Parameters
    ----------
    make
        Makes one.
    workers
        Worker processes; 0 = make each batch here on request.
    stride
        Difference of successive batch numbers.
    """

    def __init__(self, make: M, workers: int, stride: int = 1) -> None:
        self.make = make
        self._stride = stride
        self._ahead = workers * _DEPTH
        self._pending: dict[int, Future[Any]] = {}
        self._workers = (
            ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, (make,))
            if workers
            else None
        )

    def get(self, number: int) -> Any:
        """Return the batch of a number, and start preparing those after it."""
        if self._workers is None:
            return self.make(number)
        for later in range(number, number + self._ahead * self._stride, self._stride):
            if later not in self._pending:
                self._pending[later] = self._workers.submit(_make_in_worker, later)
        return self._pending.pop(number).result()

    def close(self) -> None:
        """Stop the workers."""
        if self._workers is not None:
            self._workers.shutdown(wait=True, cancel_futures=True)


def _start_worker(make: Callable[[int], Any]) -> None:
    global _maker  # noqa: PLW0603 - global of each worker process
    torch.set_num_threads(1)
    _end_with_parent()
    _maker = make


def _end_with_parent() -> None:
    """End this process with the training, also when that is killed: the executor's workers would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


def _make_in_worker(number: int) -> Any:
    return _maker(number)
