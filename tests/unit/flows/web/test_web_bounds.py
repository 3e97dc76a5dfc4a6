"""What one client may use of the web application, and what is kept for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwatch.flows.web.caching import MadeTile, SingleFlight, TileCache
from segwatch.flows.web.guards.admission import POOLS, choose_pool
from segwatch.flows.web.guards.pools import Pool, PoolFull, PoolLimits
from segwatch.flows.web.guards.rate_limits import Rate, RateLimiter, identify_client
from segwatch.flows.web.guards.sending import MAX_RESPONSE_BYTES, Budget, BufferedResponse, ResponseTooLarge
from segwatch.flows.web.ogcapi.pages import weigh
from segwatch.flows.web.pixels.circuits import MAX_FAILURES, OPEN_SECONDS, HostCircuits


@given(st.lists(st.floats(0, 3), min_size=1, max_size=200))
def test_a_client_gets_its_burst_and_its_rate_and_no_more(pauses: list[float]) -> None:
    now = 0.0
    limiter = RateLimiter(Rate(per_second=2, burst=5), clock=lambda: now)
    taken = 0
    for moment in accumulate(pauses):
        now = moment
        if limiter.wait_seconds("a") == 0:
            limiter.take("a", 1)
            taken += 1
        assert limiter.wait_seconds("b") == 0, "others have their own"
    assert min(len(pauses), 5) <= taken <= 5 + 2 * now + 1


def test_whoever_waits_as_long_as_told_is_answered() -> None:
    now = 0.0
    limiter = RateLimiter(Rate(per_second=0.5, burst=60), clock=lambda: now)
    limiter.take("a", 90.0)
    now += limiter.wait_seconds("a")
    assert now > 59
    assert limiter.wait_seconds("a") == 0


def test_the_table_of_clients_is_bounded() -> None:
    limiter = RateLimiter(Rate(1, 1), max_clients=10, clock=lambda: 0.0)
    for number in range(1000):
        limiter.take(f"client-{number}", 1)
    assert len(limiter) == 10
    assert limiter.wait_seconds("client-999") > 0


@pytest.mark.parametrize(
    ("given_address", "client"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("testclient", "testclient"),
        ("x" * 10_000, "x" * 64),
        (None, "local"),
    ],
)
def test_a_client_is_an_address_or_what_one_subscriber_has(given_address: str | None, client: str) -> None:
    assert identify_client({"client": given_address and (given_address, 1)}) == client


def asked(path: str, query: str = "", method: str = "GET") -> str:
    return choose_pool({"path": path, "query_string": query.encode(), "method": method})


ITEMS = "/ogc/collections/watch.objects_now/items"


def test_each_request_has_its_pool() -> None:
    assert asked("/imagery/tiles/WebMercatorQuad/1/0/0.png", "watch=a") == "imagery"
    assert asked("/api/tiles/1/0/0.mvt", "watch=a") == "tiles"
    assert asked("/api/watches") == asked("/feeds/a/atom.xml") == "api"
    assert asked("/events", method="POST") == asked("/api/reviews", method="POST") == "writes"
    assert asked("/") == asked("/static/map.js") == asked("/ogc/collections") == "pages"
    for query in ("", "watch=a&limit=100", "bbox=1,2,3,4&offset=500", "limit=x"):
        assert asked(ITEMS, query) == "features", query
    for query in (
        "filter=a%3D1",
        "limit=10000",
        f"limit={'9' * 5000}",
        "offset=1000000",
        "sortby=a",
        "FILTER=x",
    ):
        assert asked(ITEMS, query) == "heavy", query


def test_what_runs_on_the_frameworks_threads_leaves_some() -> None:
    assert sum(POOLS[name].running for name in ("api", "writes", "pages")) < 40


def test_one_client_never_has_all_places_and_the_first_who_waits_comes_first() -> None:
    async def play() -> None:
        pool = Pool(PoolLimits(running=4, waiting=8, wait_seconds=5, seconds=5))
        for _ in range(3):
            await pool.enter("greedy")
        greedy = [asyncio.create_task(pool.enter("greedy")) for _ in range(6)]
        await asyncio.sleep(0)
        with pytest.raises(PoolFull):
            await pool.enter("greedy")
        await pool.enter("other")
        waiting = asyncio.create_task(pool.enter("third"))
        await asyncio.sleep(0)
        pool.leave("other")
        await asyncio.wait_for(waiting, 5)
        assert not any(one.done() for one in greedy)
        greedy[0].cancel()
        await asyncio.sleep(0)
        pool.leave("greedy")
        await asyncio.wait_for(greedy[1], 5)
        for one in greedy:
            one.cancel()
        await asyncio.gather(*greedy, return_exceptions=True)
        for client in ("greedy", "greedy", "greedy", "third"):
            pool.leave(client)
        for client in "abcd":  # no place was lost
            await asyncio.wait_for(pool.enter(client), 5)

    asyncio.run(play())


def test_who_waits_too_long_is_told() -> None:
    async def play() -> None:
        pool = Pool(PoolLimits(running=1, waiting=8, wait_seconds=0.01, seconds=5))
        await pool.enter("a")
        with pytest.raises(PoolFull):
            await pool.enter("b")
        pool.leave("a")
        await pool.enter("b")

    asyncio.run(play())


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4000)), max_size=60))
def test_what_is_kept_is_bounded_in_bytes(puts: list[tuple[int, int]]) -> None:
    cache: TileCache[int] = TileCache(20_000)
    for key, size in puts:
        cache.put(key, MadeTile(bytes(size), "image/png", "etag"))
        assert cache.bytes <= 20_000
        found = cache.get(key)
        assert found is not None
        assert len(found.content) == size
    assert len(cache) <= 6


def test_a_tile_larger_than_the_cache_is_not_kept() -> None:
    cache: TileCache[int] = TileCache(1000)
    cache.put(1, MadeTile(bytes(2000), "image/png", "etag"))
    assert (len(cache), cache.bytes) == (0, 0)


def test_those_who_ask_together_wait_for_one_computation() -> None:
    ran: Counter[str] = Counter()

    async def play() -> None:
        flights: SingleFlight[str, int] = SingleFlight()
        go = asyncio.Event()

        async def compute() -> int:
            ran["begun"] += 1
            await go.wait()
            ran["done"] += 1
            return 7

        first = [asyncio.create_task(flights.join("a", compute)) for _ in range(5)]
        await asyncio.sleep(0)
        first[0].cancel()
        await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(*first[1:]) == [7] * 4
        assert ran == {"begun": 1, "done": 1}
        go.clear()
        alone = asyncio.create_task(flights.join("a", compute))
        await asyncio.sleep(0.01)
        alone.cancel()
        await asyncio.sleep(0.01)
        go.set()
        await asyncio.sleep(0.01)
        assert ran == {"begun": 2, "done": 1}, "nobody waited for it any more"

    asyncio.run(play())


def test_the_circuit_of_a_host_opens_closes_and_is_forgotten() -> None:
    now = 0.0
    made = HostCircuits(clock=lambda: now)
    for _ in range(MAX_FAILURES):
        assert made.open_seconds(["a"]) == 0
        made.record_failure(["a"])
    assert made.open_seconds(["a", "b"]) == OPEN_SECONDS
    assert made.open_seconds(["b"]) == 0
    now += OPEN_SECONDS
    assert made.open_seconds(["a"]) == 0
    made.start_probe(["a"])
    assert made.open_seconds(["a"]) > 0, "one tries, the others wait"
    made.record_success(["a"])
    assert made.open_seconds(["a"]) == 0
    for number in range(5000):
        made.record_failure([f"host-{number}"])
    assert len(made) <= 1000


def test_answers_on_their_way_are_bounded_one_by_one_and_together() -> None:
    budget = Budget(100 * 2**20)
    with budget.share() as one, budget.share() as other:
        one.hold(MAX_RESPONSE_BYTES)
        with pytest.raises(ResponseTooLarge) as error:
            one.hold(1)
        assert error.value.status == 400
        with pytest.raises(ResponseTooLarge) as error:
            other.hold(40 * 2**20)
        assert error.value.status == 503
        one.release(10 * 2**20)
        other.hold(40 * 2**20)
    with budget.share() as all_free, budget.share() as another:
        all_free.hold(60 * 2**20)
        another.hold(40 * 2**20)


def test_what_an_abandoned_request_still_answers_is_dropped() -> None:
    budget = Budget(1000)
    with budget.share() as share:
        answer = BufferedResponse(share)
    asyncio.run(answer.send({"type": "http.response.body", "body": bytes(900)}))
    assert answer.parts == []
    with budget.share() as other:
        other.hold(1000)


def test_pages_are_weighed_by_what_they_hold() -> None:
    ring = [[0.0, 0.0]] * 1000

    def row(geometry: Any) -> Any:
        return {"id": 1, "tipg_geom": geometry}

    small = weigh(row(None))
    for kind, coordinates in (("Polygon", [ring]), ("MultiPolygon", [[ring]]), ("LineString", ring)):
        assert weigh(row({"type": kind, "coordinates": coordinates})) > small + 20_000, kind
    assert weigh(row("POLYGON" + "0 0," * 1000)) > small + 3000
    assert weigh(row({"type": "Point", "coordinates": [0.0, 0.0]})) < small + 100
