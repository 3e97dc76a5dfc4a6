"""Delta feeds: what became known since a token, nothing missed and nothing told twice, whoever writes meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import pytest
from sqlalchemy import Engine, text

from segwatch.db import reviews
from segwatch.db.errors import UnknownPosition
from segwatch.flows.errors import ConfigError
from segwatch.flows.export import tables
from segwatch.flows.export.tables import Request, TableFormat
from segwatch.flows.pipeline.tracking import track_ready
from tests.invariants.conftest import Ledger, SceneContent, cells
from tests.invariants.conftest import ledgers as ledgers  # noqa: PLC0414 - a fixture of these tests, too
from tests.support.shown_views import read_view

FIRST, GROWN, SECOND = cells(1, 1, 2, 2), cells(1, 1, 4, 4), cells(5, 5, 7, 7)


class Reader:
    """Somebody who keeps a copy of a layer up to date with its feed."""

    def __init__(self, engine: Engine, folder: Path, *, changes: bool = False) -> None:
        self._engine, self._target = engine, folder / f"feed-{changes}.parquet"
        self.changes = changes
        self.held: dict[str, Any] = {}
        self.token: str | None = None
        self.read()

    def read(self, since: str | None = None) -> dict[str, int]:
        """Apply what is new; returns how many rows of each delta there were."""
        request = Request("lakes", changes=self.changes, since=since or self.token)
        done = tables.export_table(self._engine, request, TableFormat.GEOPARQUET, self._target, force=True)
        rows = geopandas.read_parquet(self._target).sort_values("delta", ascending=False)
        counts: dict[str, int] = {}
        for row in rows.itertuples():
            if row.delta in {"ended", "retracted"}:
                assert self.held.pop(row.id, None) is not None, f"{row.delta} was never told"
            else:
                known = row.id in self.held
                if self.token is not None and not self.changes:
                    assert row.delta == ("changed" if known else "inserted")
                self.held[row.id] = row.geometry
            counts[row.delta] = counts.get(row.delta, 0) + 1
        self.token = done.next_token
        return counts

    def check(self) -> None:
        """The copy is what the views show."""
        if self.changes:
            shown = read_view(self._engine, "changes", "lakes", "change_id")
            shown = shown[~shown.baseline & shown.retracted_at.isna()]
        else:
            shown = read_view(self._engine, "objects_now", "lakes", "track_id")
        assert set(self.held) == set(map(str, shown.index))
        for identity, geometry in shown.geometry.items():
            assert self.held[str(identity)].equals(geometry)


def test_a_copy_follows_the_ledger(ledgers: Any, tmp_path: Path) -> None:
    ledger: Ledger = ledgers()
    world = {
        0: SceneContent(()), 1: SceneContent((FIRST,)), 3: SceneContent((GROWN,)), 4: SceneContent((SECOND,)),
        2: SceneContent((FIRST, SECOND)),
    }  # fmt: skip
    ledger.arrive(world, [0])
    objects, changes = Reader(ledger.engine, tmp_path), Reader(ledger.engine, tmp_path, changes=True)

    def go_on(**told: int) -> dict[str, int]:
        assert objects.read() == told
        objects.check()
        counts = changes.read()
        changes.check()
        assert objects.read() == changes.read() == {}, "told twice"
        return counts

    ledger.arrive(world, [1])
    assert go_on(inserted=1) == {"inserted": 1}
    ledger.arrive(world, [3])
    assert go_on(changed=1)["inserted"] == 1
    ledger.arrive(world, [4])
    assert go_on(inserted=1, ended=1)["inserted"] == 2
    # a late scene shows that the second lake was there earlier: it is another track, named by its first observation
    before, shown = objects.token, dict(objects.held)
    ledger.arrive(world, [2])
    go_on(inserted=1, retracted=1)
    (track,) = read_view(ledger.engine, "objects_now", "lakes", "track_id").index
    with ledger.engine.begin() as conn:
        reviews.decide(conn, track, reviews.Verdict.REJECTED, reviewer="ada", reason="a shadow")
    assert "retracted" in go_on(retracted=1)
    # further scenes record states of the rejected object, of which nothing is told
    ledger.arrive({5: SceneContent((SECOND,))}, [5])
    go_on()
    with ledger.engine.begin() as conn:
        reviews.decide(conn, track, reviews.Verdict.CONFIRMED, reviewer="ada", reason="a lake after all")
    objects.read()
    objects.check()
    changes.read()
    changes.check()
    # a narrower AOI hides what lies outside, and a wider one shows it again
    ledger.cover(cells(0, 0, 4.5, 4.5))
    assert objects.read() == {"retracted": 1}
    objects.check()
    assert objects.read() == {}
    # an old token tells the sum of all this
    assert Reader(ledger.engine, tmp_path).held == {}
    old = Reader(ledger.engine, tmp_path)
    old.held = dict(shown)
    assert old.read(before) == {"retracted": 1}
    old.check()


def test_another_instruction_replaces_the_objects(ledgers: Any, tmp_path: Path) -> None:
    ledger: Ledger = ledgers()
    ledger.arrive([SceneContent(()), SceneContent((FIRST,))], [0, 1])
    objects = Reader(ledger.engine, tmp_path)
    ledger.instruct("segment every lake")
    ledger.arrive({2: SceneContent((FIRST,))}, [2])
    assert objects.read() == {"inserted": 1, "retracted": 1}
    objects.check()
    assert objects.read() == {}


def test_nothing_is_missed_while_a_transaction_is_open(ledgers: Any, tmp_path: Path) -> None:
    """A verdict takes its recorded time, stays open while the feed is read twice, and is told after its commit."""
    ledger: Ledger = ledgers()
    ledger.arrive([SceneContent(()), SceneContent((FIRST, SECOND))], [0, 1])
    objects = Reader(ledger.engine, tmp_path)
    one, other = sorted(read_view(ledger.engine, "objects_now", "lakes", "track_id").index)
    with ledger.engine.connect() as slow:
        reviews.decide(slow, one, reviews.Verdict.REJECTED, reviewer="ada", reason="a shadow")
        assert objects.read() == {}
        ledger.also_watch("ponds", "https://other.example")
        assert objects.read() == {}
        slow.commit()
    assert objects.read() == {"retracted": 1}
    with ledger.engine.begin() as conn:
        # as if the clock had been set back since: what is recorded next is still later
        conn.execute(text("UPDATE segwatch.series SET recorded_to = recorded_to + interval '1 hour'"))
        reviews.decide(conn, other, reviews.Verdict.CONFIRMED, reviewer="ada", reason="a lake")
    assert objects.read() == {"changed": 1}
    ledger.answer({2: SceneContent((GROWN, SECOND))}, [2])
    assert track_ready(ledger.engine).observations == 1
    assert objects.read() != {}
    objects.check()


def test_a_token_of_another_feed_or_ledger_is_refused(ledgers: Any, tmp_path: Path) -> None:
    ledger: Ledger = ledgers()
    ledger.arrive([SceneContent(()), SceneContent((FIRST,))], [0, 1])
    objects = Reader(ledger.engine, tmp_path)
    ahead = Reader(ledger.engine, tmp_path)
    with pytest.raises(ConfigError, match="the token is of layer 'objects', not 'changes'"):
        Reader(ledger.engine, tmp_path, changes=True).read(objects.token)
    ledger.arrive({2: SceneContent((GROWN,))}, [2])
    ahead.read()
    # the same watch in a ledger that was restored from a backup and went another way
    restored: Ledger = ledgers()
    restored.arrive([SceneContent(()), SceneContent((FIRST,))], [0, 1])
    with pytest.raises(UnknownPosition, match="export the whole"):
        ahead.read()
