"""Each part of the system that stopped gives one finding with its fix; a healthy system gives none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from segwatch.db.health import FailingChannel, LedgerHealth, WatchHealth
from segwatch.db.runs import Run
from segwatch.db.stuck import HeldSeries, IdleScenes, StuckWork
from segwatch.flows.config.variables import UnreadVariable
from segwatch.flows.doctor.checks import Finding, Level, check
from segwatch.flows.doctor.facts import Facts, HomeServices, RootWorker
from segwatch.flows.orchestration.server_facts import (
    ApiExposure,
    DeploymentFacts,
    LastRun,
    PoolFacts,
    PrefectFacts,
    WorkerFacts,
)
from segwatch.flows.services.supervisor import Restart

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=3)
SOON = NOW + timedelta(minutes=5)
LAKES = WatchHealth(
    "lakes", "0 6 * * *", None, LONG_AGO, NOW - timedelta(hours=6), NOW - timedelta(hours=6), 0, None
)
LEDGER = LedgerHealth(NOW, (LAKES,), 0, None, 0, None, 0, ())
FAILING = FailingChannel("https://hook.example.org/hunter2", 5, NOW, "HTTP 500", None)
DONE = LastRun(NOW - timedelta(minutes=5), "Completed", False, "")


def deployment(name: str, **changes: Any) -> DeploymentFacts:
    made = DeploymentFacts(name, "cpu", True, LONG_AGO, SOON, 0, None, DONE)
    return replace(made, **changes)


def pool(name: str, *silent_seconds: float) -> PoolFacts:
    workers = (WorkerFacts(f"w{i}", NOW - timedelta(seconds=s), 30.0) for i, s in enumerate(silent_seconds))
    return PoolFacts(name, False, tuple(workers))


ALL = tuple(deployment(name) for name in ("track/track", "deliver/deliver", "observe/watch-lakes"))
SERVER = PrefectFacts(
    "http://h/api", None, frozenset(one.name for one in ALL), ALL, (pool("cpu", 10), pool("gpu", 20))
)
WELL = Facts(NOW, (), LEDGER, None, SERVER)


def wrong(facts: Facts) -> list[Finding]:
    return [one for one in check(facts) if one.level is Level.WRONG]


def with_ledger(**changes: Any) -> Facts:
    return replace(WELL, ledger=replace(LEDGER, **changes))


def with_server(**changes: Any) -> Facts:
    return replace(WELL, prefect=replace(SERVER, **changes))


def instead(**changes: Any) -> Facts:
    return with_server(scheduled=(*ALL[:2], replace(ALL[2], **changes)))


HOME_SERVER = replace(SERVER, of_home=True)


def at_home(
    prefect: PrefectFacts = HOME_SERVER,
    pools: tuple[PoolFacts, ...] | None = None,
    **services: Any,
) -> Facts:
    """The demo, with services of its home folder."""
    home = HomeServices(**{"running": ("prefect", "worker-cpu"), "logs": Path("/home/logs"), **services})
    return replace(WELL, services=home, prefect=prefect if pools is None else replace(prefect, pools=pools))


def test_a_healthy_system_gives_only_ok_findings() -> None:
    found = check(WELL)
    assert {one.about for one in found} == {"ledger", "prefect", "schedules", "workers", "catalogs", "outbox"}
    assert all(one.level is Level.OK for one in found)


@pytest.mark.parametrize(
    ("facts", "about", "says", "fix"),
    [
        (replace(WELL, ledger=None, ledger_error="refused"), "ledger", "refused", "segwatch db up"),
        (
            replace(WELL, ledger=None, ledger_error="refused", ledger_server="db.example.org:5432"),
            "ledger",
            "refused",
            "PostgreSQL runs at db.example.org:5432",
        ),
        (with_server(error="refused"), "prefect", "does not answer: refused", "prefect server start"),
        (
            with_server(error="500 Internal Server Error", failing=True),
            "prefect",
            "while its database is away: 500",
            "the database of the Prefect server",
        ),
        (
            at_home(prefect=replace(SERVER, error="500", failing=True, of_home=True)),
            "prefect",
            "while its database is away",
            "segwatch db up",
        ),
        (
            at_home(prefect=replace(SERVER, of_home=True, pools=(pool("cpu", 3600),))),
            "workers",
            "no worker polls the pool cpu",
            "start one: make demo",
        ),
        (
            at_home(ended=("worker-cpu",), pools=(pool("cpu", 5),)),
            "services",
            "worker-cpu does not run",
            "make demo; see /home/logs/worker-cpu.log",
        ),
        (
            at_home(restarts=(Restart("worker-gpu", 3, NOW, NOW, "exit status 1"),)),
            "services",
            "worker-gpu ended by itself at 2026-11-28 12:00 UTC (exit status 1), 3 time(s)",
            "worker-gpu.log",
        ),
        (
            with_server(scheduled=tuple(replace(one, next_at=None) for one in ALL)),
            "schedules",
            "schedules no runs at all",
            "sqlalchemy<2.1",
        ),
        (
            instead(next_at=None),
            "schedules",
            "observe/watch-lakes: the server schedules no run",
            "segwatch apply",
        ),
        (
            instead(late=3, late_since=NOW - timedelta(hours=1)),
            "schedules",
            "3 run(s) are waiting for a worker",
            "prefect worker start --pool cpu",
        ),
        (
            instead(last=LastRun(NOW, "Crashed", True, "killed")),
            "schedules",
            "ended as Crashed: killed",
            "log",
        ),
        (with_server(scheduled=ALL[:2]), "schedules", "watch lakes: its schedule", "segwatch deploy"),
        (with_server(scheduled=ALL[1:]), "schedules", "track/track is not scheduled", "segwatch deploy"),
        (
            with_server(pools=(pool("cpu", 3600),)),
            "workers",
            "no worker polls the pool cpu; last heartbeat",
            "--pool cpu",
        ),
        (
            with_server(pools=(pool("gpu"),)),
            "workers",
            "no worker polls the pool gpu",
            "--pool gpu --limit 1",
        ),
        (with_server(pools=(replace(pool("cpu", 1), paused=True),)), "workers", "paused", "resume cpu"),
        (
            with_ledger(
                watches=(
                    replace(
                        LAKES,
                        attempted_at=NOW - timedelta(hours=1),
                        failures=4,
                        error="CatalogUnreachable: timed out",
                    ),
                )
            ),
            "catalogs",
            "no catalog search has succeeded since 2026-11-28 06:00 UTC; 4 failure(s) in a row, the last at "
            "2026-11-28 11:00 UTC: CatalogUnreachable",
            "segwatch source check",
        ),
        (
            with_ledger(watches=(replace(LAKES, answered_at=None, failures=1, error="x"),)),
            "catalogs",
            "no catalog search has succeeded yet",
            "source check",
        ),
        (
            with_ledger(watches=(replace(LAKES, attempted_at=NOW - timedelta(days=2)),)),
            "catalogs",
            "the catalog search due at 2026-11-27 06:00 UTC did not happen; last search at",
            "segwatch run lakes",
        ),
        (
            with_ledger(watches=(replace(LAKES, attempted_at=None, answered_at=None),)),
            "catalogs",
            "did not happen; never searched",
            "segwatch run lakes",
        ),
        (
            with_ledger(expired_leases=2, expired_since=NOW - timedelta(hours=1)),
            "leases",
            "2 scene(s) are leased by a worker that is gone",
            "gpu pool",
        ),
        (
            with_ledger(messages_due=7, due_since=NOW - timedelta(hours=1)),
            "outbox",
            "7 message(s) are due and not sent",
            "deliver/deliver",
        ),
        (
            with_ledger(channels=(replace(FAILING, open_until=SOON),)),
            "outbox",
            "channel hook.example.org: circuit open until 2026-11-28 12:05 UTC after 5 failure(s) in a row",
            "receiver",
        ),
        (
            with_ledger(channels=(FAILING,), messages_due=2),
            "outbox",
            "channel hook.example.org: 5 failure(s) in a row, the last at 2026-11-28 12:00 UTC; nothing was delivered "
            "ever: HTTP 500",
            "receiver",
        ),
        (
            with_ledger(channels=(replace(FAILING, gone_at=LONG_AGO),)),
            "outbox",
            "channel hook.example.org: its receiver has refused all messages since 2026-11-25 12:00 UTC",
            "alert replay",
        ),
        (
            replace(WELL, unread=(UnreadVariable("SEGWATCH_HOM", "SEGWATCH_HOME"),)),
            "settings",
            "did you mean SEGWATCH_HOME?",
            "SEGWATCH_HOM",
        ),
    ],
)
def test_each_stopped_part_gives_one_finding_with_its_fix(
    facts: Facts, about: str, says: str, fix: str
) -> None:
    (found,) = wrong(facts)
    assert found.about == about
    assert says in found.says
    assert fix in found.fix
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    "facts",
    [
        replace(WELL, prefect=None),
        instead(on=False, next_at=None),
        instead(next_at=None, changed_at=NOW - timedelta(seconds=30)),
        instead(late=1, late_since=NOW - timedelta(seconds=30)),
        instead(last=None),
        with_server(pools=(pool("cpu", 10, 4000),)),
        with_ledger(watches=(replace(LAKES, schedule=None, attempted_at=LONG_AGO),)),
        with_ledger(watches=(replace(LAKES, ends_at=LONG_AGO - timedelta(days=9), failures=3, error="x"),)),
        with_ledger(watches=(replace(LAKES, attempted_at=None, answered_at=None, applied_at=NOW),)),
        with_ledger(messages_due=7, due_since=NOW - timedelta(minutes=2)),
        with_ledger(messages_dead=7),
        with_ledger(expired_leases=2, expired_since=NOW - timedelta(seconds=5)),
        replace(WELL, unread=(UnreadVariable("SEGWATCH_HOOK", None),)),
    ],
)
def test_recent_ended_or_intended_states_are_not_wrong(facts: Facts) -> None:
    assert wrong(facts) == []


OPENED = replace(SERVER.pools[0], settable=("command", "env"))


@pytest.mark.parametrize(
    ("facts", "level", "says", "fix"),
    [
        (
            with_server(exposure=ApiExposure(open=True)),
            Level.WRONG,
            "without credentials",
            "PREFECT_SERVER_API_AUTH_STRING",
        ),
        (
            with_server(exposure=ApiExposure(any_origin=True)),
            Level.NOTE,
            "any site",
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS",
        ),
        (with_server(exposure=ApiExposure(any_host=True)), Level.NOTE, "DNS rebinding", "proxy"),
        (with_server(pools=(OPENED, SERVER.pools[1])), Level.WRONG, "set command, env", "segwatch deploy"),
        (replace(WELL, root_workers=(RootWorker(7, None),)), Level.WRONG, "process 7", "an ordinary user"),
        (
            replace(WELL, root_workers=(RootWorker(7, "worker-cpu"),)),
            Level.NOTE,
            "worker-cpu",
            "ordinary user",
        ),
    ],
)
def test_outsiders_who_can_decide_what_the_workers_run(
    facts: Facts, level: Level, says: str, fix: str
) -> None:
    (found,) = [one for one in check(facts) if one.level is not Level.OK]
    assert (found.about, found.level) == ("access", level)
    assert says in found.says
    assert fix in found.fix
    assert "docs/how-to/control-plane.md" in found.fix


def test_lax_headers_of_an_open_server_are_wrong_not_notes() -> None:
    found = wrong(with_server(exposure=ApiExposure(open=True, any_origin=True, any_host=True)))
    assert [one.about for one in found] == ["access"] * 3


LOST = Run(UUID(int=1), "segment", "lakes", "gpu1-7", None, LONG_AGO, LONG_AGO, LONG_AGO, None, None, True)


@pytest.mark.parametrize(
    ("stuck", "about", "says", "fix"),
    [
        (
            StuckWork(lost_runs=(LOST,)),
            "runs",
            "the segment run of lakes on gpu1-7",
            "start its worker again",
        ),
        (
            StuckWork(idle=(IdleScenes("lakes", 3, LONG_AGO),)),
            "scenes",
            "watch lakes: 3 scene(s) could be segmented since 2026-11-25 12:00 UTC, and no segment run is active",
            "segwatch run lakes",
        ),
        (
            StuckWork(held_series=(HeldSeries("lakes", 77, LONG_AGO),)),
            "series",
            "watch lakes: database session 77 has locked a series since",
            "pg_terminate_backend(77)",
        ),
        (
            StuckWork(expired_messages=63, expired_since=LONG_AGO),
            "outbox",
            "63 message(s) are leased by a deliver run that is gone",
            "deliver/deliver",
        ),
    ],
)
def test_stuck_work_is_found(stuck: StuckWork, about: str, says: str, fix: str) -> None:
    (found,) = wrong(replace(WELL, stuck=stuck))
    assert found.about == about
    assert says in found.says
    assert fix in found.fix


def test_work_that_waits_briefly_is_not_stuck() -> None:
    now = NOW - timedelta(seconds=20)
    young = StuckWork(
        (replace(LOST, lease_until=now),),
        (IdleScenes("w", 3, now),),
        False,
        63,
        now,
        (HeldSeries("w", 7, now),),
    )
    busy = StuckWork(idle=(IdleScenes("w", 3, LONG_AGO),), segmenting=True)
    assert wrong(replace(WELL, stuck=young)) == wrong(replace(WELL, stuck=busy)) == []


def test_a_service_that_was_started_again_is_a_note() -> None:
    before = NOW - timedelta(hours=1)
    facts = at_home(restarts=(Restart("worker-gpu", 1, before, before, "signal 9"),))
    (found,) = [one for one in check(facts) if one.about == "services"]
    assert (found.level, "it was started again" in found.says) == (Level.NOTE, True)


def test_a_worker_that_ended_does_not_count_as_online_because_of_its_last_heartbeat() -> None:
    found = check(at_home(ended=("worker-cpu",), pools=(pool("cpu", 5),)))
    assert not [one for one in found if one.about == "workers" and one.level is Level.OK]
