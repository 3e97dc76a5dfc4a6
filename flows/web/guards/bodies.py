"""Bodies of requests, within a size."""

from __future__ import annotations

import asyncio

from fastapi import HTTPException, Request

#: For all of a body.
BODY_SECONDS = 20.0


async def limited(request: Request, most_bytes: int) -> bytes:
    """The body as sent.

    Raises
    ------
    fastapi.HTTPException
        413 as soon as more than ``most_bytes`` (whole MiB) have come, or are announced; 408 when they come too slowly.
    """
    received = bytearray()
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 18 or int(announced) > most_bytes):
        raise HTTPException(413, f"at most {most_bytes // 2**20} MiB")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                received += part
                if len(received) > most_bytes:
                    raise HTTPException(413, f"at most {most_bytes // 2**20} MiB")
    except TimeoutError:
        raise HTTPException(408, f"all of it has to come within {BODY_SECONDS:g} s") from None
    return bytes(received)
