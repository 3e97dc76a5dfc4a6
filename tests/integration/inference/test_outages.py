"""Outages: a host, a credential or a machine that fails costs no scene an attempt, and its scenes come back."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from shapely.geometry import box
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from segwatch.db import admission, analyst, circuits, ledger
from segwatch.flows.cli import app
from segwatch.flows.config.settings import FlowSettings, load_settings
from segwatch.flows.doctor import checks
from segwatch.flows.doctor.facts import Facts
from segwatch.flows.doctor.gathering import gather
from segwatch.flows.errors import SourceOut
from segwatch.flows.failures.outages import require_sources
from segwatch.flows.inference import quicklook_spool
from segwatch.flows.inference.drain import Drain
from segwatch.flows.inference.drain import drain as drain_all
from segwatch.flows.inference.segmenters import Prediction, Tiles
from segwatch.flows.runtime import quicklook_store
from segwatch.geo.errors import AccessDenied, ReadFailed, SearchIncomplete
from segwatch.geo.sources import profiles
from segwatch.geo.sources.http import range_requests
from segwatch.geo.sources.search.item_search import RejectedItem, search
from tests.conftest import Database
from tests.support.colour_segmenter import Well
from tests.support.images import textured
from tests.support.serving import Answer as Served
from tests.support.serving import serving, serving_files
from tests.support.small_queue import queue

PIXELS = textured(10, 20, 30)
Fault = Callable[[int, Served], Served]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_requests, "_BACK_OFF_SECONDS", 0.005)


def settings(**more: Any) -> FlowSettings:
    return load_settings().model_copy(
        update={"linger_seconds": 0.0, "evidence": "none", "retry_seconds": 600.0, **more}
    )


def drain(engine: Engine, **more: Any) -> Any:
    return Drain(engine, Well(), settings(**more)).run()


def rows(engine: Engine) -> list[Any]:
    query = (
        "SELECT w.name, o.id, o.state, o.attempts, o.refusals, coalesce(o.reason, '') AS reason,"
        " extract(epoch FROM o.not_before - clock_timestamp()) AS wait, o.circuits"
        " FROM segwatch.observation o JOIN segwatch.watch w ON w.id = o.revision_id ORDER BY w.name, o.acquired_at"
    )
    with engine.connect() as conn:
        return list(conn.execute(text(query)))


def do(engine: Engine, statement: str) -> None:
    with engine.begin() as conn:
        conn.execute(text(statement))


def rest_over(engine: Engine) -> None:
    do(engine, "UPDATE segwatch.circuit SET retry_at = clock_timestamp() WHERE failures > 0")
    do(engine, "UPDATE segwatch.observation SET not_before = NULL")


def is_open(engine: Engine) -> list[circuits.OpenCircuit]:
    with engine.connect() as conn:
        return circuits.list_open(conn)


def test_an_outage_costs_no_attempt_however_long_and_the_scenes_come_back(engine: Engine) -> None:
    down = True
    with serving_files({"/a.tif": PIXELS}, lambda _, right: (503, {}, b"") if down else right) as files:
        queue(engine, files.url, Well.version, count=5)
        for failures in (1, 2, 3, 4):
            rest_over(engine)
            asked = len(files.asked)
            done = drain(engine)
            assert (done.failed, done.inferred) == (0, 0)
            # the probe, and what was read ahead of its outcome: not every scene
            assert 1 <= (len(files.asked) - asked) / 4 <= 2
            (circuit,) = is_open(engine)
            assert circuit.failures == failures
            assert {(row.state, row.attempts) for row in rows(engine)} == {("pending", 0)}
        assert circuit.waiting == 5
        assert drain(engine).scenes == 0, "the circuit rests"
        down = False
        rest_over(engine)
        assert drain(engine, linger_seconds=1.0).inferred == 5
    assert is_open(engine) == []
    assert {(row.state, row.attempts, row.reason) for row in rows(engine)} == {("inferred", 1, "")}


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    "address",
    [
        lambda _: f"http://127.0.0.1:{_closed_port()}",  # refused
        lambda _: "http://no-such-host.invalid",  # not found
        lambda url: url.replace("http:", "https:"),  # TLS with what speaks none
    ],
    ids=["refused", "dns", "tls"],
)
def test_a_host_that_cannot_be_reached_opens_its_circuit(engine: Engine, address: Any) -> None:
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, address(files.url), Well.version)
        assert drain(engine, max_attempts=1).waiting == 1
    (row,) = rows(engine)
    assert (row.state, row.attempts) == ("pending", 0)
    assert len(is_open(engine)) == 1


def _answers(status: int, headers: dict[str, str] | None = None) -> Fault:
    return lambda _, right: (status, headers or {}, b"")


def test_a_status_that_is_about_the_host_costs_no_attempt_and_one_about_the_file_does(engine: Engine) -> None:
    now = [0]
    with serving_files({"/a.tif": PIXELS}, lambda _, right: (now[0], {}, b"")) as files:
        queue(engine, files.url, Well.version)
        for status in (408, 429, 500, 501, 502, 503, 504, 507, 520, 522, 401):
            now[0] = status
            drain(engine, max_attempts=1)
            (row,) = rows(engine)
            assert (row.state, row.attempts) == ("pending", 0)
            assert f"HTTP {status}" in row.reason
            assert is_open(engine)
            rest_over(engine)
        for now[0] in (403, 404, 410, 416):
            drain(engine, max_attempts=1)
            (row,) = rows(engine)
            assert (row.state, row.attempts) == ("failed", 1)
            assert is_open(engine) == [], "it answered"
            do(engine, "UPDATE segwatch.observation SET state = 'pending', attempts = 0")


def test_a_corrupt_file_counts(engine: Engine) -> None:
    with serving_files({"/a.tif": b"II*\0" + b"rubbish" * 400}) as files:
        queue(engine, files.url, Well.version)
        drain(engine, max_attempts=1)
    assert [(row.state, row.attempts) for row in rows(engine)] == [("failed", 1)]
    assert is_open(engine) == []


def test_a_host_that_asks_for_a_while_gets_it(engine: Engine) -> None:
    with serving_files({"/a.tif": PIXELS}, _answers(429, {"retry-after": "3000"})) as files:
        queue(engine, files.url, Well.version)
        drain(engine, retry_seconds=1.0)
        assert len(files.asked) == 1, "and is not asked again meanwhile"
    with engine.connect() as conn:
        query = "SELECT extract(epoch FROM retry_at - clock_timestamp()) FROM segwatch.circuit"
        assert 2900 < conn.execute(text(query)).scalar_one() <= 3000


def test_a_link_that_expired_waits_for_a_new_one_and_says_nothing_of_the_host(engine: Engine) -> None:
    from tests.support import small_queue

    with serving_files({"/a.tif": PIXELS}) as files:
        small_queue.queue(engine, files.url, Well.version, count=2)
        do(
            engine,
            "UPDATE segwatch.scene_item SET links = jsonb_build_object('visual', (assets ->> 'visual')"
            " || '?se=2020-01-01T00:00:00Z&sp=r&sig=abc') WHERE item_id = 'item-0'",
        )
        with serving_files({"/a.tif?se=2020-01-01T00:00:00Z&sp=r&sig=abc": PIXELS}, _answers(403)) as signed:
            do(
                engine,
                "UPDATE segwatch.scene_item SET links = CAST(replace(links::text, "
                f"'{files.url}', '{signed.url}') AS jsonb) WHERE item_id = 'item-0'",
            )
            done = drain(engine, max_attempts=1)
    assert (done.inferred, done.waiting) == (1, 1)
    first, second = rows(engine)
    assert (first.state, first.attempts, second.state) == ("pending", 0, "inferred")
    assert "signed until 2020-01-01" in first.reason
    assert first.wait > 500
    assert is_open(engine) == []


def test_one_file_that_its_host_never_serves_blocks_no_other_and_ends(engine: Engine) -> None:
    def fault(_: int, right: Served) -> Served:
        return (500, {}, b"") if broken else right

    broken = True
    with (
        serving_files({"/a.tif": PIXELS}) as good,
        serving_files({"/a.tif": PIXELS}, fault) as bad,
    ):
        queue(engine, good.url, Well.version, count=3)
        # the oldest scene's file alone is broken, and its circuit is that of the others
        do(
            engine,
            "UPDATE segwatch.scene_item SET assets = CAST(replace(assets::text, "
            f"'{good.url}', '{bad.url}') AS jsonb) WHERE item_id = 'item-0'",
        )
        drain(engine, max_attempts=1)
        first, *others = rows(engine)
        assert (first.state, first.attempts) == ("pending", 0)
        assert {row.state for row in others} == {"inferred"}
        # as if others of this host had been served, for longer than anybody waits
        do(
            engine,
            "UPDATE segwatch.circuit SET failures = 0, opened_at = NULL, retry_at = NULL,"
            " closed_at = clock_timestamp()",
        )
        do(engine, "UPDATE segwatch.observation SET refused_since = refused_since - interval '4 days'")
        drain(engine, max_attempts=1)
    first, *_ = rows(engine)
    assert (first.state, first.attempts) == ("failed", 1)
    assert "HTTP 500" in first.reason


def test_a_half_open_circuit_is_probed_by_one_scene_and_not_always_by_the_same(engine: Engine) -> None:
    queue(engine, "http://example.org", Well.version, count=3)

    def lease(worker: str) -> ledger.SceneLease | None:
        with engine.begin() as conn:
            return ledger.lease(
                conn,
                worker=worker,
                seconds=60,
                model_version=Well.version,
                circuits_of=lambda scene, watch: ("example.org",),
            )

    probed = []
    for _ in range(4):
        with engine.begin() as conn:
            circuits.record_failure(conn, "example.org", "refused", first_seconds=600)
        assert lease("other") is None, "it rests"
        rest_over(engine)
        probe = lease("prober")
        assert probe is not None
        assert lease("other") is None, "one probe at a time"
        probed.append(probe.scene.key)
        with engine.begin() as conn:
            (one,) = probe.observations
            assert admission.refuse(
                conn, one.id, "prober", "refused", circuit="example.org", needs=("example.org",),
                max_attempts=1, retry_seconds=0.0, patience_seconds=3600.0,
            )  # fmt: skip
            circuits.release_probes(conn, "prober")
    assert len(set(probed[:3])) == 3
    assert probed[3] == probed[0]
    with engine.begin() as conn:
        assert circuits.record_success(conn, ["example.org"]) == 1
    assert lease("other") is not None
    assert lease("third") is not None


def test_the_rests_double_up_to_a_quarter_of_an_hour(engine: Engine) -> None:
    rests = []
    for _ in range(8):
        with engine.begin() as conn:
            circuits.record_failure(conn, "h", "refused", first_seconds=30)
            circuits.record_failure(conn, "h", "another scene, at the same time", first_seconds=30)
            query = "SELECT extract(epoch FROM retry_at - clock_timestamp()) FROM segwatch.circuit"
            rests.append(round(float(conn.execute(text(query)).scalar_one())))
        rest_over(engine)
    assert rests == [30, 60, 120, 240, 480, 900, 900, 900]


def test_a_credential_that_is_missing_holds_up_its_own_source_only(engine: Engine) -> None:
    with engine.begin() as conn:
        circuits.record_failure(conn, "source:hls-s30", "it needs token", first_seconds=600)
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, Well.version)
        assert drain(engine).inferred == 1


class FullDevice(Well):
    """Other processes hold the memory of its device."""

    def segment(self, tiles: Tiles, instructions: Any) -> list[list[Prediction]]:
        if instructions != ["water"]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().segment(tiles, instructions)


def test_a_device_without_memory_costs_no_attempt(engine: Engine) -> None:
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, Well.version)
        for _ in range(4):
            done = Drain(engine, FullDevice(), settings(max_attempts=1)).run()
            assert (done.failed, done.waiting) == (0, 1)
            rest_over(engine)
        assert drain(engine).inferred == 1


def test_a_full_disk_costs_no_attempt(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segwatch.flows.inference.drain.predict_group", full)
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, Well.version)
        drain(engine, max_attempts=1)
    (row,) = rows(engine)
    assert (row.state, row.attempts) == ("pending", 0)
    assert "No space left" in row.reason


def test_a_full_database_is_no_fault_of_a_scene() -> None:
    import psycopg
    from sqlalchemy.exc import DBAPIError, OperationalError

    from segwatch.db.errors import is_connection_lost
    from segwatch.flows.failures.blame import Blame, find_cause

    away = (
        psycopg.errors.DiskFull, psycopg.errors.TooManyConnections, psycopg.errors.ReadOnlySqlTransaction,
        psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable, psycopg.errors.AdminShutdown,
    )  # fmt: skip
    for kind in away:
        error = OperationalError("INSERT", {}, kind("no"))
        assert is_connection_lost(error), kind
        assert find_cause(error).blame is Blame.DATABASE
    wrong = DBAPIError("INSERT", {}, psycopg.errors.NotNullViolation("no"))
    assert find_cause(wrong).blame is Blame.SCENE
    assert find_cause(AccessDenied("hls-s30", "HTTP 401")).circuit == "source:hls-s30"
    assert find_cause(ReadFailed("a", "b", "HTTP 404")).blame is Blame.SCENE


def test_an_outage_is_told_and_retry_tries_at_once(database: Database, engine: Engine) -> None:
    environment = {
        "SEGWATCH_DATABASE_URL": database.url(),
        "SEGWATCH_SEGMENTER": f"{Well.__module__}:{Well.__name__}",
    }

    def command(*words: str) -> Result:
        return CliRunner(env=environment).invoke(app, list(words))

    down = True
    with serving_files({"/a.tif": PIXELS}, lambda _, right: (503, {}, b"") if down else right) as files:
        queue(engine, files.url, Well.version, count=2)
        drain(engine)
        with pytest.raises(
            SourceOut, match=r"lakes: 2 scene\(s\) wait for the host 127\.0\.0\.1:\d+: circuit open"
        ):
            require_sources(engine, "lakes")
        lon, lat = (str(one) for one in _centre())
        why = command("why-not", "lakes", "--", lon, lat)
        assert "pending: waits for" in why.stdout or "HTTP 503" in why.stdout, why.output
        facts = gather(load_settings(database_url=database.url()))
        (found,) = [one for one in checks.check(facts) if one.about == "sources"]
        assert found.level is checks.Level.WRONG
        assert "2 scene(s) wait for the host" in found.says
        down = False
        assert drain(engine).scenes == 0
        assert command("retry", "lakes").exit_code == 0
        assert drain(engine).inferred == 2
    assert require_sources(engine, "lakes") == {}
    assert json.loads(command("doctor", "--json").stdout)


def test_a_run_waits_for_an_attempt_that_is_due_in_a_moment(
    database: Database, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended as failed a second before the attempt, and the scenes waited for the watch's next schedule."""
    monkeypatch.setenv("SEGWATCH_SEGMENTER", f"{Well.__module__}:{Well.__name__}")
    down = True
    with serving_files({"/a.tif": PIXELS}, lambda _, right: (503, {}, b"") if down else right) as files:
        queue(engine, files.url, Well.version, count=2)
        drain(engine)
        down = False
        do(engine, "UPDATE segwatch.circuit SET retry_at = clock_timestamp() + interval '1 second'")
        assert drain_all(engine, settings(linger_seconds=3.0), watch="lakes").inferred == 2


