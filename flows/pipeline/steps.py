"""Run the steps of a watch one after another, and report what failed at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from sqlalchemy import Engine

from segwatch.flows.alerting.courier import deliver_outbox
from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.errors import FlowError
from segwatch.flows.pipeline.tracking import track_ready
from segwatch.flows.runtime import stopping
from segwatch.flows.telemetry import tracing

_log = logging.getLogger(__name__)

#: Counts by step.
Report = dict[str, dict[str, Any]]


class Steps:
    """Steps that run even after an earlier one failed: alerts must not wait for a catalog or a GPU."""

    def __init__(self) -> None:
        self.report: Report = {}
        self._failed: list[tuple[str, Exception]] = []

    def do(self, name: str, step: Callable[[], dict[str, Any]]) -> None:
        """Run a step, unless the process is to stop; :meth:`end` raises its error."""
        if stopping.stop_requested.is_set():
            return
        try:
            with tracing.span(name):
                counts = step()
            if counts:
                self.report[name] = counts
        except Exception as error:
            _log.warning("%s failed, the other steps go on: %s", name, error)
            self._failed.append((name, error))

    def has_failed(self, name: str) -> bool:
        """Whether a step failed."""
        return any(one == name for one, _ in self._failed)

    def track_and_deliver(self, engine: Engine, settings: FlowSettings) -> None:
        """Publish the finished observations and send the due deliveries of every watch."""
        self.do("track", lambda: asdict(track_ready(engine)))
        self.do("deliver", lambda: asdict(deliver_outbox(engine, settings)))

    def end(self) -> Report:
        """Return the counts by step.

        Raises
        ------
        Exception
            The error of the step that failed; a FlowError with all errors when several failed.
        """
        if len(self._failed) == 1:
            raise self._failed[0][1]
        if self._failed:
            errors = "; ".join(f"{name}: {error}" for name, error in self._failed)
            raise FlowError(errors) from self._failed[0][1]
        return self.report
