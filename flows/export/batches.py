"""Rows as Arrow record batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

#: A batch ends at the first of these; rows with large geometries make smaller batches.
MAX_ROWS = 10_000
MAX_BYTES = 16 * 2**20

Rows = Sequence[Sequence[Any]]


class WatchedRows:
    """Parts of rows that are counted as they pass, and that keep the error that ended them.

    Writers in C replace an error of their source by one of their own, which says nothing.
    """

    def __init__(self, parts: Iterable[Rows]) -> None:
        self._parts = parts
        self._error: BaseException | None = None
        self.count = 0

    def __iter__(self) -> Iterator[Rows]:
        try:
            for part in self._parts:
                self.count += len(part)
                yield part
        except GeneratorExit:
            raise
        except BaseException as error:
            self._error = error
            raise

    @contextmanager
    def keep_error(self) -> Iterator[None]:
        """Raise the error that ended the rows, if one did, instead of the writer's or of none."""
        try:
            yield
        except BaseException:
            if self._error is not None:
                raise self._error from None
            raise
        if self._error is not None:
            raise self._error


def make_reader(schema: pa.Schema, parts: Iterable[Rows]) -> pa.RecordBatchReader:
    """Make a stream of record batches from parts of rows, whose values are in order of the schema.

    The last column is the geometry as WKB.
    """
    import pyarrow as pa

    return pa.RecordBatchReader.from_batches(schema, _iter_batches(schema, parts))


def _iter_batches(schema: pa.Schema, parts: Iterable[Rows]) -> Iterator[pa.RecordBatch]:
    rows: list[Sequence[Any]] = []
    weight = 0
    for part in parts:
        rows.extend(part)
        weight += sum(len(row[-1] or b"") for row in part)
        if len(rows) >= MAX_ROWS or weight >= MAX_BYTES:
            yield _make_batch(schema, rows)
            rows, weight = [], 0
    if rows:
        yield _make_batch(schema, rows)


def _make_batch(schema: pa.Schema, rows: list[Sequence[Any]]) -> pa.RecordBatch:
    import pyarrow as pa

    columns = zip(*rows, strict=True)
    return pa.record_batch(
        [pa.array(list(column), field.type) for column, field in zip(columns, schema, strict=True)],
        schema=schema,
    )
