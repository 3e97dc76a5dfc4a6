"""Connections to addresses inside the network: refused where they are made, whoever names them."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from segwatch.flows.alerting.channels import DeliveryProblem, send
from segwatch.flows.alerting.courier import deliver_outbox
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.events import fetch
from segwatch.flows.services import environment
from segwatch.geo.errors import AddressRefused, CatalogUnreachable
from segwatch.geo.sources.http import egress, ip_addresses
from segwatch.geo.sources.http.ip_addresses import parse_allowed
from segwatch.geo.sources.search.catalog import open_catalog
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support.receiving import Taken, receiving
from tests.support.serving import serving

METADATA = "169.254.169.254"


@pytest.fixture(autouse=True)
def _nothing_allowed(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("SEGWATCH_ALLOWED_ADDRESSES")
    ip_addresses.allow_addresses(())
    yield
    ip_addresses.allow_addresses([parse_allowed("127.0.0.0/8"), parse_allowed("::1")])


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """A name server that gives another answer every time, the last one for ever; the names that were asked for."""
    right, asked = socket.getaddrinfo, []

    def getaddrinfo(host: Any, port: Any, *given: Any, **more: Any) -> Any:
        if host != "rebound.example":
            return right(host, port, *given, **more)
        asked.append(str(host))
        return right(answers[min(len(asked), len(answers)) - 1], port, *given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def deliver(ledger: Ledger, **more: Any) -> Any:
    return deliver_outbox(ledger.engine, load_settings(delivery_retry_seconds=60, **more))


def reason(ledger: Ledger) -> str:
    (row,) = ledger.rows(
        "SELECT DISTINCT state, last_error FROM segwatch.delivery WHERE last_error IS NOT NULL"
    )
    assert row["state"] == "pending", "it goes out once it is allowed"
    return str(row["last_error"])


def alerting(ledgers: Any, channel: str) -> Ledger:
    ledger: Ledger = ledgers()
    ledger.rule(channels=(channel,))
    ledger.arrive([SceneContent(()), SceneContent((cells(1, 1, 3, 3),))], [0, 1])
    return ledger


def test_a_webhook_inside_is_refused_until_it_is_allowed(ledgers: Any) -> None:
    with receiving() as taken:
        port = httpx.URL(taken.url).port
        ledger = alerting(ledgers, taken.url + "/hook")
        assert deliver(ledger).failed == 1
        assert taken.requests == 0
        told = reason(ledger)
        assert told.startswith("refused: ")
        assert f'SEGWATCH_ALLOWED_ADDRESSES=["127.0.0.1:{port}"]' in told
        with ledger.engine.begin() as conn:
            conn.execute(text("UPDATE segwatch.delivery SET next_attempt_at = clock_timestamp()"))
        assert deliver(ledger, allowed_addresses=[f"127.0.0.1:{port}"]).delivered == 1


@pytest.mark.parametrize(
    "host", ["localhost", "2130706433", "0x7f.1", "127.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "[::1]"]
)
def test_this_machine_is_refused_in_every_notation(host: str) -> None:
    with receiving() as taken:
        problem = _attempt(f"http://{host}:{httpx.URL(taken.url).port}/hook")
        assert problem is not None
        assert problem.reason.startswith("refused: ") or problem.reason == "InvalidURL"
        assert taken.requests == 0


def _attempt(channel: str, **more: Any) -> DeliveryProblem | None:
    from uuid import uuid4

    from segwatch.db.outbox import DeliveryLease

    settings = load_settings(**more)

    async def one() -> DeliveryProblem | None:
        lease = DeliveryLease(uuid4(), channel, "key", _payload(), 0)
        async with egress.create_async_client(settings.permitted_addresses, timeout=None) as client:
            return await send(client, lease, settings)

    return asyncio.run(one())


def _payload() -> dict[str, Any]:
    data = {
        "watch": "w", "target": "water", "kind": "appeared", "before_m2": 0.0, "after_m2": 1.0, "score": 1.0,
        "valid_at": "2024-05-01", "bbox": [1, 1, 2, 2], "rule": "r", "instruction": "i", "model": "m",
        "item_hrefs": [], "track_id": "t", "alert_id": "a",
    }  # fmt: skip
    return {"type": "segwatch.alert", "data": data}


@pytest.mark.parametrize(
    "url",
    [
        f"http://{METADATA}/latest/meta-data/", "http://2852039166/", "http://[fd00:ec2::254]/", "http://0.0.0.0/",
        "http://100.100.100.200/", "http://[64:ff9b::a9fe:a9fe]/", "http://168.63.129.16/", "https://10.0.0.1/",
    ],
)  # fmt: skip
def test_metadata_and_private_addresses_are_not_asked(url: str) -> None:
    problem = _attempt(url)
    assert problem is not None
    assert problem.reason.startswith("refused: ")


def test_a_name_is_judged_by_the_address_that_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as taken:
        asked = resolving(monkeypatch, "93.184.215.14", "127.0.0.1")
        address = f"http://rebound.example:{httpx.URL(taken.url).port}/"
        resolving_once = _attempt(address, delivery_timeout_seconds=0.3)
        assert resolving_once is not None
        assert asked == ["rebound.example"], "looked up once, and connected to what was judged"
        problem = _attempt(address)
        assert problem is not None
        assert "rebound.example (127.0.0.1) is a loopback address" in problem.reason
        assert taken.requests == 0
        port = httpx.URL(taken.url).port
        assert _attempt(address, allowed_addresses=[f"rebound.example:{port}"]) is None
        assert taken.requests == 1


def _service(taken: Taken, host: str = "127.0.0.1", schema: str = "json") -> dict[str, str]:
    return {"chat": f"{schema}://{host}:{httpx.URL(taken.url).port}/chat"}


def test_services_of_apprise_are_refused_where_they_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as taken:
        port = httpx.URL(taken.url).port
        for host in ("127.0.0.1", "2130706433", "localhost"):
            problem = _attempt("apprise:chat", services=_service(taken, host))
            assert problem is not None
            assert "loopback address" in problem.reason, problem
        for schema in ("mailto", "gotify", "ntfy", "syslog", "rsyslog"):
            address = f"{schema}://user:pass@127.0.0.1:{port}/token"
            problem = _attempt("apprise:chat", services={"chat": address})
            assert problem is not None, schema
        assert taken.requests == 0
        resolving(monkeypatch, "127.0.0.1")
        problem = _attempt("apprise:chat", services=_service(taken, "rebound.example"))
        assert problem is not None
        assert "127.0.0.1 is a loopback address" in problem.reason
        assert (
            _attempt("apprise:chat", services=_service(taken), allowed_addresses=[f"127.0.0.1:{port}"])
            is None
        )
    assert taken.paths == ["/chat"]


def test_a_service_that_is_redirected_inside_is_refused() -> None:
    with receiving() as inside:
        with receiving(answers={"/chat": (307, {"location": inside.url + "/secret"})}) as outside:
            port = httpx.URL(outside.url).port
            problem = _attempt(
                "apprise:chat", services=_service(outside), allowed_addresses=[f"127.0.0.1:{port}"]
            )
        assert problem is not None
        assert inside.requests == 0


def _settings(*given: str) -> FlowSettings:
    return load_settings(allowed_addresses=list(given))


def test_feeds_and_catalogs_by_a_name_that_leads_inside_are_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, "127.0.0.1")
    with serving({"/": (200, {}, b"{}")}) as url:
        named = url.replace("127.0.0.1", "rebound.example")
        with pytest.raises(AddressRefused, match="loopback"):
            fetch.fetch_document(named + "/", _settings())
        with pytest.raises(CatalogUnreachable, match="loopback address"):
            open_catalog(named)
        with pytest.raises(CatalogUnreachable, match="metadata address"):
            open_catalog(f"http://{METADATA}/")
        with pytest.raises(AddressRefused, match="metadata"):
            fetch.fetch_document(f"http://{METADATA}/", _settings())
        port = httpx.URL(url).port
        assert fetch.fetch_document(named + "/", _settings(f"rebound.example:{port}")).content == b"{}"
        with pytest.raises(CatalogUnreachable, match="give the URL of the API"):
            open_catalog(named)


def test_the_demo_allows_its_own_receiver_and_nothing_else(tmp_path: Any) -> None:
    found = environment.make_variables(tmp_path, {"receiver": "http://127.0.0.1:4711"})
    assert found["SEGWATCH_ALLOWED_ADDRESSES"] == '["127.0.0.1:4711"]'
    assert "SEGWATCH_ALLOWED_ADDRESSES" not in environment.make_variables(
        tmp_path, {"stac": "http://127.0.0.1:4712"}
    )
