"""Read request bodies, with limits of size and time."""

from __future__ import annotations

import asyncio

from fastapi import HTTPException, Request

#: Time limit for a whole body.
BODY_SECONDS = 20.0


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Read the body of a request.

    Raises
    ------
    fastapi.HTTPException
        413 if the body has, or announces, more than ``max_bytes`` (whole MiB); 408 if it arrives too slowly.
    """
    received = bytearray()
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 18 or int(announced) > max_bytes):
        raise HTTPException(413, f"at most {max_bytes // 2**20} MiB")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                received += part
                if len(received) > max_bytes:
                    raise HTTPException(413, f"at most {max_bytes // 2**20} MiB")
    except TimeoutError:
        raise HTTPException(408, f"the whole body has to arrive within {BODY_SECONDS:g} s") from None
    return bytes(received)
