"""Briefings of watches, as tests read them."""

from __future__ import annotations

from sqlalchemy import Engine

from segwatch.flows.config.settings import FlowSettings
from segwatch.flows.report.briefing import Request, gather_briefing
from segwatch.flows.report.html import Rendered, render


def brief(engine: Engine, settings: FlowSettings, watch: str = "lakes", code: str = "en") -> Rendered:
    """Gather a briefing and render it in a language."""
    return render(gather_briefing(engine, settings, Request(watch)), code)
