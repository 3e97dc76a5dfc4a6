"""Answers on their way to readers that may be slow, or never read at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Message, Send

MAX_ANSWER_BYTES = 64 * 2**20
#: Of all answers that are being made and sent.
MAX_SENDING_BYTES = 256 * 2**20
#: Key of a scope: closes the connection without sending what still waits to be sent.
ABORT = "segwatch.abort"
_PART_BYTES = 64 * 1024
#: A reader may pause for so long, and be so slow over all.
_PAUSE_SECONDS = 10.0
_GRACE_SECONDS = 20.0
_LEAST_BYTES_PER_SECOND = 32 * 1024


class TooLarge(Exception):
    """The answer has more bytes than may be held.

    Parameters
    ----------
    status
        That the request is answered with instead.
    """

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class SlowReader(Exception):
    """The client does not take its answer; its connection has to be closed."""


class Budget:
    """Bytes that all answers together may hold."""

    def __init__(self, most: int = MAX_SENDING_BYTES) -> None:
        self._most = most
        self._held = 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """What one answer holds, until the end of the block."""
        share = Share(self)
        try:
            yield share
        finally:
            share.close()

    def hold(self, size: int) -> None:
        """Take bytes.

        Raises
        ------
        TooLarge
            There are not as many left.
        """
        if self._held + size > self._most:
            raise TooLarge(503, "the server holds too many answers that nobody reads; ask again later")
        self._held += size

    def free(self, size: int) -> None:
        """Give bytes back."""
        self._held -= size


class Share:
    """What one answer holds of a budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.held = 0
        self.closed = False

    def hold(self, size: int) -> None:
        """Take more bytes.

        Raises
        ------
        TooLarge
            The answer is too large by itself, or with all others.
        """
        if self.held + size > MAX_ANSWER_BYTES:
            most = MAX_ANSWER_BYTES // 2**20
            raise TooLarge(400, f"the answer would have more than {most} MiB; ask for less, as with limit")
        self._budget.hold(size)
        self.held += size

    def give_back(self, size: int) -> None:
        """Those that were sent."""
        self._budget.free(size)
        self.held -= size

    def close(self) -> None:
        """Give everything back; nothing more may be held."""
        self.give_back(self.held)
        self.closed = True


class Buffered:
    """Takes an answer from the application without ever making it wait."""

    def __init__(self, share: Share) -> None:
        self.share = share
        self.start: Message | None = None
        self.parts: list[bytes] = []

    async def send(self, message: Message) -> None:
        """As ASGI has it; what comes after nobody waits for it any more is dropped."""
        if self.share.closed:
            return
        if message["type"] == "http.response.start":
            self.start = message
        elif message["type"] == "http.response.body":
            body = message.get("body", b"")
            self.share.hold(len(body))
            if body:
                self.parts.append(body)


async def deliver(answer: Buffered, send: Send) -> None:
    """Send it in small parts, as fast as the reader takes them.

    Raises
    ------
    SlowReader
        It takes too little.
    """
    if answer.start is None:
        raise RuntimeError("the application gave no answer")
    body = answer.parts[0] if len(answer.parts) == 1 else b"".join(answer.parts)
    answer.parts.clear()
    await send(answer.start)
    if len(body) <= _PART_BYTES:
        await send({"type": "http.response.body", "body": body})
        return
    until = time.monotonic() + _GRACE_SECONDS + len(body) / _LEAST_BYTES_PER_SECOND
    for at in range(0, len(body), _PART_BYTES):
        part = body[at : at + _PART_BYTES]
        patience = min(_PAUSE_SECONDS, until - time.monotonic())
        try:
            async with asyncio.timeout(patience):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except TimeoutError:
            raise SlowReader("the client does not read its answer") from None
        if at + _PART_BYTES < len(body):
            answer.share.give_back(len(part))
    await send({"type": "http.response.body", "body": b""})
