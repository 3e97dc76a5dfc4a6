"""Where alerts go: signed webhooks, and the services that Apprise knows (e-mail, chat, SMS and the like)."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import apprise
import httpx
from standardwebhooks import Webhook

from segwatch.db import messages
from segwatch.db.outbox import DeliveryLease
from segwatch.flows.alerting.connection_guard import guarding
from segwatch.flows.config.settings.alerts import AlertSettings
from segwatch.geo.antimeridian import centre_of, name_place
from segwatch.geo.errors import AddressRefused
from segwatch.geo.sources.http import faults
from segwatch.geo.sources.http.headers import parse_retry_after
from segwatch.geo.text.printable import for_chat, link_for_chat

#: A rule names a service so; SEGWATCH_SERVICES has its address, which holds passwords and stays out of the ledger.
SERVICE = re.compile(r"^apprise:([a-z0-9][a-z0-9-]{0,62})$")
_SAID = {
    messages.ESCALATED: "Not acknowledged: ",
    messages.RETRACTED: "Retracted: ",
    messages.REINSTATED: "Holds after all: ",
}
_LONGEST_WAIT_SECONDS = 3600.0
#: Of a reason, characters.
_MAX_REASON = 300
#: Alerts of a digest that a person is told one by one.
_MOST_LINES = 20
#: They refuse the message itself; the next one may do.
_ABOUT_THE_MESSAGE = frozenset({400, 413, 415, 422})
#: Redirects are not followed, as the secret signs for one receiver; further codes of 300 lead nowhere.
_MOVED = {301: " for good", 302: "", 303: "", 307: "", 308: " for good"}


@dataclass(frozen=True, slots=True)
class DeliveryProblem:
    """Why a channel did not take a message."""

    reason: str
    of_channel: bool = True
    """Whether others would fare no better there."""
    wait_seconds: float = 0.0
    """How long the receiver asks to be left alone."""
    gone: bool = False
    """The receiver wants no message any more, this one or another."""


async def send(
    client: httpx.AsyncClient, one: DeliveryLease, settings: AlertSettings
) -> DeliveryProblem | None:
    """Send one message; None if it was taken.

    A webhook has the settings' time limit for all of it, from looking up its name to the end of its headers, however
    it spends it; more than 100 KB of headers are refused (by h11), and of its body nothing is read.
    """
    service = SERVICE.match(one.channel)
    if service:
        return await asyncio.to_thread(_notify, service.group(1), one, settings)
    try:
        async with asyncio.timeout(settings.delivery_timeout_seconds):
            return await _post(client, one, settings)
    except TimeoutError:
        return DeliveryProblem(f"no answer within {settings.delivery_timeout_seconds:g} s")
    except AddressRefused as error:
        return DeliveryProblem(f"refused: {error.reason}"[:_MAX_REASON])
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return DeliveryProblem(_reason(error))


def shown(channel: str) -> str:
    """A channel's name for logs: a webhook's path and query may hold a key."""
    if SERVICE.match(channel):
        return channel
    try:
        return httpx.URL(channel).host
    except (httpx.InvalidURL, ValueError):
        return "a webhook whose address is none"


async def _post(
    client: httpx.AsyncClient, one: DeliveryLease, settings: AlertSettings
) -> DeliveryProblem | None:
    body = json.dumps(one.payload, sort_keys=True, separators=(",", ":"), default=str)
    # the answer's body is nothing to us, however long it is
    async with client.stream(
        "POST", one.channel, content=body.encode(), headers=_headers(one, body, settings)
    ) as answer:
        if answer.is_success:
            return None
        code = answer.status_code
        wait = min(parse_retry_after(answer.headers, datetime.now(UTC)), _LONGEST_WAIT_SECONDS)
    if code == httpx.codes.GONE:
        return DeliveryProblem(f"HTTP {code}: it is gone; take it out of the rule", gone=True)
    if code in _MOVED:
        return DeliveryProblem(
            f"HTTP {code}: it has moved{_MOVED[code]}; put the new address into the rule", True, wait
        )
    return DeliveryProblem(f"HTTP {code}", code not in _ABOUT_THE_MESSAGE, wait)


def _reason(error: httpx.HTTPError | httpx.InvalidURL) -> str:
    """Without a word of the receiver's, who may send back what it was sent: its address may hold a key."""
    if isinstance(error, httpx.ConnectError):
        return f"it cannot be reached: {faults.describe(error)}"
    if isinstance(error, httpx.RemoteProtocolError):
        return "it hung up, or what it answered is no HTTP"
    if isinstance(error, httpx.NetworkError):
        return "the connection broke"
    return type(error).__name__


