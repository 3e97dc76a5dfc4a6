"""Bad input: a clear message, a recorded reason, and everything else is still processed."""

from __future__ import annotations

import json
import socket
import sys

import psycopg
import pytest
from shapely.geometry import box, mapping

from segwatch.db.migrate import upgrade
from tests.acceptance.conftest import COLOUR, System
from tests.support.flaky import flaky_proxy


@pytest.fixture(scope="module")
def broken(system: System) -> str:
    """A watch over one good scene and three that cannot be observed, run once."""
    system.apply("broken", system.broken)
    done = system.segwatch("run", "broken", "--json", **COLOUR, SEGWATCH_RETRY_SECONDS="0")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["discover"]["items"] == 3
    assert report["discover"]["rejected"] == 1
    ((reason, count),) = report["discover"]["reasons"].items()
    assert "is missing" in reason
    assert count == 1
    # three attempts at the file that is cut off, and the scene under clouds
    assert sorted(report["segment"]["reasons"].values()) == [1, 3]
    assert report["discover"]["scenes"] == 3
    return "broken"


def test_the_good_scene_is_observed(system: System, broken: str) -> None:
    assert _state(system, broken, "2024-05-01") == ("observed", None)
    assert len(system.query("SELECT 1 FROM watch.objects_now WHERE watch = :w", w=broken)) == 1


def test_a_truncated_file_fails_with_its_reason(system: System, broken: str) -> None:
    state, reason = _state(system, broken, "2024-05-11")
    assert state == "failed"
    assert reason is not None
    assert "image" in reason
    assert "05-11.tif" in reason
    (row,) = system.query(
        "SELECT attempts FROM watch.coverage WHERE watch = :w AND acquired_at::date = '2024-05-11'", w=broken
    )
    assert row["attempts"] == 3


def test_a_scene_under_cloud_is_skipped(system: System, broken: str) -> None:
    state, reason = _state(system, broken, "2024-05-21")
    assert state == "skipped"
    assert reason is not None
    assert reason.startswith("cloudy")


def test_an_item_without_the_asset_is_rejected(system: System, broken: str) -> None:
    (row,) = system.query("SELECT * FROM watch.rejected_items WHERE watch = :w", w=broken)
    assert row["item_id"] == "made-broken-2024-05-31"
    assert "image" in row["reason"]
    assert "cloud" in row["reason"] or "has" in row["reason"]


def test_the_command_line_tells_all_of_it(system: System, broken: str) -> None:
    done = system.command("coverage", broken, "--json")
    assert [row["state"] for row in json.loads(done.stdout)] == ["observed", "failed", "skipped", "rejected"]
    point = system.broken.area.centroid
    asked = ("why-not", broken, "--json", "--", str(point.x), str(point.y))
    told = system.command(*asked)
    assert told.exit_code == 0, told.output
    answers = {row["acquired_at"][:10]: row["answer"] for row in json.loads(told.stdout)}
    assert answers["2024-05-11"] == "failed"
    assert answers["2024-05-21"] == "cloudy"
    assert answers["2024-05-31"] == "rejected"


def test_a_runs_last_lines_say_why_not_all_was_observed(system: System, broken: str) -> None:
    done = system.segwatch("run", broken, **COLOUR)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("rejected: 1 x ")


def test_an_unreachable_catalog(system: System) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    source = {"profile": str(system.lakes.profile), "catalog": nowhere}
    system.apply("unreachable", system.lakes, source=source)
    done = system.segwatch("run", "unreachable", **COLOUR)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    words = " ".join(done.stderr.split())
    assert f"catalog {nowhere} cannot be read" in words
    assert "Check the URL" in words
    assert system.query("SELECT 1 FROM watch.coverage WHERE watch = 'unreachable'") == []


