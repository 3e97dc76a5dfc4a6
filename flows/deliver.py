"""deliver: send the outbox to its webhooks, signed, at least once, with a stable idempotency key."""

from __future__ import annotations

import json
import logging
import os
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from prefect import flow
from sqlalchemy import Engine
from standardwebhooks import Webhook

from segwatch.db import alerts
from segwatch.flows.assemble import worker_engine
from segwatch.flows.settings import FlowSettings, load_settings

_log = logging.getLogger(__name__)
_BATCH = 50
_FIRST_RETRY_SECONDS = 5.0
_LONGEST_RETRY_SECONDS = 3600.0


@dataclass(slots=True)
class Delivered:
    """Counts of one pass over the outbox."""

    delivered: int = 0
    failed: int = 0
    """Attempts that failed; the row stays in the outbox and is tried again later."""


def deliver_outbox(engine: Engine, settings: FlowSettings) -> Delivered:
    """Send everything that is due. Receivers must honour ``webhook-id``: a crash after sending repeats it."""
    total = Delivered()
    worker = f"deliver-{socket.gethostname()}-{os.getpid()}"
    lease_seconds = settings.delivery_timeout_seconds * _BATCH
    with httpx.Client(timeout=settings.delivery_timeout_seconds, follow_redirects=False) as client:
        while True:
            with engine.begin() as conn:
                batch = alerts.lease(conn, worker=worker, seconds=lease_seconds, limit=_BATCH)
            if not batch:
                break
            for one in batch:
                _deliver(engine, client, one, settings, total)
    if total.delivered or total.failed:
        _log.info("deliver %s", asdict(total))
    return total


def _deliver(
    engine: Engine, client: httpx.Client, one: alerts.DeliveryLease, settings: FlowSettings, total: Delivered
) -> None:
    problem = _post(client, one, settings)
    with engine.begin() as conn:
        if problem is None:
            alerts.delivered(conn, one.id)
            total.delivered += 1
            return
        wait = min(_LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2.0**one.attempts)
        alerts.failed(conn, one.id, problem, retry_in_seconds=wait, max_attempts=settings.delivery_attempts)
    total.failed += 1
    _log.warning("delivery %s to %s failed: %s", one.idempotency_key, httpx.URL(one.url).host, problem)


def _post(client: httpx.Client, one: alerts.DeliveryLease, settings: FlowSettings) -> str | None:
    """Send one message; the reason if the receiver did not take it."""
    body = json.dumps(one.payload, sort_keys=True, separators=(",", ":"), default=str)
    try:
        response = client.post(one.url, content=body.encode(), headers=_headers(one, body, settings))
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}"
    if response.is_success:
        return None
    return f"HTTP {response.status_code}"


def _headers(one: alerts.DeliveryLease, body: str, settings: FlowSettings) -> dict[str, str]:
    """Standard Webhooks headers (https://www.standardwebhooks.com); signed when a secret is set."""
    now = datetime.now(UTC)
    headers = {
        "content-type": "application/json",
        "webhook-id": one.idempotency_key,
        "webhook-timestamp": str(int(now.timestamp())),
    }
    if settings.webhook_secret is not None:
        signer = Webhook(settings.webhook_secret.get_secret_value())
        headers["webhook-signature"] = signer.sign(msg_id=one.idempotency_key, timestamp=now, data=body)
    return headers


@flow(name="deliver", log_prints=False)
def deliver() -> dict[str, Any]:
    """Send what is due."""
    settings = load_settings()
    engine = worker_engine(settings)
    try:
        return asdict(deliver_outbox(engine, settings))
    finally:
        engine.dispose()
