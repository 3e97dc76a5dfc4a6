"""A ledger with an assessment whose samples are labelled as the ground is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from segwatch.db import assessments
from segwatch.flows.assessment.drawing import draw_assessment
from segwatch.geo.types.assessment import Label
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells

LAKE, POND = cells(1, 1, 4, 4), cells(5, 5, 7, 7)
WORLD = (SceneContent((LAKE,)), SceneContent((LAKE, POND)), SceneContent((LAKE, POND)))


def arrive(ledger: Ledger) -> None:
    """Let a pond appear beside a lake, in three scenes."""
    ledger.arrive(WORLD, [0, 1, 2])


def draw(ledger: Ledger, samples: int = 60, seed: int = 7) -> None:
    """Draw an assessment."""
    draw_assessment(ledger.engine, "lakes", samples=samples, seed=seed)


def list_samples(ledger: Ledger) -> list[dict[str, Any]]:
    """List the samples of the newest assessment."""
    with ledger.engine.connect() as conn:
        found = assessments.find(conn, "lakes")
        assert found is not None
        return assessments.list_samples(conn, found)


def choose_label(lon: float, lat: float) -> Label:
    """Tell the truth of :data:`WORLD`, for pictures of the first and the last scene."""
    if _holds(LAKE, lon, lat):
        return Label.BOTH
    return Label.AFTER if _holds(POND, lon, lat) else Label.NEITHER


def label_all(ledger: Ledger, choose: Callable[[float, float], Label] = choose_label) -> None:
    """Label every sample."""
    with ledger.engine.begin() as conn:
        for row in list_samples(ledger):
            assessments.add_label(conn, row["sample_id"], choose(row["lon"], row["lat"]), "ada")


def believe(database: Database, statement: str) -> None:
    """Change confidences behind the ledger's back."""
    with psycopg.connect(database.superuser_url, autocommit=True) as conn:
        conn.execute(statement.encode())


def _holds(shape: Any, lon: float, lat: float) -> bool:
    west, south, east, north = shape.bounds
    return bool(west <= lon <= east and south <= lat <= north)