def test_coverage_says_what_scenes_of_a_source_that_was_away_wait_for_now(engine: Engine) -> None:
    down = True
    with serving_files({"/a.tif": PIXELS}, lambda _, right: (503, {}, b"") if down else right) as files:
        queue(engine, files.url, Well.version, count=2)
        drain(engine)
        assert {"next attempt after" in one for one in waits(engine)} == {True}
        (found,) = list(checks._sources(gather_from(engine)))
        assert "next attempt after" in found.says
        rest_over(engine)
        assert waits(engine) == ["may be tried again now: the next segment run takes it"] * 2
        (found,) = list(checks._sources(gather_from(engine)))
        assert "to be tried again by the next run" in found.says
        assert "next attempt after" not in found.says
        with engine.begin() as conn:
            circuits.record_success(conn, [one.name for one in is_open(engine)])
        assert waits(engine) == ["may be tried again now: the next segment run takes it"] * 2
        (idle,) = [one for one in checks.check(gather_from(engine)) if one.about == "scenes"]
        assert (idle.level, "lakes: 2 scene(s) could be segmented" in idle.says) == (checks.Level.NOTE, True)


def test_coverage_and_why_not_say_which_scenes_a_predicted_one_waits_for(engine: Engine) -> None:
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, Well.version, count=2)
        do(
            engine,
            "UPDATE segwatch.observation SET not_before = clock_timestamp() + interval '1 hour'"
            " WHERE acquired_at = (SELECT min(acquired_at) FROM segwatch.observation)",
        )
        assert drain(engine).inferred == 1
    expected = "predicted; waits for 1 earlier scene(s) of its series: 2024-05-01 10:00"
    assert waits(engine)[1] == expected
    with engine.connect() as conn:
        why = analyst.explain_missing_alert(conn, "lakes", *_centre(), datetime.now(UTC))
    assert [row["waits"] for row in why][1] == expected
    do(engine, "UPDATE segwatch.observation SET state = 'failed', reason = 'no' WHERE state = 'pending'")
    assert waits(engine)[1] == "predicted: the next track run publishes it"


