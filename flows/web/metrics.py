"""``/metrics`` for Prometheus: the ledger as the reader may see it, and the web server's own process."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request, Response
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from segwatch.db.errors import describe_error
from segwatch.flows.telemetry import metrics
from segwatch.flows.web.guards.access import current_sight
from segwatch.flows.web.guards.refusals import REFUSALS

_log = logging.getLogger(__name__)


def make_router(engine: Engine, find_next: metrics.FindNext) -> APIRouter:
    """Make the route ``/metrics``; ``find_next`` is the next firing of a cron expression after a time, UTC."""
    routes = APIRouter()

    def read() -> metrics.LedgerState:
        with engine.connect() as conn:
            return metrics.read_state(conn)

    readings = metrics.LedgerReadings(read)

    @routes.get(
        "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}, **REFUSALS}
    )
    def scrape(request: Request) -> Response:
        """Say how the watches are doing, in the text format of Prometheus.

        A token of the scope `metrics` reads the numbers of its watches and nothing else. What was read from the ledger
        is served again for five seconds; while the ledger is away, `segwatch_ledger_up` is 0.
        """
        try:
            state = readings.get(current_sight().settings)
        except (SQLAlchemyError, OSError) as error:
            _log.warning("metrics without the ledger: %s", describe_error(error))
            state = None
        page = metrics.render(state, find_next, request.headers.get("accept", ""))
        return Response(page.content, headers={"Content-Type": page.media_type, "Cache-Control": "no-store"})

    return routes
