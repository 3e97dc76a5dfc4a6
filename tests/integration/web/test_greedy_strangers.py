"""Strangers who ask for more than their share: whatever one of them does, the others are answered.

The real server on real sockets; waits are shortened, as each would take its ten seconds.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from ipaddress import ip_network
from threading import Thread
from typing import Any

import httpx
import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, Engine
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from segwatch.db import analyst, reviews
from segwatch.flows.alerting.send_times import compute_send_time
from segwatch.flows.web import events, health
from segwatch.flows.web.application import create_app
from segwatch.flows.web.guards import bodies, connections, sending
from segwatch.flows.web.guards.admission import RequestPools
from segwatch.flows.web.guards.rate_limits import Rate
from segwatch.flows.web.guards.site import Site
from segwatch.flows.web.ogcapi import pages
from segwatch.flows.web.options import ServerOptions
from segwatch.flows.web.pixels import circuits, decoding, renders
from tests.conftest import Database
from tests.integration.conftest import LAKE
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support.live_web import line_to, live
from tests.support.serving import serving_files
from tests.support.shown_scenes import TILE, picture, show_from, silent_host

ITEMS = "/ogc/collections/watch.objects_now/items"
VECTOR = "/api/tiles/0/0/0.mvt?watch=lakes&at=2024-02-01T00:00:00Z"
#: One of each kind that needs the database.
ASKING = (
    "/api/watches",
    "/api/alerts?watch=lakes",
    VECTOR,
    ITEMS,
    f"{ITEMS}?sortby=area_m2",
    "/feeds/lakes/atom.xml",
)
ALONE = ("/healthz", "/", "/static/assess.js", "/ogc/collections")
#: What a request takes that waits for nobody, on a busy machine.
SOON = 5.0


@pytest.fixture
def url(database: Database) -> str:
    return database.url("segwatch_analyst")


@pytest.fixture
def scene(ledger: Ledger) -> str:
    """In the address of a tile."""
    (row,) = ledger.rows("SELECT scene_id FROM watch.imagery ORDER BY acquired_at LIMIT 1")
    return f"/imagery/tiles/WebMercatorQuad/{TILE}.png?watch=lakes&scene={row['scene_id']}"


async def answers(base: str, paths: list[str]) -> list[httpx.Response]:
    """All at the same time."""
    limits = httpx.Limits(max_connections=len(paths))
    async with httpx.AsyncClient(base_url=base, timeout=60, limits=limits) as client:
        return list(await asyncio.gather(*(client.get(path) for path in paths)))


def soon(base: str, *paths: str) -> None:
    """Each is answered right now."""
    for path in paths:
        began = time.monotonic()
        assert httpx.get(base + path, timeout=60).status_code == 200, path
        assert time.monotonic() - began < SOON, path


@contextmanager
def meanwhile(base: str, paths: list[str]) -> Iterator[list[httpx.Response]]:
    """The block runs while all of these are asked; their answers are there after it."""
    found: list[httpx.Response] = []
    flood = Thread(target=lambda: found.extend(asyncio.run(answers(base, paths))))
    flood.start()
    try:
        time.sleep(0.5)
        yield found
    finally:
        flood.join()


def test_a_host_of_imagery_that_never_answers_stops_nothing_else(
    database: Database, url: str, scene: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = decoding.Decoders(decoding.Limits(reading_seconds=2.0))
    monkeypatch.setattr(decoding, "_shared", lambda: impatient)
    monkeypatch.setattr(renders, "_SLOW_SECONDS", 1.0)
    monkeypatch.setattr(circuits, "OPEN_SECONDS", 4.0)
    with (
        closing(impatient),
        silent_host() as (picture_url, host_answers),
        live(create_app(url)) as base,
    ):
        show_from(database, picture_url)
        with meanwhile(base, [f"{scene}&tilesize={200 + one}" for one in range(60)]) as flood:
            soon(base, "/readyz", *ALONE, *ASKING)
        statuses = Counter(one.status_code for one in flood)
        assert set(statuses) <= {502, 503, 504}
        assert statuses[503] > 30
        assert all("retry-after" in one.headers for one in flood if one.status_code == 503)
        assert max(one.elapsed.total_seconds() for one in flood) < 30
        began = time.monotonic()
        refused = httpx.get(base + scene, timeout=60)
        assert (refused.status_code, time.monotonic() - began < 1.5) == (503, True), "it is not asked again"
        assert "host" in refused.json()["detail"]
        host_answers.set()
        until = time.monotonic() + 300
        while httpx.get(base + scene, timeout=60).status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.2)


def test_tiles_are_made_once(database: Database, url: str, scene: str) -> None:
    with serving_files({"/picture.tif": picture()}) as files, live(create_app(url)) as base:
        show_from(database, f"{files.url}/picture.tif")
        together = asyncio.run(answers(base, [f"{scene}&n={one}" for one in range(20)]))
        assert {one.status_code for one in together} == {200}
        assert len({one.content for one in together}) == 1
        asked = len(files.asked)
        assert asked < 10
        again = httpx.get(f"{base}{scene}&another=parameter")
        assert again.content == together[0].content
        kept = {"If-None-Match": f'"other", {again.headers["etag"]}'}
        known = httpx.get(base + scene, headers=kept)
        assert (known.status_code, known.content) == (304, b"")
        assert len(files.asked) == asked, "neither asks the host"


def test_a_kept_tile_of_objects_never_says_what_does_not_hold(
    url: str, engine: Engine, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[analyst.TilePlace] = []
    read = analyst.read_object_tile

    def counted(conn: Connection, moment: analyst.TileMoment, place: analyst.TilePlace) -> tuple[str, bytes]:
        made.append(place)
        return read(conn, moment, place)

    monkeypatch.setattr(analyst, "read_object_tile", counted)
    with live(create_app(url)) as base:
        together = asyncio.run(answers(base, [VECTOR] * 20))
        assert len({one.content for one in together}) == 1
        assert len(made) == 1
        etag = {"If-None-Match": together[0].headers["etag"]}
        assert httpx.get(base + VECTOR, headers=etag).status_code == 304
        assert len(made) == 1
        (row,) = ledger.rows("SELECT track_id FROM watch.objects_now")
        with engine.begin() as conn:
            reviews.decide(
                conn, row["track_id"], reviews.Verdict.REJECTED, reviewer="ada", reason="no lake",
                outline=None, turn=compute_send_time,
            )  # fmt: skip
        changed = httpx.get(base + VECTOR, headers=etag)
        assert changed.status_code == 200
        assert changed.content != together[0].content


def test_a_database_that_is_gone_is_said_so_and_comes_back(url: str, ledger: Ledger) -> None:
    with line_to(url) as (line, through), live(create_app(through)) as base:
        soon(base, "/readyz", *ALONE, *ASKING)
        line.cut()
        for path in ("/readyz", *ASKING):
            began = time.monotonic()
            answer = httpx.get(base + path, timeout=60)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5"), path
            assert "database" in answer.json()["detail"], path
            assert time.monotonic() - began < SOON, path
        soon(base, *ALONE)
        line.mend()
        soon(base, "/readyz", *ASKING)


def test_a_database_that_never_answers_holds_up_only_who_asks_it(
    url: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_PROBE_SECONDS", 0.5)
    with line_to(url) as (line, through), live(create_app(through)) as base:
        soon(base, "/readyz", *ASKING)
        line.hold()
        with ExitStack() as stack:
            stack.callback(line.mend)
            flood = stack.enter_context(meanwhile(base, [*ASKING * 8]))
            soon(base, *ALONE)
            for _ in range(3):
                began = time.monotonic()
                assert httpx.get(f"{base}/readyz", timeout=60).status_code == 503
                assert time.monotonic() - began < SOON
            line.mend()
        assert {one.status_code for one in flood} <= {200, 503, 504}
        until = time.monotonic() + 120
        while not httpx.get(f"{base}/readyz", timeout=60).is_success:
            assert time.monotonic() < until
        soon(base, *ASKING)


@contextmanager
def tracks_locked(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """Whatever asks for objects waits, as a query over all history would."""
    with psycopg.connect(database.superuser_url) as conn:
        conn.execute("LOCK TABLE segwatch.track IN ACCESS EXCLUSIVE MODE")
        yield conn


def test_long_filters_leave_places_for_others(database: Database, url: str, ledger: Ledger) -> None:
    heavy = [f"{ITEMS}?filter=area_m2%3E{one}" for one in range(12)]
    with live(create_app(url)) as base:
        with tracks_locked(database) as locked, meanwhile(base, heavy) as flood:
            soon(base, "/ogc/collections/watch.watches/items", *ALONE, "/api/scenes?watch=lakes")
            locked.rollback()
        assert {one.status_code for one in flood} == {200, 503}


def test_a_query_ends_when_nobody_waits_for_it(database: Database, url: str, ledger: Ledger) -> None:
    running = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state = 'active' AND query LIKE %s"
    )
    like = [database.name, "%COUNT(*)%objects_now%"]
    with live(create_app(url)) as base, tracks_locked(database) as conn:

        def count() -> int:
            conn.execute("SELECT pg_stat_clear_snapshot()")
            (found,) = conn.execute(running, like).fetchone() or (0,)
            return int(found)

        host, _, port = base.removeprefix("http://").partition(":")
        with closing(socket.create_connection((host, int(port)))) as client:
            client.sendall(f"GET {ITEMS}?sortby=area_m2 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            until = time.monotonic() + 120
            while count() == 0:
                assert time.monotonic() < until
                time.sleep(0.05)
        until = time.monotonic() + 8  # its own limit is 15 s
        while count() > 0:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_one_client_that_asks_too_often_waits_and_others_do_not(url: str, ledger: Ledger) -> None:
    site = Site(proxies=(ip_network("127.0.0.1"),))
    app = create_app(url, ServerOptions(site=site), rate=Rate(per_second=1, burst=20))
    with live(app) as base, httpx.Client(base_url=base) as client:
        known = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}
        found = [client.get("/", headers=known) for _ in range(30)]
        refused = [one for one in found if one.status_code == 429]
        assert len(refused) >= 5
        assert int(refused[0].headers["retry-after"]) >= 1
        assert client.get("/", headers={"X-Forwarded-For": "forged, 198.51.100.7"}).status_code == 429
        assert client.get("/", headers={"X-Forwarded-For": "198.51.100.8"}).status_code == 200
        assert client.get("/healthz", headers=known).status_code == 200
    with (
        live(create_app(url, rate=Rate(per_second=1, burst=20))) as base,
        httpx.Client(base_url=base) as client,
    ):
        names = [{"X-Forwarded-For": f"198.51.100.{one}"} for one in range(40)]
        assert 429 in {client.get("/", headers=one).status_code for one in names}, "nobody named this proxy"


def connected(base: str, first: bytes) -> socket.socket:
    host, _, port = base.removeprefix("http://").partition(":")
    made = socket.create_connection((host, int(port)))
    made.settimeout(60)
    made.sendall(first)
    return made


def test_heads_that_never_end_are_cut_off(url: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 1.5)
    with live(create_app(url)) as base, ExitStack() as stack:
        slow = [stack.enter_context(connected(base, b"GET / HTTP/1.1\r\n")) for _ in range(30)]
        until = time.monotonic() + 120
        while slow:  # a byte now and then keeps none of them
            assert time.monotonic() < until
            slow = [one for one in slow if _goes_on(one)]
            soon(base, "/healthz")
        large = stack.enter_context(connected(base, b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000))
        assert large.recv(100).startswith(b"HTTP/1.1 400")


def _goes_on(one: socket.socket) -> bool:
    try:
        one.sendall(b"X")
        one.settimeout(0.01)
        return one.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def test_connections_of_one_client_make_room_for_newer_ones(url: str, ledger: Ledger) -> None:
    with live(create_app(url), connections=50) as base, ExitStack() as stack:
        idle = [stack.enter_context(connected(base, b"GET / HT")) for _ in range(40)]
        soon(base, "/healthz")
        assert sum(_goes_on(one) for one in idle) <= 10


def test_bodies_that_come_too_slowly_or_are_too_large_are_refused(
    database: Database, engine: Engine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.5)
    access = ServerOptions(events=events.EventIntake(engine, SecretStr("whsec_" + "A" * 32)))
    head = b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    with live(create_app(url, access)) as base:
        with closing(connected(base, head % 1000 + b"{")) as slow:
            assert slow.recv(100).startswith(b"HTTP/1.1 408")
        with closing(connected(base, head % 10**9)) as large:
            assert large.recv(100).startswith(b"HTTP/1.1 413")


_LARGE = 8 * 2**20


async def _large(scope: Scope, receive: Receive, send: Send) -> None:
    """More than the kernel keeps for a reader."""
    if scope["type"] == "http":
        await Response(bytes(_LARGE) if scope["path"] == "/large" else b"small")(scope, receive, send)


def test_readers_that_never_read_hold_no_place_and_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_PAUSE_SECONDS", 1.0)
    with live(RequestPools(_large)) as base, ExitStack() as stack:
        head = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
        # more than there are places
        readers = [stack.enter_context(closing(connected(base, head))) for _ in range(40)]
        time.sleep(0.5)
        soon(base, "/small")
        time.sleep(2)
        assert max(_all_of(one) for one in readers) < _LARGE
        assert len(httpx.get(f"{base}/large").content) == _LARGE, "whoever reads gets all"


def _all_of(one: socket.socket) -> int:
    got = 0
    try:
        while data := one.recv(65536):
            got += len(data)
    except ConnectionResetError:
        pass
    return got


def test_long_pages_end_where_an_answer_may_hold_no_more(
    url: str, ledgers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = ledgers()
    ponds = tuple(cells(x, y, x + 0.5, y + 0.5) for x in range(5) for y in range(4))
    ledger.arrive([SceneContent((LAKE,)), SceneContent(ponds)], [0, 1])
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 4000)
    with live(create_app(url)) as base:
        seen: list[str] = []
        link: str | None = f"{base}{ITEMS}?limit=500"
        rounds = 0
        while link:
            page = httpx.get(link).json()
            assert page["numberReturned"] == len(page["features"]) >= 1
            seen += [one["id"] for one in page["features"]]
            link = next((one["href"] for one in page["links"] if one["rel"] == "next"), None)
            rounds += 1
        assert len(seen) == len(set(seen)) == page["numberMatched"]
        assert rounds > 2
        html = httpx.get(f"{base}/ogc/collections/watch.objects_now/items?limit=10000&f=html")
        assert re.search(r"limit=100", html.text)