def waits(engine: Engine) -> list[Any]:
    with engine.connect() as conn:
        return [row["waits"] for row in analyst.list_coverage(conn, "lakes")]


def gather_from(engine: Engine) -> Facts:
    url = engine.url.render_as_string(hide_password=False)
    return gather(load_settings(database_url=url))


def _centre() -> tuple[float, float]:
    from tests.support.small_queue import AREA

    return AREA.centroid.x, AREA.centroid.y


class _Store(MemoryFileSystem):  # type: ignore[misc]  # it is not typed
    """A store of quicklooks that is out now and then, with an error of its own."""

    protocol = "outstore"
    down = False

    def pipe_file(self, path: str, value: bytes, *given: Any, **more: Any) -> None:
        if _Store.down:
            raise RuntimeError("could not connect to the endpoint")
        super().pipe_file(path, value, *given, **more)


def test_quicklooks_of_an_outage_are_stored_once_their_store_is_back(engine: Engine, tmp_path: Path) -> None:
    fsspec.register_implementation("outstore", _Store, clobber=True)
    given = load_settings(home=tmp_path, evidence="outstore://pictures", linger_seconds=0.0)
    _Store.down = True
    with serving_files({"/a.tif": PIXELS}) as files:
        queue(engine, files.url, Well.version, count=3)
        assert Drain(engine, Well(), given).run().inferred == 3
        query = text("SELECT evidence FROM segwatch.observation ORDER BY 1")
        with engine.connect() as conn:
            paths = list(conn.execute(query).scalars())
        assert len(paths) == 3
        assert not any(quicklook_store.read_file(given, path) for path in paths)
        _Store.down = False
        queue(engine, files.url, Well.version, first=3)
        assert Drain(engine, Well(), given).run().inferred == 1
    assert all(quicklook_store.read_file(given, path) for path in paths)
    assert not any(one.is_file() for one in (tmp_path / "quicklooks-to-store").rglob("*"))


