"""A server takes requests by its own names: a page of a stranger that lets its name point here gets no answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from segwatch.flows.runtime.hosts import KnownHosts, is_loopback


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "websocket.accept"})


def status(app: KnownHosts, *hosts: str, kind: str = "http") -> object:
    """What a request with these Host headers gets: the status, or the type of the first message."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {
        "type": kind,
        "method": "GET",
        "headers": [(b"host", host.encode("latin-1")) for host in hosts],
        "extensions": {"websocket.http.response": {}},
    }
    asyncio.run(app(scope, receive, send))
    return sent[0].get("status", sent[0]["type"])


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "LocalHost.", "127.0.0.1:1", "[::1]:8080", "map.example.org:443"]
)
def test_its_own_names_are_answered(host: str) -> None:
    assert status(KnownHosts(_answer, ["Map.example.org"]), host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:8080",
        "localhost@evil.example",
        "evil.example#localhost",
        "localhost/..",
        "localhost:x",
        "[::1",
        "",
        "10.0.0.1",
    ],
)
def test_others_are_refused(host: str) -> None:
    assert status(KnownHosts(_answer, ["map.example.org"]), host) == 400


def test_a_second_host_header_and_none_are_refused() -> None:
    app = KnownHosts(_answer)
    assert status(app) == 400
    assert status(app, "localhost", "evil.example") == 400
    assert status(app, "evil.example", "localhost") == 400


def test_web_sockets_are_asked_for_their_name_too() -> None:
    app = KnownHosts(_answer)
    assert status(app, "localhost", kind="websocket") == "websocket.accept"
    assert status(app, "evil.example", kind="websocket") != "websocket.accept"


def test_what_is_reached_from_this_machine_only() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "localhost", "::1", "127.8.8.8", "[::1]")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "")))
