"""Alerts: latency from a new item in the STAC API to the signed webhook, and throughput of the outbox."""

from __future__ import annotations

from segwatch.benchmarks import alerts_latency, alerts_outbox


def run(*, quick: bool, device: str) -> dict[str, float | int]:
    """Measure :mod:`segwatch.benchmarks.alerts_latency` and :mod:`segwatch.benchmarks.alerts_outbox`."""
    return alerts_latency.run(quick=quick, device=device) | alerts_outbox.run(quick=quick)
