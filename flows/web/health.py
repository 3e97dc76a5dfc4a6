"""Whether the server lives, and whether its database answers: apart from everything that requests may use up."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from segwatch.db import analyst

_PROBE_SECONDS = 1.5


class Probe:
    """Asks the database on a thread and a connection of its own; those who ask meanwhile share one answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="health")
        self._asking: asyncio.Future[bool] | None = None

    async def answers(self) -> bool:
        """Whether it does, in time. A database that never answers keeps the one thread, and no more."""
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


def router(engine: Engine) -> APIRouter:
    """``/healthz``: the server lives; ``/readyz``: its database answers, too."""
    routes, probe = APIRouter(tags=["health"]), Probe(engine)

    @routes.api_route("/healthz", methods=["GET", "HEAD"])
    async def live() -> dict[str, str]:
        """Whether the server answers; it asks nobody else."""
        return {"status": "ok"}

    @routes.api_route("/readyz", methods=["GET", "HEAD"], responses={503: {"description": "not ready"}})
    async def ready() -> Any:
        """Whether the database answers, within two seconds."""
        if await probe.answers():
            return {"status": "ok"}
        words = "the database does not answer"
        return JSONResponse({"status": "unavailable", "detail": words}, 503, {"Retry-After": "5"})

    return routes
