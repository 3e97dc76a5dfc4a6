"""Bodies of requests, within a size."""

from __future__ import annotations

from fastapi import HTTPException, Request


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
