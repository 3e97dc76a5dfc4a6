"""Send messages to channels: signed webhooks, and Apprise services (e-mail, chat, SMS and the like)."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
from standardwebhooks import Webhook

from segwatch.db import messages
from segwatch.db.outbox import DeliveryLease
from segwatch.flows.alerting.connection_guard import guarding
from segwatch.flows.config.settings.alerts import AlertSettings
from segwatch.geo.antimeridian import compute_bounds_centre, format_place
from segwatch.geo.errors import AddressRefused
from segwatch.geo.sources.http import faults
from segwatch.geo.sources.http.headers import parse_retry_after
from segwatch.geo.text.beliefs import describe_belief
from segwatch.geo.text.opinions import describe_agreement, describe_change_evidence
from segwatch.geo.text.printable import escape_for_chat, escape_link_for_chat
from segwatch.geo.text.shares import format_share

#: How rules name a service. Its URL holds passwords, so it is in SEGWATCH_SERVICES and not in the ledger.
SERVICE = re.compile(r"^apprise:([a-z0-9][a-z0-9-]{0,62})$")
_TITLE_PREFIXES = {
    messages.ESCALATED: "Not marked in time: ",
    messages.CONFIRMED: "Confirmed: ",
    messages.REFUTED: "Refuted: ",
    messages.RETRACTED: "Retracted: ",
    messages.REINSTATED: "Holds after all: ",
}
#: What an alert says about a change that may still be refuted, in the first word of the title.
_PROVISIONAL_PREFIX = {"provisional": "Provisional: "}
_MAX_WAIT_SECONDS = 3600.0
_MAX_REASON_CHARS = 300
#: Alerts that the text of a digest lists one by one.
_MAX_LINES = 20
#: The receiver refuses this message; it may accept others.
_MESSAGE_REFUSED = frozenset({400, 413, 415, 422})
#: Redirects are not followed: the signature is meant for one receiver.
_REDIRECTS = {301: " for good", 302: "", 303: "", 307: "", 308: " for good"}
#: Words that paths of webhooks usually begin with; anything else may be a key.
_PATH_WORDS = frozenset(
    {
        *(
            "alert",
            "alerts",
            "api",
            "event",
            "events",
            "hook",
            "hooks",
            "in",
            "incoming",
            "messages",
            "notify",
        ),
        *("segwatch", "services", "v1", "v2", "webhook", "webhooks", "workflows"),
    }
)


@dataclass(frozen=True, slots=True)
class DeliveryProblem:
    """Why a delivery failed."""

    reason: str
    of_channel: bool = True
    """Whether the channel itself fails, so that other messages would fail, too."""
    wait_seconds: float = 0.0
    """Wait that the receiver asked for (``Retry-After``)."""
    gone: bool = False
    """The receiver wants no further messages (HTTP 410)."""


async def send(
    client: httpx.AsyncClient, one: DeliveryLease, settings: AlertSettings
) -> DeliveryProblem | None:
    """Send one message; return None if the channel accepted it.

    The timeout of a webhook covers everything from the DNS query to the end of the response headers. More than 100 KB
    of headers are refused (by h11); the response body is not read.
    """
    service = SERVICE.match(one.channel)
    if service:
        return await asyncio.to_thread(_notify, service.group(1), one, settings)
    try:
        async with asyncio.timeout(settings.delivery_timeout_seconds):
            return await _post(client, one, settings)
    except TimeoutError:
        return DeliveryProblem(f"no response within {settings.delivery_timeout_seconds:g} s")
    except AddressRefused as error:
        return DeliveryProblem(f"refused: {error.reason}"[:_MAX_REASON_CHARS])
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return DeliveryProblem(_reason(error))


def name_channel(channel: str) -> str:
    """Name a channel for logs: only host and port of a webhook, whose path and query may hold a key."""
    if SERVICE.match(channel):
        return channel
    try:
        return httpx.URL(channel).netloc.decode("ascii")
    except (httpx.InvalidURL, ValueError):
        return "a webhook with an invalid URL"


def name_channels(channels: Iterable[str]) -> dict[str, str]:
    """Name channels so that they differ: those on one host also with the usual words of their path and a checksum."""
    names = {channel: name_channel(channel) for channel in channels}
    counts = Counter(names.values())
    return {
        channel: name if counts[name] == 1 else f"{name}{_name_path(channel)}"
        for channel, name in names.items()
    }


def _name_path(channel: str) -> str:
    """Tell two webhooks on one host apart, without the parts of the path that may be a key."""
    words = itertools.takewhile(_PATH_WORDS.__contains__, urlsplit(channel).path.split("/")[1:])
    checksum = hashlib.sha256(channel.encode()).hexdigest()[:4]
    return "".join(f"/{one}" for one in words) + f" ({checksum})"


async def _post(
    client: httpx.AsyncClient, one: DeliveryLease, settings: AlertSettings
) -> DeliveryProblem | None:
    body = json.dumps(one.payload, sort_keys=True, separators=(",", ":"), default=str)
    # streamed, so that the response body is not read
    async with client.stream(
        "POST", one.channel, content=body.encode(), headers=_headers(one, body, settings)
    ) as response:
        if response.is_success:
            return None
        code = response.status_code
        wait = min(parse_retry_after(response.headers, datetime.now(UTC)), _MAX_WAIT_SECONDS)
    if code == httpx.codes.GONE:
        return DeliveryProblem(
            f"HTTP {code}: the receiver is gone; take the channel out of the rule", gone=True
        )
    if code in _REDIRECTS:
        return DeliveryProblem(
            f"HTTP {code}: the receiver has moved{_REDIRECTS[code]}; put the new URL into the rule",
            True,
            wait,
        )
    return DeliveryProblem(f"HTTP {code}", code not in _MESSAGE_REFUSED, wait)


def _reason(error: httpx.HTTPError | httpx.InvalidURL) -> str:
    """Describe an error without quoting the receiver, which may echo its URL and the key in it."""
    if isinstance(error, httpx.ConnectError):
        return f"it cannot be reached: {faults.describe(error)}"
    if isinstance(error, httpx.RemoteProtocolError):
        return "it closed the connection, or its response is not HTTP"
    if isinstance(error, httpx.NetworkError):
        return "the connection broke"
    return type(error).__name__


def _headers(one: DeliveryLease, body: str, settings: AlertSettings) -> dict[str, str]:
    """Make the headers of Standard Webhooks (https://www.standardwebhooks.com), signed if a secret is set."""
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
            f"SEGWATCH_SERVICES has no service {name!r}; add it, or take it out of the rule"
        )
    title, body = render_message(one.payload)
    # imported here: it loads all its services, which most deployments do not use
    import apprise

    service = apprise.Apprise()
    if not service.add(address.get_secret_value()):
        return DeliveryProblem(f"Apprise does not know the URL of service {name!r} in SEGWATCH_SERVICES")
    with guarding(settings.permitted_addresses) as guard:
        sent = service.notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT)
    if guard.refused:
        return DeliveryProblem(f"service {name!r} is refused: {guard.refused}"[:_MAX_REASON_CHARS])
    return None if sent else DeliveryProblem(f"service {name!r} did not accept it")