def test_a_catalog_that_fails_twice_and_then_works(system: System) -> None:
    with flaky_proxy(system.stack.urls().stac, path="/search", failures=2) as (url, answers):
        source = {"profile": str(system.lakes.profile), "catalog": url}
        system.apply("flaky", system.lakes, source=source, end="2024-05-15T00:00:00Z")
        done = system.segwatch("run", "flaky", "--json", **COLOUR)
    assert done.returncode == 0, done.stderr
    assert answers[:3] == [500, 500, 200]
    assert json.loads(done.stdout)["segment"]["inferred"] == 2


def test_an_area_without_scenes(system: System) -> None:
    far = {"geojson": mapping(box(-60.0, -10.0, -59.9, -9.9))}
    system.apply("far", system.lakes, area=far)
    done = system.segwatch("run", "far", "--json", **COLOUR)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["discover"]["items"], report["discover"]["scenes"]) == (0, 0)


def test_a_gpu_worker_that_looks_at_another_ledger_is_noticed(system: System) -> None:
    cluster = system.stack.cluster
    cluster.ensure_database("elsewhere", "segwatch_owner")
    with psycopg.connect(cluster.info().superuser_url("elsewhere"), autocommit=True) as conn:
        conn.execute("CREATE EXTENSION IF NOT EXISTS postgis")
        conn.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    upgrade(cluster.info().url_for("segwatch_owner", database="elsewhere"))
    there = COLOUR | {
        "SEGWATCH_DATABASE_URL": cluster.info().url_for("segwatch_worker", database="elsewhere")
    }
    applied = system.command("apply", str(system.watch_file("lost", system.lakes)), **there)
    assert applied.exit_code == 0, applied.output
    system.stack.supervisor.stop("worker-cpu")
    argv = [sys.executable, "-P", "-m", "prefect", "worker", "start", "--pool", "cpu", "--type", "process"]
    system.stack.supervisor.start("worker-cpu", argv, system.environment(**there))
    try:
        ended = system.ended("observe/observe", watch="lost")
    finally:
        system.stack.supervisor.stop("worker-cpu")
    assert ended.startswith("FAILED")
    assert "completed without leasing any of 7 pending scene(s) of lost" in ended
    assert "compare its SEGWATCH_DATABASE_URL" in ended
    assert system.segwatch("run", "lost", **there).returncode == 0, "and nothing is lost"


def test_a_watch_file_with_a_wrong_field(system: System) -> None:
    file = system.watch_file("wrong", system.lakes, prioritty=3, max_cloud_cover=20)
    done = system.command("apply", str(file))
    assert isinstance(done.exception, SystemExit), "a message, no traceback"
    assert done.exit_code != 0
    words = " ".join(done.stderr.split())
    for part in ("wrong.yaml", "prioritty", "max_cloud_cover", "20"):
        assert part in words
    assert system.query("SELECT 1 FROM segwatch.watch WHERE name = 'wrong'") == []


def _state(system: System, watch: str, day: str) -> tuple[str, str | None]:
    (row,) = system.query(
        "SELECT state, reason FROM watch.coverage WHERE watch = :w AND acquired_at::date = CAST(:d AS date)",
        w=watch,
        d=day,
    )
    return row["state"], row["reason"]


def test_a_source_is_checked_before_a_watch_relies_on_it(system: System) -> None:
    """Against the STAC API of the stack; what a source lacks is named and the exit status says so."""
    url = system.stack.urls().stac
    good = system.command("source", "check", url, "--profile", str(system.lakes.profile), "--json")
    found = {row["about"]: row for row in json.loads(good.stdout)}
    assert good.exit_code == 0, good.output
    assert found["search"]["good"]
    assert "valid" in found["sample read"]["says"]
    wrong = system.command("source", "check", url, "--profile", "rgb-cog")
    assert wrong.exit_code == 1
    assert "missing" in wrong.stdout
    listed = json.loads(system.command("source", "list", "--json").stdout)
    assert {"sentinel2-l2a-earthsearch", "sentinel1-rtc-planetary", "maxar-open-data"} <= {
        one["name"] for one in listed
    }
