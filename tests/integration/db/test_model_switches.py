"""A watch is switched to another model and back; views, queue and history follow."""

from __future__ import annotations

from typing import Any

import pytest

from segwatch.db import model_switches
from segwatch.db.errors import SwitchRefused, UnknownWatch
from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference import watch_models
from tests.invariants.conftest import MODEL, Ledger, SceneContent, cells

LAKE, POND = cells(1, 1, 3, 3), cells(5, 5, 6, 6)
OBJECTS = "SELECT DISTINCT model, count(*) AS objects FROM watch.objects_now GROUP BY model"
OPEN = "SELECT model_version, count(*) AS n FROM segwatch.observation WHERE state = 'pending' GROUP BY 1"
SKIPPED = "SELECT reason FROM segwatch.observation WHERE state = 'skipped'"


def switch(ledger: Ledger, version: str, name: str = "lakes") -> bool:
    with ledger.engine.begin() as conn:
        done = model_switches.switch(
            conn, name, folder=f"/models/{version}", version=version, settings_version=MODEL, by="ada"
        )
    ledger.model = version
    return done


def roll_back(ledger: Ledger) -> str:
    with ledger.engine.begin() as conn:
        ledger.model = model_switches.roll_back(conn, "lakes", by="bob").before
    return ledger.model


def _shown(ledger: Ledger) -> dict[str, int]:
    return {row["model"]: row["objects"] for row in ledger.rows(OBJECTS)}


def _open(ledger: Ledger) -> dict[str, int]:
    return {row["model_version"]: row["n"] for row in ledger.rows(OPEN)}


def _finish(ledger: Ledger, world: list[SceneContent]) -> None:
    """Predict and track what waits for the watch's model."""
    for _ in range(_open(ledger)[ledger.model]):
        ledger.answer_leased(world)
    ledger.track()


def test_a_switch_and_its_rollback_decide_what_holds(ledgers: Any) -> None:
    ledger = ledgers()
    old, new = SceneContent((LAKE,)), SceneContent((LAKE, POND))
    ledger.arrive((old, old), [0, 1])
    ledger.find([2])
    assert _open(ledger) == {MODEL: 1}
    assert switch(ledger, "better@1")
    assert not switch(ledger, "better@1"), "it has that model already"
    # what was pending, and the newest observed scene, wait for the new model; the old one takes nothing any more
    assert _open(ledger) == {"better@1": 2}
    assert [row["reason"] for row in ledger.rows(SKIPPED)] == [
        "superseded: the watch was switched to the model better@1"
    ]
    assert _shown(ledger) == {MODEL: 1}, "the old series holds until the new one has published"
    _finish(ledger, [old, new, new])
    assert _shown(ledger) == {"better@1": 2}
    ledger.arrive({0: old, 1: new, 2: new, 3: new}, [3])

    assert roll_back(ledger) == MODEL
    assert _shown(ledger) == {MODEL: 1}, "the series before holds again at once"
    # it observes what only the other model did
    assert _open(ledger) == {MODEL: 2}
    _finish(ledger, [old] * 4)
    assert _shown(ledger) == {MODEL: 1}
    assert _open(ledger) == {}
    with pytest.raises(SwitchRefused, match="no switch to undo"):
        roll_back(ledger)
    with ledger.engine.connect() as conn:
        (one,) = model_switches.list_history(conn, "lakes")
    assert (one.by, one.undone_by, one.version, one.before) == ("ada", "bob", "better@1", MODEL)
    assert one.undone_at is not None
    assert one.at < one.undone_at


def test_rollbacks_go_back_one_by_one(ledgers: Any) -> None:
    ledger, settings = ledgers(), load_settings()
    for version in ("one@1", "two@1", "three@1"):
        switch(ledger, version)
    assert [roll_back(ledger), roll_back(ledger)] == ["two@1", "one@1"]
    switch(ledger, "four@1")
    with ledger.engine.connect() as conn:
        assert watch_models.find_version(conn, settings, "lakes") == "four@1"
        # a worker of all watches loads the model of the settings first
        (mine, none), (other, chosen) = watch_models.list_models(conn, settings)
        assert (none, other) == (None, "four@1")
        assert chosen is not None
        assert chosen.folder == "/models/four@1"
        ledger.also_watch("ponds", "https://other.example")
        assert watch_models.find_version(conn, settings, "ponds") == mine
    assert [roll_back(ledger), roll_back(ledger)] == ["one@1", MODEL]
    with pytest.raises(UnknownWatch):
        switch(ledger, "one@1", "no such")
