"""Receivers that do whatever they like with a connection: each costs its time limit, and nobody else anything."""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager
from typing import Any

import pytest

from segwatch.flows.alerting.courier import deliver_outbox
from segwatch.flows.config.settings import load_settings
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.support.behaving import Behaviour, Connection, Server, behaving, dripping_headers, endless_headers
from tests.support.receiving import receiving

#: For those that hang, and for all others: a busy machine is no failure.
LIMIT_SECONDS, UNHURRIED_SECONDS = 1.5, 10.0
#: What else a pass may take on a busy machine; those that hang would do so for ever.
SPARE_SECONDS = 10.0
KEY = "/hook/k3y-of-this-channel"
WORLD = [SceneContent(()), SceneContent(tuple(cells(1.2 * k, 1, 1.2 * k + 0.9, 3) for k in range(6)))]


def hooked(behave: Behaviour) -> AbstractContextManager[Server]:
    """A receiver whose address holds a key."""
    return behaving(behave, KEY)


def endless_patience(to: Connection) -> None:
    to.repeat(b"HTTP/1.1 102 Processing\r\n\r\n", every=0.01)


def silence(to: Connection) -> None:
    to.repeat(b"", every=0.1)


def endless_body_of_a_failure(to: Connection) -> None:
    to.send(b"HTTP/1.1 500 Oh\r\ntransfer-encoding: chunked\r\n\r\n")
    to.repeat(b"10000\r\n" + b"z" * 0x10000 + b"\r\n")


def huge_body_of_a_good_answer(to: Connection) -> None:
    to.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n")
    to.repeat(b"z" * 0x10000)


def dripping_body_of_a_failure(to: Connection) -> None:
    to.send(b"HTTP/1.1 503 Oh\r\ncontent-length: 1000\r\n\r\n")
    to.repeat(b"z", every=0.2)


def hanging_up(to: Connection) -> None:
    """At once."""


def echo(to: Connection) -> None:
    """Sends back what it was sent, as a status line."""
    to.send(f"you asked for {KEY}\x1b[31m\r\n\r\n".encode())


def failing(**headers: str) -> Behaviour:
    def behave(to: Connection) -> None:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        to.send(f"HTTP/1.1 429 Slower\r\n{lines}content-length: 0\r\n\r\n".encode())

    return behave


HANG = (dripping_headers, endless_patience, silence)


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (endless_headers, "it closed the connection, or its response is not HTTP"),
        (dripping_headers, "no response within 1.5 s"),
        (endless_patience, "no response within 1.5 s"),
        (silence, "no response within 1.5 s"),
        (endless_body_of_a_failure, "HTTP 500"),
        (huge_body_of_a_good_answer, None),
        (dripping_body_of_a_failure, "HTTP 503"),
        # which of them depends on what was still on its way
        (hanging_up, "it closed the connection, or its response is not HTTP|the connection broke"),
        (echo, "it closed the connection, or its response is not HTTP"),
    ],
)
def test_each_ends_in_time_and_in_bounded_memory_with_a_reason(
    ledgers: Any, caplog: pytest.LogCaptureFixture, behave: Behaviour, reason: str | None
) -> None:
    ledger: Ledger = ledgers()
    with hooked(behave) as receiver:
        deliver(ledger, receiver.url)
        begun = time.monotonic()
        with caplog.at_level(logging.INFO):
            send(ledger, LIMIT_SECONDS if behave in HANG else UNHURRIED_SECONDS)
        assert time.monotonic() - begun < LIMIT_SECONDS + SPARE_SECONDS
    rows = ledger.rows("SELECT state, last_error, attempts FROM segwatch.delivery")
    assert len(rows) == 6
    assert {row["last_error"] for row in rows} <= ({None} if reason is None else set(reason.split("|")))
    assert {row["state"] for row in rows} == {"delivered" if reason is None else "pending"}
    assert {row["attempts"] for row in rows} == {1}
    # what the sockets' buffers take, however much is on offer
    assert receiver.sent < 20_000_000
    assert "k3y" not in caplog.text


