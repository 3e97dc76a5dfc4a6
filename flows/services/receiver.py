"""Webhook receiver of the demo: verifies Standard Webhooks signatures and stores every message once.

SEGWATCH_WEBHOOK_SECRET=whsec_... python -m segwatch.flows.services.receiver --port N --file F.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from segwatch.flows.runtime.hosts import KnownHosts

_SECRET = "SEGWATCH_WEBHOOK_SECRET"  # noqa: S105 - the variable's name
_MAX_BODY_BYTES = 1_000_000


class Inbox:
    """Messages in a file of JSON lines, one for each ``webhook-id``; kept across restarts."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._ids = {message["id"] for message in self.messages()}

    def messages(self) -> list[dict[str, Any]]:
        """List all messages in order of arrival."""
        if not self._file.exists():
            return []
        lines = self._file.read_text(encoding="utf-8").split("\n")
        # text after the last line break is a message cut off by a crash, which was never acknowledged
        return [json.loads(line) for line in lines[:-1] if line]

    def store(self, identity: str, payload: Any) -> bool:
        """Store a message durably; False if it is a duplicate."""
        with self._lock:
            if identity in self._ids:
                return False
            line = {"id": identity, "received_at": datetime.now(UTC).isoformat(), "payload": payload}
            self._append(json.dumps(line))
            self._ids.add(identity)
            return True

    def _append(self, line: str) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    file.truncate(_find_last_break(self._file.read_bytes()))
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _find_last_break(content: bytes) -> int:
    return content.rfind(b"\n") + 1


def create_app(file: Path, secret: str) -> Starlette:
    """Make the application: ``POST /alerts`` receives messages, ``GET /received`` lists them, ``GET /healthz``."""
    webhook = Webhook(secret)
    inbox = Inbox(file)

    async def alerts(request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY_BYTES:
                return JSONResponse({"error": f"larger than {_MAX_BODY_BYTES} bytes"}, status_code=413)
        try:
            payload = webhook.verify(body, dict(request.headers))
        except (WebhookVerificationError, ValueError) as error:
            return JSONResponse({"error": f"not accepted: {error}"}, status_code=401)
        new = await run_in_threadpool(inbox.store, request.headers["webhook-id"], payload)
        return JSONResponse({"status": "stored" if new else "duplicate"})

    def received(_: Request) -> Response:
        return JSONResponse(inbox.messages())

    def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/alerts", alerts, methods=["POST"]),
            Route("/received", received),
            Route("/healthz", healthz),
        ]
    )


def main() -> None:
    """Serve on 127.0.0.1 until stopped."""
    parser = argparse.ArgumentParser(description="Webhook receiver.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--file", type=Path, required=True, help="file for the received messages (JSON lines)"
    )
    arguments = parser.parse_args()
    secret = os.environ.get(_SECRET)
    if not secret:
        parser.error(f"set {_SECRET} to the secret that the messages are signed with")
    uvicorn.run(
        KnownHosts(create_app(arguments.file, secret)),
        host="127.0.0.1",
        port=arguments.port,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
