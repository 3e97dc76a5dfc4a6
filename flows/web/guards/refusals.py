"""Error responses, as JSON for programs and as a page for browsers."""

from __future__ import annotations

import html
import json
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import Scope, Send

_PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>segwatch: {title}</title><p>{words}</p></html>"
)
CODES = {400: "InvalidParameterValue", 404: "NotFound"}


def make_refusal(code: str, words: str) -> dict[str, str]:
    """Make the body of an error response in the form of OGC API Common, plus FastAPI's ``detail``."""
    return {"code": code, "description": words, "detail": words}


async def refuse(
    scope: Scope, send: Send, status: int, words: str, *, retry_after: int | None = None
) -> None:
    """Send an error response with one sentence: HTML if the client accepts it, else JSON."""
    title = HTTPStatus(status).phrase
    if "text/html" in Headers(scope=scope).get("accept", ""):
        kind, body = "text/html; charset=utf-8", _PAGE.format(title=title, words=html.escape(words)).encode()
    else:
        code = CODES.get(status, title.replace(" ", ""))
        kind, body = "application/json", json.dumps(make_refusal(code, words)).encode()
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if retry_after is not None:
        headers.append((b"retry-after", str(retry_after).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