def _headers(one: DeliveryLease, body: str, settings: AlertSettings) -> dict[str, str]:
    """Standard Webhooks headers (https://www.standardwebhooks.com); signed when a secret is set."""
    now = datetime.now(UTC)
    headers = {
        "content-type": "application/cloudevents+json",
        "webhook-id": one.idempotency_key,
        "webhook-timestamp": str(int(now.timestamp())),
    }
    if settings.webhook_secret is not None:
        signer = Webhook(settings.webhook_secret.get_secret_value())
        headers["webhook-signature"] = signer.sign(msg_id=one.idempotency_key, timestamp=now, data=body)
    return headers


def _notify(name: str, one: DeliveryLease, settings: AlertSettings) -> DeliveryProblem | None:
    address = settings.services.get(name)
    if address is None:
        return DeliveryProblem(
            f"SEGWATCH_SERVICES names no service {name!r}; add it, or take it out of the rule"
        )
    title, body = words(one.payload)
    service = apprise.Apprise()
    if not service.add(address.get_secret_value()):
        return DeliveryProblem(
            f"the address of service {name!r} in SEGWATCH_SERVICES is none that Apprise knows"
        )
    with guarding(settings.permitted_addresses) as guard:
        sent = service.notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT)
    if guard.refused:
        return DeliveryProblem(f"service {name!r} is refused: {guard.refused}"[:_MAX_REASON])
    return None if sent else DeliveryProblem(f"service {name!r} did not take it")


def words(payload: dict[str, Any]) -> tuple[str, str]:
    """A message as a person reads it: title and text."""
    data = _plain(payload["data"])
    if payload["type"] == messages.DIGEST:
        return _digest_in_words(data)
    title = f"{_SAID.get(payload['type'], '')}{data['watch']}: {data['target']} {data['kind']}"
    lines = [
        *((f"Because: {data['note']}",) if data.get("note") else ()),
        f"{data['before_m2'] / 1e4:.2f} ha -> {data['after_m2'] / 1e4:.2f} ha, score {data['score']:.2f}",
        f"Seen {data['valid_at']} around {name_place(centre_of(data['bbox']))}",
        f"Rule {data['rule']}; instruction: {data['instruction']}; model {data['model']}",
        *data["item_hrefs"],
        f"Object {data['track_id']}, alert {data['alert_id']}",
    ]
    return title, "\n".join(lines)


def _plain(value: Any, name: str = "") -> Any:
    """Texts of catalogs, models and people, which nothing in a chat or mail takes for more than texts."""
    if isinstance(value, str):
        return link_for_chat(value) if name == "item_hrefs" else for_chat(value)
    if isinstance(value, dict):
        return {key: _plain(one, key) for key, one in value.items()}
    return [_plain(one, name) for one in value] if isinstance(value, list | tuple) else value


def _digest_in_words(data: dict[str, Any]) -> tuple[str, str]:
    listed = data["alerts"][:_MOST_LINES]
    lines = [f"{one['count']} x {one['target']} {one['kind']}" for one in data["totals"]]
    lines += [
        f"{one['valid_at']}: {one['target']} {one['kind']}, {one['before_m2'] / 1e4:.2f} ha -> "
        f"{one['after_m2'] / 1e4:.2f} ha, alert {one['alert_id']}"
        for one in listed
    ]
    if data["count"] > len(listed):
        lines.append(f"and {data['count'] - len(listed)} more")
    return f"{data['watch']}: {data['count']} alert(s) of rule {data['rule']}", "\n".join(lines)