def deliver(ledger: Ledger, *urls: str) -> None:
    """Six messages for each of these channels wait."""
    ledger.rule(channels=urls)
    ledger.arrive(WORLD, [0, 1])


def send(ledger: Ledger, limit: float = UNHURRIED_SECONDS) -> None:
    deliver_outbox(ledger.engine, load_settings(delivery_timeout_seconds=limit, delivery_retry_seconds=60))


def test_a_redirect_is_not_followed_wherever_it_leads(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    with receiving() as inside:

        def redirect(to: Connection) -> None:
            to.send(
                f"HTTP/1.1 307 Over there\r\nlocation: {inside.url}/secret\r\ncontent-length: 0\r\n\r\n".encode()
            )

        with hooked(redirect) as receiver:
            deliver(ledger, receiver.url)
            send(ledger)
    assert inside.requests == 0
    (row,) = ledger.rows("SELECT DISTINCT last_error FROM segwatch.delivery")
    assert row["last_error"] == "HTTP 307: the receiver has moved; put the new URL into the rule"


@pytest.mark.parametrize(
    ("after", "least", "most"),
    [
        ("31536000", 3500, 3600),
        ("9" * 5000, 3500, 3600),
        ("-5", 0, 61),
        ("nan", 0, 61),
        ("1e9", 0, 61),
        ("\u0661\u0662", 0, 61),
        ("soon, or never", 0, 61),
    ],
)
def test_who_asks_to_be_left_alone_is_for_an_hour_at_most(
    ledgers: Any, after: str, least: int, most: int
) -> None:
    ledger: Ledger = ledgers()
    with hooked(failing(retry_after=after)) as receiver:
        deliver(ledger, receiver.url)
        send(ledger)
    rows = ledger.rows(
        "SELECT extract(epoch FROM next_attempt_at - clock_timestamp()) AS wait, last_error FROM segwatch.delivery"
    )
    assert {row["last_error"] for row in rows} == {"HTTP 429"}
    assert all(least < row["wait"] <= most for row in rows)


def test_others_are_not_held_up_by_those_that_hang(ledgers: Any) -> None:
    """Even when what hangs was due first."""
    ledger: Ledger = ledgers()
    arrived: list[float] = []

    def well(to: Connection) -> None:
        arrived.append(time.monotonic())
        to.send(b"HTTP/1.1 204 Taken\r\nconnection: close\r\n\r\n")

    with (
        hooked(HANG[0]) as one,
        hooked(HANG[1]) as two,
        hooked(HANG[2]) as three,
        hooked(well) as good,
    ):
        deliver(ledger, one.url, two.url, three.url, good.url)
        begun = time.monotonic()
        send(ledger, limit=4)
        ended = time.monotonic()
    assert len(arrived) == 6
    assert max(arrived) - begun < 4, "while the first ones still hang"
    assert 4 <= ended - begun < 4 + SPARE_SECONDS
    states = ledger.rows("SELECT channel, state FROM segwatch.delivery")
    assert {row["channel"] for row in states if row["state"] == "delivered"} == {good.url}
    resting = ledger.rows("SELECT name FROM segwatch.channel WHERE resting_until > now()")
    assert {row["name"] for row in resting} == {one.url, two.url, three.url}


def test_a_channel_with_thousands_that_hangs_leaves_room_for_another(ledgers: Any) -> None:
    ledger: Ledger = ledgers()
    arrived: list[float] = []

    def well(to: Connection) -> None:
        arrived.append(time.monotonic())
        to.send(b"HTTP/1.1 204 Taken\r\nconnection: close\r\n\r\n")

    many = [cells(0.2 * k, 0.2 * m, 0.2 * k + 0.1, 0.2 * m + 0.1) for k in range(6) for m in range(10)]
    with hooked(silence) as hung, hooked(well) as good:
        ledger.rule(channels=(hung.url, good.url))
        ledger.arrive([SceneContent(()), SceneContent(tuple(many))], [0, 1])
        begun = time.monotonic()
        send(ledger, limit=4)
    assert len(arrived) == 60
    assert max(arrived) - begun < 4, "while the other's first ones still hang"
    assert hung.asked < 24
