"""Bodies of requests, within a size."""

from __future__ import annotations

import hmac

from fastapi import HTTPException, Request
from pydantic import SecretStr


async def limited(request: Request, most_bytes: int) -> bytes:
    """The body as sent.

    Raises
    ------
    fastapi.HTTPException
        413 as soon as more than ``most_bytes`` (whole MiB) have come.
    """
    received = bytearray()
    async for part in request.stream():
        received += part
        if len(received) > most_bytes:
            raise HTTPException(413, f"at most {most_bytes // 2**20} MiB")
    return bytes(received)


def authorise(request: Request, token: SecretStr) -> None:
    """401 unless the request bears the token."""
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    expected = token.get_secret_value().encode()
    if kind.lower() != "bearer" or not hmac.compare_digest(given.encode(), expected):
        raise HTTPException(401, "send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
