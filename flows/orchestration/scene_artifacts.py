"""Show the scenes of a segment run in Prefect's UI as they pass: a progress bar, and a table of what became of them."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from segwatch.db import analyst
from segwatch.flows.inference.outcomes import DrainCounts
from segwatch.flows.telemetry.scenes import SceneReport
from segwatch.geo.text.printable import escape_for_chat

_log = logging.getLogger(__name__)
#: How often the progress is sent, and the table while the run lasts.
_PROGRESS_SECONDS, _TABLE_SECONDS = 2.0, 60.0
#: The newest scenes that the table shows.
MAX_ROWS = 500


class SceneArtifacts:
    """Artifacts of one segment run; a Prefect server that is away delays and fails nothing.

    Parameters
    ----------
    watch
        Watch that the run works on; None = all.
    """

    def __init__(self, engine: Engine, watch: str | None) -> None:
        self._engine = engine
        self._watch = watch
        self._rows: deque[dict[str, Any]] = deque(maxlen=MAX_ROWS)
        self._progress: UUID | None = None
        self._progress_at = self._table_at = time.monotonic()
        self._scenes = 0

    def add(self, report: SceneReport, counts: DrainCounts) -> None:
        """Show one more scene."""
        self._scenes += 1
        self._rows.appendleft(_make_row(report))
        now = time.monotonic()
        if self._progress is None or now >= self._progress_at + _PROGRESS_SECONDS:
            self._progress_at = now
            self._try(lambda: self._send_progress(report.scene))
        if now >= self._table_at + _TABLE_SECONDS:
            self._table_at = now
            self._try(self._send_table)

    def end(self) -> None:
        """Show the whole table, and that the run is done."""
        if self._scenes:
            self._try(self._send_table)
            self._try(lambda: self._send_progress(None))

    def _send_progress(self, scene: str | None) -> None:
        left = self._count_open() if scene is not None else 0
        done = 100.0 * self._scenes / (self._scenes + left)
        words = f"{self._scenes} scene(s) done"
        if scene is not None:
            words += f", the last one {escape_for_chat(scene)}; {left} observation(s) open"
        if self._progress is None:
            made = create_progress_artifact(done, key=self._key("progress"), description=words)
            self._progress = cast(UUID, made)  # outside of an event loop it is no coroutine
        else:
            update_progress_artifact(self._progress, done, description=words)

    def _send_table(self) -> None:
        create_table_artifact(
            list(self._rows), key=self._key("scenes"), description=f"The newest of {self._scenes} scene(s)"
        )

    def _key(self, what: str) -> str:
        """Make a key of an artifact; it may have small letters, digits and dashes, as names of watches have."""
        return f"{what}-{self._watch}" if self._watch else what

    def _count_open(self) -> int:
        with self._engine.connect() as conn:
            rows = analyst.list_metrics(conn)
        return sum(row["pending"] + row["leased"] for row in rows if self._watch in {None, row["watch"]})

    def _try(self, send: Callable[[], None]) -> None:
        if FlowRunContext.get() is None:  # a flow that is called as a function has no page in Prefect
            return
        try:
            send()
        except (httpx.HTTPError, PrefectException, DBAPIError, OSError) as error:
            _log.warning("the scenes of this run cannot be shown in Prefect: %s", error)


def _make_row(report: SceneReport) -> dict[str, Any]:
    """Make a row of the table. Prefect's UI renders Markdown, and catalogs choose the names of scenes."""
    return {
        "scene": escape_for_chat(report.scene),
        "acquired": f"{report.acquired_at:%Y-%m-%d %H:%M}",
        "watches": ", ".join(report.watches),
        "outcomes": ", ".join(f"{name} {count}" for name, count in report.outcomes.items()),
        "polygons": report.polygons,
        "seconds": round(report.seconds, 1),
        "compute s": round(report.compute_seconds, 1),
        "MB read": round(report.bytes_read / 1e6, 2),
        "reason": escape_for_chat(report.reason),
    }
