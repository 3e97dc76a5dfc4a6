"""A briefing can be handed on: it says what is known, how sure that is, and what nobody saw."""

from __future__ import annotations

import html
import os
import re
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from shapely.geometry import box
from sqlalchemy import text
from typer.testing import CliRunner

from segwatch.db import analyst, events, watches
from segwatch.flows.cli.app import app
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.events import playbooks
from segwatch.flows.report import language
from segwatch.flows.report.briefing import Request, gather_briefing
from segwatch.flows.report.html import render, render_html
from segwatch.geo.types.event import Event, EventKind
from tests.conftest import Database
from tests.invariants.conftest import EVERYTHING, START, Ledger, SceneContent, cells
from tests.support.assessing import draw, label_all
from tests.support.paths import ROOT

LAKE, POND, TARN = cells(1, 1, 4, 4), cells(5, 5, 7, 7), cells(5, 1, 6, 2)
#: Nobody saw the two western columns after the first day.
SEEN = cells(2, 0, 8, 8)
WORLD = (SceneContent((LAKE, TARN)), SceneContent((LAKE, POND), SEEN), SceneContent((LAKE, POND), SEEN))


@pytest.fixture
def settings(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FlowSettings:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    monkeypatch.setenv("SEGWATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SEGWATCH_PUBLIC_URL", "https://maps.example.org")
    monkeypatch.setenv("SEGWATCH_REPORT_CONTACT", "Situation room <room@example.org>")
    return load_settings()


def test_first_look(ledgers: Any, settings: FlowSettings) -> None:
    ledger: Ledger = ledgers()
    ledger.arrive(WORLD, [0, 1, 2])
    ledger.give_up(3, skipped=True)
    out = os.environ["OUT"]
    done = CliRunner().invoke(app, ["report", "lakes", "--out", out, "-f", "html", "-f", "pdf", "-f", "png", "-f", "gpkg"])
    print(done.output)
    if done.exception: raise done.exception