def render_message(payload: dict[str, Any]) -> tuple[str, str]:
    """Render a message as title and plain text."""
    data = _plain(payload["data"])
    if payload["type"] == messages.DIGEST:
        return _render_digest(data)
    if payload["type"] == messages.TEST:
        return f"Test of {data['watch']}", f"{data['message']} Requested by {data['requested_by']}."
    if payload["type"] in messages.ABOUT_CATALOGS:
        return _render_catalog(payload["type"], data)
    title = f"{_choose_prefix(payload['type'], data)}{data['watch']}: {data['target']} {data['kind']}"
    lines = [
        *((f"Because: {data['note']}",) if data.get("note") else ()),
        _to_sentence(describe_belief(data)),
        f"{data['before_m2'] / 1e4:.2f} ha -> {data['after_m2'] / 1e4:.2f} ha, score {format_share(data['score'])}",
        *_render_opinions(data),
        f"{_format_time(data)} around {format_place(compute_bounds_centre(data['bbox']))}",
        f"Rule {data['rule']}; instruction: {data['instruction']}; model {data['model']}",
        *data["item_hrefs"],
        f"Object {data['track_id']}, alert {data['alert_id']}",
    ]
    return title, "\n".join(lines)


def _render_catalog(kind: str, data: dict[str, Any]) -> tuple[str, str]:
    """Render a message about the catalog of a watch."""
    silent = kind == messages.CATALOG_SILENT
    title = f"{data['watch']}: {'no new scenes' if silent else 'scenes come again'}"
    lines = [data["message"], *data.get("orbits", ()), f"Catalog {data['catalog']}"]
    return title, "\n".join(lines)


def _render_opinions(data: dict[str, Any]) -> list[str]:
    """Say what does not depend on the model, where it is known; earlier versions wrote no such fields."""
    words = []
    if data.get("evidence") is not None:
        words.append(f"Spectral evidence: {describe_change_evidence(data['evidence'])}")
    if data.get("shadow_share") is not None:
        words.append(_to_sentence(describe_agreement(data["shadow_share"], data["shadow_iou"])))
    if data.get("accuracy") is not None:
        words.append(f"Accuracy: {data['accuracy']}")
    return words


def _choose_prefix(kind: str, data: dict[str, Any]) -> str:
    if kind == messages.PROVISIONAL:
        return f"{_to_sentence(data['reason'])}: "
    return _TITLE_PREFIXES.get(kind) or _PROVISIONAL_PREFIX.get(data.get("status") or "", "")


def _to_sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _format_time(data: dict[str, Any]) -> str:
    """Say when the change was observed, and in which interval it happened if that is known."""
    between = f", happened between {data['earliest']} and {data['latest']}," if data.get("earliest") else ""
    return f"Observed {data['valid_at']}{between}"


def _plain(value: Any, name: str = "") -> Any:
    """Escape text from outside, so that chats and mail programs show it as plain text."""
    if isinstance(value, str):
        return escape_link_for_chat(value) if name == "item_hrefs" else escape_for_chat(value)
    if isinstance(value, dict):
        return {key: _plain(one, key) for key, one in value.items()}
    return [_plain(one, name) for one in value] if isinstance(value, list | tuple) else value


def _render_digest(data: dict[str, Any]) -> tuple[str, str]:
    listed = data["alerts"][:_MAX_LINES]
    lines = [f"{one['count']} x {one['target']} {one['kind']}" for one in data["totals"]]
    lines += [
        f"{one['valid_at']}: {one['target']} {one['kind']}, {one['before_m2'] / 1e4:.2f} ha -> "
        f"{one['after_m2'] / 1e4:.2f} ha, {describe_belief(one)}, alert {one['alert_id']}"
        for one in listed
    ]
    if data["count"] > len(listed):
        lines.append(f"and {data['count'] - len(listed)} more")
    return f"{data['watch']}: {data['count']} alert(s) of rule {data['rule']}", "\n".join(lines)
