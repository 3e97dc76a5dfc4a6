"""OpenTelemetry traces of the steps of a run; nothing happens unless a collector is named and the extra is installed.

The collector is named by OpenTelemetry's own variable ``OTEL_EXPORTER_OTLP_ENDPOINT``. Spans of the publication and of
the delivery of a message link to the same context, which is derived from the message's CloudEvents id: so the two find
each other, although hours and processes may lie between them.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING
from uuid import UUID

from segwatch.flows.runtime import extras

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link

_log = logging.getLogger(__name__)
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_FLUSH_MS = 5000
#: Links of one span; a scene may raise thousands of messages.
MAX_LINKS = 100

Value = str | int | float | bool


@cache
def _find_provider() -> TracerProvider | None:
    """Make the provider of this process; None where traces are off."""
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return None
    if not extras.has_extra("telemetry"):
        _log.warning("OTEL_EXPORTER_OTLP_ENDPOINT is set, but traces need: pip install 'segwatch[telemetry]'")
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: "segwatch"}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


@contextmanager
def span(name: str, *, messages: Iterable[str] = (), **attributes: Value | None) -> Iterator[None]:
    """Trace the block as a span, below the current one; an error of the block is recorded on it.

    Parameters
    ----------
    messages
        CloudEvents ids of the messages that the block writes or sends, as links; at most :data:`MAX_LINKS`.
    attributes
        Recorded as ``segwatch.NAME``; those that are None are left out.
    """
    provider = _find_provider()
    if provider is None:
        yield
        return
    found = {f"segwatch.{key}": value for key, value in attributes.items() if value is not None}
    links = [_make_link(one) for one, _ in zip(messages, range(MAX_LINKS), strict=False)]
    with provider.get_tracer("segwatch").start_as_current_span(name, attributes=found, links=links):
        yield


def annotate(*, messages: Iterable[str] = (), **attributes: Value | None) -> None:
    """Add links and attributes to the current span: what is known only after the work."""
    if _find_provider() is None:
        return
    from opentelemetry import trace

    current = trace.get_current_span()
    for one, _ in zip(messages, range(MAX_LINKS), strict=False):
        link = _make_link(one)
        current.add_link(link.context, link.attributes)
    for key, value in attributes.items():
        if value is not None:
            current.set_attribute(f"segwatch.{key}", value)


def flush() -> None:
    """Send the spans that wait; a run's process may end at once after it."""
    provider = _find_provider()
    if provider is not None and not provider.force_flush(_FLUSH_MS):
        _log.warning("traces could not be sent within %d ms", _FLUSH_MS)


def _make_link(message_id: str) -> Link:
    """Make the link to the context of a message: its CloudEvents id as trace id, its digest as span id."""
    from opentelemetry.trace import Link, SpanContext, TraceFlags

    digest = hashlib.sha256(message_id.encode()).digest()
    try:
        trace_id = UUID(message_id).int
    except ValueError:
        trace_id = int.from_bytes(digest[8:24])
    context = SpanContext(trace_id, int.from_bytes(digest[:8]), is_remote=True, trace_flags=TraceFlags(1))
    return Link(context, {"cloudevents.event_id": message_id})
