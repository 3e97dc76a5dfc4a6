"""Keep the spectral indices of a scene until its detections are known, in bounded memory, then in a temporary file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

#: Bytes to hold in memory; more go to a temporary file.
MAX_MEMORY_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class IndexWindow:
    """Indices of some rows of a column span."""

    row: int
    """First row, in the whole grid."""
    start: int
    """First column, in the whole grid."""
    stop: int
    values: NDArray[np.int16]
    """(index, height, width), ``NO_VALUE`` where not clear."""


class IndexSpool:
    """Windows of one scene in the order in which they were added; read as often as needed."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=MAX_MEMORY_BYTES)  # noqa: SIM115 - closed by close()
        self._entries: list[tuple[int, int, int, tuple[int, ...], int, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, window: IndexWindow) -> None:
        """Add a window."""
        content = window.values.tobytes()  # not compressed: 10 s for 17 million pixels save a fifth
        self._file.seek(0, 2)
        begin = self._file.tell()
        self._file.write(content)
        place = (window.row, window.start, window.stop)
        self._entries.append((*place, window.values.shape, begin, len(content)))

    def __iter__(self) -> Iterator[IndexWindow]:
        for row, start, stop, shape, begin, size in self._entries:
            self._file.seek(begin)
            values = np.frombuffer(self._file.read(size), np.int16).reshape(shape)
            yield IndexWindow(row, start, stop, values)
