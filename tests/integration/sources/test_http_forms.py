"""Every legal form of an HTTP response is read, from catalogs and for files."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from shapely.geometry import box

from segwatch.geo.errors import CatalogUnreachable, ReadFailed
from segwatch.geo.sources import profiles
from segwatch.geo.sources.rasters.pixels import read_scene
from segwatch.geo.sources.search.item_search import search
from segwatch.geo.types.scene import Item, Scene
from tests.support.images import GRID, image
from tests.support.odd_catalog import OddCatalog, items
from tests.support.serving import Answer, running

ALWAYS = datetime(2000, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
PROFILE = profiles.load("rgb-cog")
CONTENT = image(10, 20, 30)


@dataclass
class Asked:
    """A received request and its number."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    number: int


@dataclass
class Server:
    """Requests received."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def answering(answer: Callable[[Asked], Answer]) -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            lower = {name.lower(): value for name, value in self.headers.items()}
            one = Asked(self.command, self.path, lower, self.rfile.read(length), len(server.asked) + 1)
            server.asked.append(one)
            status, headers, body = answer(one)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with running(Handler) as url:
        server.url = url
        yield server


def landing() -> bytes:
    links = [{"rel": "search", "href": "search", "method": "POST"}, {"rel": "self", "href": "./"}]
    document = {"type": "Catalog", "id": "c", "description": "d", "stac_version": "1.0.0", "links": links}
    return json.dumps(document).encode()


def page(name: str = "i0000") -> dict[str, Any]:
    (one,) = items(1)
    return {"type": "FeatureCollection", "features": [one | {"id": name}], "links": []}


def found(url: str) -> list[str]:
    every = search(url, PROFILE, box(0.2, 0.2, 0.8, 0.8), *ALWAYS)
    return [one.id for one in every if isinstance(one, Item)]


@pytest.mark.parametrize(
    ("headers", "encode"),
    [
        ({"Content-Type": "application/json; charset=ISO-8859-1"}, lambda text: text.encode("latin-1")),
        ({"CONTENT-TYPE": "application/geo+json;charset=utf-8"}, lambda text: text.encode()),
        ({}, lambda text: text.encode("utf-8-sig")),
        ({}, lambda text: text.encode("utf-16")),
        ({"content-type": "application/json; charset=none-such"}, lambda text: text.encode("latin-1")),
        ({"Content-Encoding": "gzip"}, lambda text: gzip.compress(text.encode())),
    ],
    ids=["latin-1", "utf-8", "byte order mark", "utf-16", "unknown charset", "gzip"],
)
def test_json_in_any_charset_and_encoding(headers: dict[str, str], encode: Callable[[str], bytes]) -> None:
    text = json.dumps(page("é"), ensure_ascii=False)
    with answering(
        lambda one: (200, {}, landing()) if one.path == "/" else (200, headers, encode(text))
    ) as server:
        assert found(server.url) == ["é"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirected_search_keeps_its_body(status: int) -> None:
    def answer(one: Asked) -> Answer:
        if one.path == "/":
            return 200, {}, landing()
        if one.path == "/search":
            return status, {"Location": "/v2/search"}, b""
        assert one.method == "POST"
        assert json.loads(one.body)["collections"] == ["visual"]
        return 200, {}, json.dumps(page()).encode()

    with answering(answer) as server:
        assert found(server.url) == ["i0000"]


@pytest.mark.parametrize("form", ["seconds", "date", "past", "nonsense"])
def test_retry_after_is_respected(form: str) -> None:
    def answer(one: Asked) -> Answer:
        if one.path == "/":
            return 200, {}, landing()
        if one.number == 2:
            moment = datetime.now(UTC) + timedelta(seconds=-9 if form == "past" else 1)
            said = {"seconds": "0", "nonsense": "soon"}.get(form, format_datetime(moment, usegmt=True))
            return 429, {"Retry-After": said}, b"{}"
        return 200, {}, json.dumps(page()).encode()

    with answering(answer) as server:
        assert found(server.url) == ["i0000"]


def test_an_html_page_is_not_a_catalog() -> None:
    with (
        answering(lambda one: (200, {"content-type": "text/html"}, b"<html>a browser</html>")) as server,
        pytest.raises(CatalogUnreachable, match="does not respond as a STAC API"),
    ):
        found(server.url)


def test_a_saved_list_is_continued_by_its_next_link() -> None:
    catalog = OddCatalog(items(25), link="get", most=10)

    def answer(one: Asked) -> Answer:
        base = f"http://{one.headers['host']}"
        token = int((re.search(r"token=(\d+)", one.path) or ["", "0"])[1])
        whole = catalog.page(base, "/saved.json", {"token": token, "limit": 10})
        return (404, {}, b"") if gone and token == 20 else (200, {}, json.dumps(whole).encode())

    gone = False
    with answering(answer) as server:
        assert len(found(f"{server.url}/saved.json")) == 25
        gone = True
        with pytest.raises(CatalogUnreachable, match="further page"):
            found(f"{server.url}/saved.json")


def test_a_saved_page_that_reports_more_items_than_it_has() -> None:
    body = json.dumps(page() | {"numberMatched": 250}).encode()
    with (
        answering(lambda one: (200, {}, body)) as server,
        pytest.raises(CatalogUnreachable, match="reports 250"),
    ):
        found(f"{server.url}/saved.json")


def pixels(url: str, path: str = "/a.tif") -> NDArray[np.float32]:
    now, square = datetime.now(UTC), box(0, 0, 1, 1)
    item = Item("one", "visual", url, now, None, "made", "1", "", square, {"visual": url + path})
    scene = Scene("visual", "made", "1", date(2024, 5, 1), now, (item,), square)
    return read_scene(scene, PROFILE, GRID, allowed_hosts=["127.0.0.1:*"]).bands.values


def asked_range(one: Asked) -> tuple[int, int, bytes]:
    first, last = (int(part) for part in one.headers["range"].removeprefix("bytes=").split("-"))
    last = min(last, len(CONTENT) - 1)
    return first, last, CONTENT[first : last + 1]


def usual(one: Asked) -> Answer:
    first, last, body = asked_range(one)
    return 206, {"Content-Range": f"bytes {first}-{last}/{len(CONTENT)}"}, body


def unknown_size(one: Asked) -> Answer:
    if one.method == "HEAD":
        return 200, {"CONTENT-LENGTH": str(len(CONTENT))}, b""
    first, last, body = asked_range(one)
    return 206, {"content-range": f"Bytes {first}-{last}/*"}, body


def in_parts(one: Asked) -> Answer:
    first, last, body = asked_range(one)
    head = f"--sep\r\nContent-Type: image/tiff\r\nContent-Range: bytes {first}-{last}/{len(CONTENT)}\r\n\r\n"
    kind = {"Content-Type": "multipart/byteranges; boundary=sep"}
    return 206, kind, head.encode() + body + b"\r\n--sep--\r\n"


def busy_until(one: Asked) -> Answer:
    if one.number == 1:
        return 503, {"Retry-After": format_datetime(datetime.now(UTC), usegmt=True)}, b""
    return usual(one)


def whole_of_a_small_file(one: Asked) -> Answer:
    return 200, {}, CONTENT


@pytest.mark.parametrize("way", [usual, unknown_size, in_parts, busy_until, whole_of_a_small_file])
def test_every_form_of_range_response_is_read(way: Callable[[Asked], Answer]) -> None:
    with answering(usual) as server:
        right = pixels(server.url)
    with answering(way) as server:
        np.testing.assert_array_equal(pixels(server.url), right)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((416, {"Content-Range": "bytes */0"}, b""), "shorter than 1 bytes; it has 0"),
        ((206, {"Content-Range": "bytes 0-9/10", "Content-Encoding": "gzip"}, b"x" * 10), "compressed"),
        ((200, {}, b"x" * 10**6), "ignores byte ranges"),
        ((206, {}, b"x" * 10), "bad Content-Range"),
        ((206, {"Content-Range": "bytes 0-9/*"}, b"x" * 10), "how long"),
    ],
)
def test_unreadable_responses_are_reported(answer: Answer, says: str) -> None:
    with answering(lambda one: answer) as server, pytest.raises(ReadFailed, match=re.escape(says)):
        pixels(server.url)


def test_an_expired_signature_is_told_from_a_missing_one() -> None:
    with answering(lambda one: (403, {}, b"")) as server:
        with pytest.raises(ReadFailed, match="was signed until 2020-01-02 00:00 UTC"):
            pixels(server.url, "/a.tif?sv=1&se=2020-01-02&sig=OLD")
        with pytest.raises(ReadFailed, match="may need signing or credentials"):
            pixels(server.url)
