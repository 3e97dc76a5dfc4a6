"""What a session reads from: the ledger itself, or a server of it. Both answer the same queries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from segwatch.db.analyst.pages import Query

#: Rows that are read at a time unless the reader chooses otherwise.
PAGE_ROWS = 10_000


class Source(Protocol):
    """Where rows come from."""

    @property
    def where(self) -> str:
        """What people see of the address: no secrets."""

    def stream_pages(self, query: Query, rows: int) -> Iterator[list[dict[str, Any]]]:
        """Read the rows of a query in pages."""

    def read_accuracy(self, watch: str) -> dict[str, Any]:
        """Read the newest assessment of a watch, as ``/api/accuracy`` returns it."""

    def list_items(self, watch: str, scene_id: str) -> list[dict[str, Any]]:
        """List the current items of a scene with links to read, as rows of ``watch.readable_imagery``."""

    def close(self) -> None:
        """Close every connection."""