def test_what_is_kept_for_a_store_that_is_out_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quicklook_spool, "MAX_BYTES", 25)
    assert quicklook_spool.keep(tmp_path, "w/1.jpg", b"x" * 10)
    assert quicklook_spool.keep(tmp_path, "w/2.jpg", b"x" * 10)
    assert not quicklook_spool.keep(tmp_path, "w/3.jpg", b"x" * 10)
    stored: dict[str, bytes] = {}
    assert quicklook_spool.send(tmp_path, stored.setdefault) == 2
    assert sorted(stored) == ["w/1.jpg", "w/2.jpg"]


@pytest.mark.parametrize("status", [503, 429, 404])
def test_an_item_that_an_outage_hides_is_not_rejected(status: int) -> None:
    collection = {
        "type": "Catalog", "id": "c", "stac_version": "1.0.0", "description": "files",
        "links": [{"rel": "item", "href": "./one.json"}],
    }  # fmt: skip
    answers = {
        "/": (200, {"content-type": "application/json"}, json.dumps(collection).encode()),
        "/one.json": (status, {"retry-after": "0"}, b"no"),
    }
    found: list[Any] = []
    begin, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
    with serving(answers) as url:
        looking = search(url + "/", profiles.load("rgb-cog"), box(0, 0, 1, 1), begin, end)
        if status == 404:
            found += looking
            assert [type(one) for one in found] == [RejectedItem]
            return
        with pytest.raises(SearchIncomplete, match=f"cannot be read now: HTTP {status}"):
            found += looking
    assert found == []


def test_a_worker_that_is_killed_while_it_probes_blocks_nobody_for_longer_than_its_lease(
    engine: Engine,
) -> None:
    queue(engine, "http://example.org", Well.version, count=3)

    def lease(worker: str) -> ledger.SceneLease | None:
        with engine.begin() as conn:
            return ledger.lease(
                conn,
                worker=worker,
                seconds=60,
                model_version=Well.version,
                circuits_of=lambda scene, watch: ("example.org",),
            )

    def pass_time(seconds: float) -> None:
        do(
            engine,
            f"UPDATE segwatch.circuit SET probe_alive_until = probe_alive_until - interval '{seconds} s'",
        )

    with engine.begin() as conn:
        circuits.record_failure(conn, "example.org", "refused", first_seconds=600)
    rest_over(engine)
    assert lease("prober") is not None
    pass_time(50)
    with engine.begin() as conn:
        ledger.renew(conn, "prober", 60)
    pass_time(50)
    assert lease("other") is None, "the prober lives"
    pass_time(60)
    assert lease("other") is not None
