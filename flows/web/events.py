"""``POST /events``: whoever holds the secret sends events, signed as Standard Webhooks asks, or with a token for it.

https://www.standardwebhooks.com: the signature covers id, time and body; a message more than five minutes old or
ahead is refused. One that is sent again within that time adds nothing, as its events are not newer than those held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import SecretStr
from sqlalchemy import Engine
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from segwatch.db.tokens import Scope
from segwatch.flows.events.ingest import keep
from segwatch.flows.web.guards.access import reader
from segwatch.flows.web.guards.bodies import limited
from segwatch.geo.errors import EventRefused
from segwatch.geo.sources.http import headers

_MOST_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Access:
    """What taking events takes."""

    engine: Engine
    """Of a role that may add events; the map's own may not."""
    secret: SecretStr | None = None
    """That events are signed with; None = only readers with the right to send events may."""


def router(access: Access | None) -> APIRouter:
    """``POST /events``; 403 without access."""
    routes = APIRouter()

    @routes.post("/events", status_code=201)
    async def told(request: Request, response: Response) -> dict[str, Any]:
        """Record events: GeoJSON, CAP 1.2, or any document that a feed may have; 200 when nothing was news."""
        if access is None:
            raise HTTPException(403, "events are not taken here; start the server with SEGWATCH_EVENT_SECRET")
        body = await limited(request, _MOST_BYTES)
        if Scope.EVENTS not in reader().scopes:
            _authorise(request, body, access.secret)
        try:
            charset = headers.charset(request.headers.get("content-type", ""))
            recorded, refused = await run_in_threadpool(keep, access.engine, body, "webhook", charset)
        except EventRefused as error:
            raise HTTPException(422, str(error)) from error
        if not recorded:
            raise HTTPException(422, "; ".join(one["reason"] for one in refused) or "it tells no event")
        response.status_code = 201 if recorded.keys() & {"new", "revised"} else 200
        return {"recorded": recorded, "refused": refused}

    return routes


def _authorise(request: Request, body: bytes, secret: SecretStr | None) -> None:
    if secret is None:
        raise HTTPException(401, "send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
    try:
        Webhook(secret.get_secret_value()).verify(body, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError) as error:  # ValueError: what is no base64 or no text
        reason = str(error) if isinstance(error, WebhookVerificationError) else "Invalid Signature Headers"
        raise HTTPException(401, f"not signed as Standard Webhooks asks: {reason}") from error
