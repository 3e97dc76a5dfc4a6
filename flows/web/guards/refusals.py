"""Error responses: problem details (RFC 9457) for programs, a page for browsers; one form for the whole server.

``code`` and ``description``, which OGC API Common 1.0 asks for, are members of the problem.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope, Send

PROBLEM = "application/problem+json"
_PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>segwatch: {title}</title><p>{words}</p></html>"
)
_CODES = {400: "InvalidParameterValue", 422: "InvalidParameterValue", 404: "NotFound"}


class Problem(BaseModel):
    """Problem details (RFC 9457) of a refused request."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field("about:blank", description="kind of the problem; about:blank: that of the status")
    title: str = Field(description="phrase of the status")
    status: int = Field(description="HTTP status")
    detail: str = Field(description="what is wrong, and what to do")
    code: str = Field(description="code for programs")
    description: str = Field(description="the same as detail, under the name of OGC API Common")


def make_problem(status: int, words: str) -> dict[str, Any]:
    """Make the body of an error response."""
    title = HTTPStatus(status).phrase
    code = _CODES.get(status, title.replace(" ", "").replace("-", ""))
    return Problem(title=title, status=status, detail=words, code=code, description=words).model_dump()


def respond_problem(status: int, words: str, headers: Mapping[str, str] | None = None) -> Response:
    """Make an error response for programs."""
    body = json.dumps(make_problem(status, words)).encode()
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, media_type=PROBLEM)


def describe_refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe error responses for OpenAPI."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


#: What every route may respond with: no or wrong credentials, a missing scope, too many requests, overload.
REFUSALS = describe_refusals(400, 401, 403, 404, 405, 408, 413, 422, 429, 500, 503, 504)


async def refuse(
    scope: Scope, send: Send, status: int, words: str, *, retry_after: int | None = None
) -> None:
    """Send an error response with one sentence: HTML if the client accepts it, else a problem."""
    if "text/html" in Headers(scope=scope).get("accept", ""):
        title = HTTPStatus(status).phrase
        kind, body = "text/html; charset=utf-8", _PAGE.format(title=title, words=html.escape(words)).encode()
    else:
        kind, body = PROBLEM, json.dumps(make_problem(status, words)).encode()
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if retry_after is not None:
        headers.append((b"retry-after", str(retry_after).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
