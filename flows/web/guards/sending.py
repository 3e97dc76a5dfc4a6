"""Buffer responses within a budget of memory, and send them to clients that may be slow or never read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Message, Send

MAX_RESPONSE_BYTES = 64 * 2**20
#: All responses together that are being made and sent.
MAX_SENDING_BYTES = 256 * 2**20
#: Key of the ASGI scope for the function that aborts the connection.
ABORT = "segwatch.abort"
_PART_BYTES = 64 * 1024
#: Limits for slow clients: longest pause, time before the rate counts, and lowest rate.
_PAUSE_SECONDS = 10.0
_GRACE_SECONDS = 20.0
_MIN_BYTES_PER_SECOND = 32 * 1024


class ResponseTooLarge(Exception):
    """The response exceeds its own size limit or the budget of all responses.

    Parameters
    ----------
    status
        HTTP status to respond with instead.
    """

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class SlowReader(Exception):
    """The client reads its response too slowly; its connection has to be closed."""


class Budget:
    """Bytes that all responses together may hold."""

    def __init__(self, max_bytes: int = MAX_SENDING_BYTES) -> None:
        self._max = max_bytes
        self._held = 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Open the share of one response, for the length of the block."""
        share = Share(self)
        try:
            yield share
        finally:
            share.close()

    def hold(self, size: int) -> None:
        """Reserve bytes.

        Raises
        ------
        ResponseTooLarge
            Not enough bytes are left.
        """
        if self._held + size > self._max:
            raise ResponseTooLarge(503, "the server holds too many unread responses; try again later")
        self._held += size

    def free(self, size: int) -> None:
        """Release bytes."""
        self._held -= size


class Share:
    """The bytes of a budget that one response holds."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.held = 0
        self.closed = False

    def hold(self, size: int) -> None:
        """Reserve more bytes.

        Raises
        ------
        ResponseTooLarge
            The response is too large by itself, or together with all others.
        """
        if self.held + size > MAX_RESPONSE_BYTES:
            mebibytes = MAX_RESPONSE_BYTES // 2**20
            raise ResponseTooLarge(
                400, f"the response would exceed {mebibytes} MiB; request less, for example with limit"
            )
        self._budget.hold(size)
        self.held += size

    def release(self, size: int) -> None:
        """Release bytes that were sent."""
        self._budget.free(size)
        self.held -= size

    def close(self) -> None:
        """Release everything; nothing more may be reserved."""
        self.release(self.held)
        self.closed = True


class BufferedResponse:
    """Collects the response of the application, which never has to wait for the client."""

    def __init__(self, share: Share) -> None:
        self.share = share
        self.start: Message | None = None
        self.parts: list[bytes] = []

    async def send(self, message: Message) -> None:
        """Collect an ASGI message; after the share was closed, messages are dropped."""
        if self.share.closed:
            return
        if message["type"] == "http.response.start":
            self.start = message
        elif message["type"] == "http.response.body":
            body = message.get("body", b"")
            self.share.hold(len(body))
            if body:
                self.parts.append(body)


async def send_buffered(response: BufferedResponse, send: Send) -> None:
    """Send a response in small parts, as fast as the client reads them.

    Raises
    ------
    SlowReader
        The client reads too slowly.
    """
    if response.start is None:
        raise RuntimeError("the application sent no response")
    body = response.parts[0] if len(response.parts) == 1 else b"".join(response.parts)
    response.parts.clear()
    await send(response.start)
    if len(body) <= _PART_BYTES:
        await send({"type": "http.response.body", "body": body})
        return
    until = time.monotonic() + _GRACE_SECONDS + len(body) / _MIN_BYTES_PER_SECOND
    for at in range(0, len(body), _PART_BYTES):
        part = body[at : at + _PART_BYTES]
        patience = min(_PAUSE_SECONDS, until - time.monotonic())
        try:
            async with asyncio.timeout(patience):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except TimeoutError:
            raise SlowReader("the client does not read its response") from None
        if at + _PART_BYTES < len(body):
            response.share.release(len(part))
    await send({"type": "http.response.body", "body": b""})
