"""What a drain makes of scenes, segmenters and databases that fail, on a real ledger and real files."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from shapely.geometry import box
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from segwatch.db import ledger
from segwatch.flows.cli.app import app
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.errors import SegmenterError
from segwatch.flows.inference import segmenters, tiled
from segwatch.flows.inference.drain import Drain
from segwatch.flows.inference.segmenters import Prediction, Tiles
from tests.support.colour_segmenter import Well
from tests.support.images import textured
from tests.support.serving import serving_files
from tests.support.small_queue import AREA, nobody_gets_in, queue

PIXELS = textured(10, 20, 30)


class Sick(Well):
    """Answers nothing any more."""

    def segment(self, tiles: Tiles, instructions: Any) -> list[list[Prediction]]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


class Picky(Well):
    """Fails on one instruction."""

    def segment(self, tiles: Tiles, instructions: Any) -> list[list[Prediction]]:
        if "the odd one" in instructions:
            raise KeyError("odd")
        return super().segment(tiles, instructions)


class Wordy(Well):
    """Says what no database of text stores."""

    def _answer(self, tile: Any) -> Prediction:
        answer: Any = super()._answer(tile)
        return type(answer)("yes\x00 \ud800", answer.mask_logits)  # type: ignore[no-any-return]


def _settings(**more: Any) -> FlowSettings:
    return load_settings().model_copy(update={"linger_seconds": 0.0, "evidence": "none", **more})


def _rows(engine: Engine) -> list[Any]:
    """State, attempts, reason and the rest of the wait of each observation."""
    query = text(
        "SELECT w.name, o.state, o.attempts, coalesce(o.reason, '') AS reason, o.answer,"
        " extract(epoch FROM o.not_before - clock_timestamp()) AS wait"
        " FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id ORDER BY w.name, o.acquired_at"
    )
    with engine.connect() as conn:
        return list(conn.execute(query))


def _do(engine: Engine, statement: str) -> None:
    with engine.begin() as conn:
        conn.execute(text(statement))


def test_the_segmenters_last_error_is_the_reason_and_attempts_end(engine: Engine) -> None:
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, Picky.version, words="the odd one")
        done = Drain(engine, Picky(), _settings(retry_seconds=0.0, max_attempts=4)).run()
    (row,) = _rows(engine)
    assert (done.failed, row.state, row.attempts) == (4, "failed", 4)
    assert row.reason == "1 of 1 tiles failed, the last with KeyError: 'odd'"


def test_a_sick_device_ends_the_drain_and_costs_no_attempt(engine: Engine) -> None:
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, Sick.version, count=6)
        with pytest.raises(SegmenterError, match=r"every tile of 1 scene\(s\).* illegal memory access"):
            Drain(engine, Sick(), _settings(max_attempts=1)).run()
        rows = _rows(engine)
        assert [(row.state, row.attempts) for row in rows] == [("pending", 0)] * 6
        assert [bool(row.reason) for row in rows] == [True] + [False] * 5
        _do(engine, "UPDATE segwatch.observation SET not_before = NULL")
        assert Drain(engine, Well(), _settings()).run().inferred == 6


def test_an_instruction_that_the_segmenter_fails_on_does_not_end_the_drain(engine: Engine) -> None:
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, Picky.version, count=4, name="odd", words="the odd one", priority=900)
        queue(engine, files.url, Picky.version, first=4, count=4)
        done = Drain(engine, Picky(), _settings()).run()
    assert (done.failed, done.inferred) == (4, 4)
    rows = _rows(engine)
    assert [(row.name, row.state, row.attempts) for row in rows[4:]] == [("odd", "pending", 1)] * 4
    assert rows[4].reason == "1 of 1 tiles failed, the last with KeyError: 'odd'"


def test_an_instruction_that_the_segmenter_fails_on_costs_the_others_nothing(engine: Engine) -> None:
    """They look at the same pixels and are asked together; more words than the shipped model knows are its own."""
    shipped = segmenters.load_segmenter(_settings(segmenter=None))
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, shipped.version, name="a", words="segment the water")
        queue(engine, files.url, shipped.version, name="b", words="\u0449" * 400)
        queue(engine, files.url, shipped.version, name="c", words="segment the forest")
        done = Drain(engine, shipped, _settings()).run()
    assert (done.scenes, done.inferred, done.failed) == (1, 2, 1)
    a, b, c = _rows(engine)
    assert (a.state, b.state, c.state) == ("inferred", "pending", "inferred")
    assert "tokens too long for segearth-r2-tiny" in b.reason


def test_a_watch_that_cannot_be_looked_at_blocks_no_other(engine: Engine) -> None:
    lon, lat = AREA.centroid.coords[0]
    long = box(lon - 3.6, lat - 0.05, lon + 3.6, lat + 0.05)
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, Well.version, count=2)
        queue(engine, files.url, Well.version, name="cyclone", area=long, priority=900)
        assert Drain(engine, Well(), _settings(), watch="lakes").run().inferred == 2
    first = _rows(engine)[0]
    assert (first.name, first.state, first.attempts) == ("cyclone", "pending", 1)
    assert first.reason.startswith("AreaError: the area measures")


def test_whatever_one_scene_raises_is_its_reason_and_the_drain_goes_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = tiled.predict_group
    calls = 0

    def wrong_at_first(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise MemoryError("no room\x00")
        return right(*given)

    monkeypatch.setattr("segwatch.flows.inference.drain.predict_group", wrong_at_first)
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, Well.version, count=2)
        done = Drain(engine, Well(), _settings()).run()
    first, second = _rows(engine)
    assert (done.failed, done.inferred) == (1, 1)
    assert (first.state, first.attempts, first.reason) == ("pending", 1, "MemoryError: no room\\x00")
    assert second.state == "inferred"


def test_a_stored_watch_that_cannot_be_read_blocks_no_other(database: Any, engine: Engine) -> None:
    import psycopg

    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, Well.version, name="changed", priority=900)
        queue(engine, files.url, Well.version, count=2)
        with psycopg.connect(database.superuser_url) as conn:
            conn.execute(
                "UPDATE segwatch.watch SET definition = '{\"name\": \"changed\"}' WHERE name = 'changed'"
            )
        assert Drain(engine, Well(), _settings(max_attempts=1)).run().inferred == 2
    first = _rows(engine)[0]
    assert (first.name, first.state, first.attempts) == ("changed", "failed", 1)
    assert first.reason.startswith("CodecError: the stored definition of watch changed cannot be read")


def test_an_answer_that_cannot_be_stored_as_it_is(engine: Engine) -> None:
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, Wordy.version)
        assert Drain(engine, Wordy(), _settings()).run().inferred == 1
    assert _rows(engine)[0].answer == "yes\ufffd \ufffd"


class _Blip(Well):
    """The database is away for a moment just when the first answer is to be stored."""

    def __init__(self, database: Any, seconds: float) -> None:
        self._away, self._seconds, self.begun = nobody_gets_in(database), seconds, 0
        self.back: threading.Timer | None = None

    def segment(self, tiles: Tiles, instructions: Any) -> list[list[Prediction]]:
        self.begun += 1
        if self.begun == 1:
            self._away.__enter__()
            self.back = threading.Timer(self._seconds, self._away.__exit__, (None, None, None))
            self.back.start()
        return super().segment(tiles, instructions)


def test_a_database_that_is_away_when_an_answer_is_to_be_stored_costs_nothing(
    database: Any, engine: Engine
) -> None:
    segmenter = _Blip(database, 2.0)
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, segmenter.version, count=3)
        assert Drain(engine, segmenter, _settings()).run().inferred == 3
    assert segmenter.begun == 3, "the answer that waited was not computed again"
    assert [(row.state, row.attempts) for row in _rows(engine)] == [("inferred", 1)] * 3


def test_a_database_that_stays_away_ends_the_drain(database: Any, engine: Engine) -> None:
    segmenter = _Blip(database, 3.0)
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, segmenter.version, count=3)
        with pytest.raises(OperationalError):
            Drain(engine, segmenter, _settings(database_wait_seconds=0.5)).run()
        assert segmenter.back is not None
        segmenter.back.join()
    assert all(row.state in {"leased", "pending"} and row.reason == "" for row in _rows(engine))


def test_leases_of_a_killed_worker_are_waited_for(engine: Engine) -> None:
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, Well.version, count=2)
        with engine.begin() as conn:
            assert ledger.lease(conn, worker="killed", seconds=2.0, model_version=Well.version)
        assert Drain(engine, Well(), _settings(lease_seconds=2.0), watch="lakes").run().inferred == 2


def test_leases_of_a_worker_that_lives_are_not_waited_for(engine: Engine) -> None:
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, Well.version)
        with engine.begin() as conn:
            assert ledger.lease(conn, worker="lives", seconds=20.0, model_version=Well.version)
        done = threading.Event()

        def beat() -> None:
            while not done.wait(0.5):
                with engine.begin() as conn:
                    ledger.renew(conn, "lives", 20.0)

        living = threading.Thread(target=beat)
        living.start()
        try:
            begun = time.monotonic()
            assert Drain(engine, Well(), _settings(lease_seconds=20.0)).run().scenes == 0
            assert time.monotonic() - begun < 15
        finally:
            done.set()
            living.join()


def test_the_number_of_attempts_is_the_settings_for_expired_leases_too(engine: Engine) -> None:
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, Well.version)
        _do(
            engine,
            "UPDATE segwatch.observation SET state = 'leased', attempts = 3, lease_worker = 'killed',"
            " lease_until = clock_timestamp() - interval '1 minute'",
        )
        assert Drain(engine, Well(), _settings(max_attempts=10)).run().inferred == 1


def test_an_error_of_no_scene_ends_the_drain_and_is_counted(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = ledger.lease
    leased: list[Any] = []

    def lease(*given: Any, **more: Any) -> Any:
        if leased:
            raise TypeError("a bug")
        leased.append(right(*given, **more))
        return leased[0]

    monkeypatch.setattr(ledger, "lease", lease)
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, Well.version)
        with pytest.raises(TypeError, match="a bug"):
            Drain(engine, Well(), _settings()).run()
    (row,) = _rows(engine)
    assert (row.state, row.attempts, row.reason) == ("pending", 1, "TypeError: a bug")


def test_being_told_to_stop_counts_no_attempt(engine: Engine) -> None:
    stop = threading.Event()

    class Stopped(Well):
        def segment(self, tiles: Tiles, instructions: Any) -> list[list[Prediction]]:
            raise KeyboardInterrupt

    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, Well.version, count=2)
        with pytest.raises(KeyboardInterrupt):
            Drain(engine, Stopped(), _settings()).run(stop)
    assert [(row.state, row.attempts) for row in _rows(engine)] == [("pending", 0)] * 2


def test_what_failed_is_queued_again_when_asked(
    database: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    monkeypatch.setenv("SEGWATCH_SEGMENTER", f"{Well.__module__}:{Well.__name__}")
    command = CliRunner()
    down = True
    with serving_files({"/a.tif": PIXELS}, lambda _, right: (404, {}, b"") if down else right) as files:
        queue(engine, files.url, Well.version, count=2)
        queue(engine, files.url, Well.version, name="other", area=AREA.buffer(-1e-5))
        Drain(engine, Well(), _settings(max_attempts=1)).run()
        assert {(row.state, row.attempts) for row in _rows(engine)} == {("failed", 1)}
        down = False
        done = command.invoke(app, ["retry", "lakes"])
        assert (done.exit_code, done.output) == (0, "lakes: 2 failed observation(s) queued again\n")
        states = [(row.name, row.state, row.attempts, row.reason) for row in _rows(engine)]
        assert states[:2] == [("lakes", "pending", 0, "")] * 2
        assert states[2][:3] == ("other", "failed", 1), "another watch's"
        assert command.invoke(app, ["retry", "lakes"]).output.startswith("lakes: 0 ")
        assert Drain(engine, Well(), _settings()).run().inferred == 2
    unknown = command.invoke(app, ["retry", "nowhere"])
    assert unknown.exit_code == 1
    assert "no watch named 'nowhere'" in unknown.output
