"""Health checks of the server and its database, with a thread and a connection of their own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import APIRouter
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from segwatch.db import analyst
from segwatch.flows.web.guards.refusals import describe_refusals, respond_problem

_PROBE_SECONDS = 1.5


class DatabaseProbe:
    """Probes the database; simultaneous checks share one probe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="health")
        self._asking: asyncio.Future[bool] | None = None

    async def responds(self) -> bool:
        """Whether the database responds in time; one that never does occupies only this probe's thread."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().run_in_executor(self._thread, self._ask)
        done, _ = await asyncio.wait({self._asking}, timeout=_PROBE_SECONDS)
        return bool(done) and self._asking.result()

    def _ask(self) -> bool:
        try:
            with self._engine.connect() as conn:
                analyst.check_readable(conn)
        except (SQLAlchemyError, OSError):
            return False
        return True


def make_router(engine: Engine) -> APIRouter:
    """Make the routes ``/healthz`` (the server is up) and ``/readyz`` (its database is, too)."""
    routes, probe = APIRouter(tags=["health"]), DatabaseProbe(engine)

    # a route with two methods would give both the same operation id
    @routes.get("/healthz")
    @routes.head("/healthz", include_in_schema=False)
    async def live() -> dict[str, str]:
        """Check that the server is up."""
        return {"status": "ok"}

    @routes.get("/readyz", responses=describe_refusals(503))
    @routes.head("/readyz", include_in_schema=False)
    async def ready() -> Any:
        """Check that the database responds within two seconds."""
        if await probe.responds():
            return {"status": "ok"}
        words = "the database does not respond"
        return respond_problem(503, words, {"Retry-After": "5"})

    return routes
