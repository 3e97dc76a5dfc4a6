"""Responses of unintended services never appear in reasons, and other ports are not connected to."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime

import pytest
from shapely.geometry import box

from segwatch.flows.config.settings import load_settings
from segwatch.flows.events import fetch
from segwatch.geo.errors import CatalogUnreachable, InvalidEvent, ReadFailed, UnsafeHref
from segwatch.geo.sources import profiles
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.rasters.pixels import read_scene
from segwatch.geo.sources.search import item_search
from segwatch.geo.types.scene import Item, Scene
from tests.support.images import GRID
from tests.support.serving import serving

SECRET = "Pa55w0rd-of-mail.internal"
PROFILE = profiles.load("rgb-cog")
_HEAD = "HTTP/1.1 {} X\r\ncontent-length: {}\r\n"
ANSWERS = {
    "ssh": f"SSH-2.0-{SECRET}\r\n",
    "mail": f"220 {SECRET} ESMTP\r\n",
    "bytes": f"\x15\x03\x01{SECRET}\x00",
    "status line": f"HTTP/1.1 {SECRET}\r\n\r\n",
    "a header": f"HTTP/1.1 200 OK\r\n{SECRET}\r\n\r\n",
    "reason phrase": f"HTTP/1.1 404 {SECRET}\r\ncontent-length: 0\r\n\r\n",
    "error page": _HEAD.format(403, 200) + "\r\n" + SECRET.ljust(200),
    "a page": _HEAD.format(200, 64) + "\r\n" + f"<html>{SECRET}".ljust(64),
    "JSON": _HEAD.format(200, 64) + "\r\n" + f'{{"x": "{SECRET}" nonsense'.ljust(64),
    "content range": _HEAD.format(206, 64) + f"content-range: bytes {SECRET}\r\n\r\n" + "x" * 64,
    "encoding": _HEAD.format(200, 64) + f"content-encoding: {SECRET}\r\n\r\n" + "x" * 64,
    "content type": _HEAD.format(206, 64)
    + f"content-type: multipart/byteranges; boundary={SECRET}\r\n\r\n"
    + "x" * 64,
    "redirect": _HEAD.format(302, 0) + f"location: gopher://127.0.0.1/{SECRET}\r\n\r\n",
    "cut off": _HEAD.format(200, 999) + "\r\n" + SECRET,
}


@contextmanager
def saying(answer: bytes) -> Iterator[tuple[str, Counter[str]]]:
    """A server that sends these bytes to every connection, and its number of connections."""
    counted: Counter[str] = Counter()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            counted["connections"] += 1
            with connection:
                connection.settimeout(5)
                try:
                    connection.recv(65_536)
                    connection.sendall(answer)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", counted
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def look(url: str, hosts: list[str]) -> None:
    now, square = datetime.now(UTC), box(14, 45, 16, 47)
    href = f"{url}/a.tif?token={SECRET}"
    item = Item("one", "visual", href, now, None, "made", "1", "", square, {"visual": href})
    scene = Scene("visual", "made", "1", date(2024, 5, 1), now, (item,), square)
    read_scene(scene, PROFILE, GRID, allowed_hosts=hosts)


def look_at(url: str) -> None:
    look(url, ["127.0.0.1:*"])


def search(url: str) -> None:
    list(
        item_search.search(
            f"{url}/?token={SECRET}", PROFILE, box(14, 45, 16, 47), datetime.now(UTC), datetime.now(UTC)
        )
    )


def poll(url: str) -> None:
    try:
        fetch.fetch_document(f"{url}/?token={SECRET}", load_settings(feed_timeout_seconds=20))
    except Exception as error:
        raise InvalidEvent(fetch.describe_failure(error)) from error
    raise InvalidEvent("it is read, and what it is is for others to say")


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("ask", [look_at, search, poll])
def test_reasons_never_quote_a_response(
    ask: Callable[[str], None], answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segwatch.geo.sources.http.range_requests._BACK_OFF_SECONDS", 0.001)
    monkeypatch.setattr("segwatch.geo.sources.search.catalog._BACK_OFF_SECONDS", 0.001)
    with (
        saying(ANSWERS[answer].encode("latin-1")) as (url, _),
        pytest.raises((ReadFailed, UnsafeHref, CatalogUnreachable, InvalidEvent)) as told,
    ):
        ask(url)
    said = str(told.value)
    if (ask, answer) != (poll, "redirect"):  # the operator of a feed may see where it redirects to
        assert "Pa55" not in said
    assert said


def test_another_port_of_an_allowed_host_is_not_connected_to() -> None:
    with saying(b"SSH-2.0-x\r\n") as (url, counted):
        hosts = list(hrefs.list_readable_hosts(PROFILE, "http://127.0.0.1:1/stac"))
        with pytest.raises(UnsafeHref, match="not allowed"):
            look(url, hosts)
        moved = {"/": (302, {"location": f"{url}/a"}, b"")}
        with serving(moved) as there, pytest.raises(CatalogUnreachable, match="not allowed"):
            search(there)
        landing = b'{"type": "Catalog", "links": [{"rel": "item", "href": "%s/item.json"}]}' % url.encode()
        page = {"/stac.json": (200, {"content-type": "application/json"}, landing)}
        with serving(page) as there:
            found = list(
                item_search.search(
                    f"{there}/stac.json", PROFILE, box(14, 45, 16, 47), datetime.now(UTC), datetime.now(UTC)
                )
            )
        assert "not allowed" in str(found)
    assert not counted
