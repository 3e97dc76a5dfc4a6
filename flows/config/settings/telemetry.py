"""Settings of logs and metrics."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from segwatch.flows.config.settings.fields import Settings


class TelemetrySettings(Settings):
    """How runs and services tell what they do. Traces are set by OpenTelemetry's own variables (`OTEL_...`)."""

    logs: Literal["console", "json"] = Field(
        "console",
        description="form of log lines: console, for people, or json, for log stores: one line per record and scene",
        examples=["json"],
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port on which each run of a worker serves /metrics for Prometheus; 0 = none",
        examples=["9464"],
    )
    metrics_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="address of that port; it needs no credentials, so keep it on a network of your own",
        examples=["127.0.0.1"],
    )
