"""The analyst views as GeoDataFrames."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from segwatch.db.analyst import frames
from tests.invariants.conftest import SceneContent, cells, day
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too

SMALL, LARGE = cells(1, 1, 2, 2), cells(1, 1, 4, 4)


def test_an_analyst_reads_objects_and_their_past(ledgers: Any, analyst_engine: Engine) -> None:
    ledgers().arrive([SceneContent(()), SceneContent((SMALL,)), SceneContent((LARGE,))], [0, 1, 2])
    now = frames.read_objects(analyst_engine, "lakes")
    assert now.crs.to_epsg() == 4326
    assert list(now.target) == ["water"]
    assert now.geometry.iloc[0].equals(LARGE)
    (before,) = frames.read_objects(analyst_engine, "lakes", valid_at=day(1)).geometry
    assert before.equals(SMALL)
    assert frames.read_objects(analyst_engine, "lakes", valid_at=day(1), known_at=day(1)).empty
    assert list(frames.read_changes(analyst_engine, "lakes").kind) == ["appeared", "grew"]
    assert list(frames.read_alerts(analyst_engine, "lakes").kind) == ["appeared", "grew"]
    assert set(frames.read_object_history(analyst_engine, "lakes").valid_from) == {day(1), day(2)}
    assert list(frames.read_coverage(analyst_engine, "lakes").state) == ["observed"] * 3
    assert frames.read_objects(analyst_engine, "other").empty
    with pytest.raises(ValueError, match="known_at needs valid_at"):
        frames.read_objects(analyst_engine, "lakes", known_at=day(1))
