"""Judge the facts: one pure function for each part of the system that may have stopped."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from segwatch.db.health import FailingChannel, WatchHealth
from segwatch.db.outbox import BREAKER_FAILURES
from segwatch.flows.alerting.channels import name_channels
from segwatch.flows.config import cadence
from segwatch.flows.doctor import control_plane, stuck
from segwatch.flows.doctor.facts import Facts
from segwatch.flows.doctor.findings import Finding, Level
from segwatch.flows.failures import outages
from segwatch.flows.orchestration.server_facts import DeploymentFacts, PoolFacts, PrefectFacts, WorkerFacts
from segwatch.flows.orchestration.watch_deployments import make_deployment_name
from segwatch.geo.types.revisits import MAX_MISSED

__all__ = ["Finding", "Level", "check"]

#: Prefect schedules runs within a minute of a change.
MAX_SCHEDULER_DELAY = timedelta(minutes=3)
#: Workers poll every few seconds; starting a run takes some seconds more.
MAX_RUN_DELAY = timedelta(minutes=5)
#: `deliver` runs every five minutes.
MAX_OUTBOX_DELAY = timedelta(minutes=15)
#: A search of a catalog may have to wait for a worker, and takes time itself.
MAX_SEARCH_DELAY = timedelta(minutes=30)
MAX_LEASE_DELAY = timedelta(minutes=10)
#: Time that a service takes to start.
RESTART_TIME = timedelta(seconds=15)
#: Restarts of services are reported for this long.
MAX_RESTART_AGE = timedelta(days=1)
#: Prefect marks a worker as offline after three missed heartbeats.
_HEARTBEATS = 3
_ALWAYS = ("track/track", "deliver/deliver")
#: Area of findings about watches that people paused.
ABOUT_WATCHES = "watches"
_PAUSED = "paused"
#: Deployments that are created with their schedule switched off.
_OFF_BY_DEFAULT = ("poll-feeds/poll-feeds", "respond/respond")


def check(facts: Facts) -> list[Finding]:
    """Run every check; findings come in order of dependency, causes before consequences."""
    return [
        *_variables(facts),
        *_services(facts),
        *_ledger(facts),
        *_prefect(facts),
        *control_plane.check(facts),
        *_pauses(facts),
        *_schedules(facts),
        *_workers(facts),
        *_catalogs(facts),
        *_sources(facts),
        *_shifts(facts),
        *_leases(facts),
        *_outbox(facts),
        *stuck.check(facts.stuck, facts.now),
    ]


def _variables(facts: Facts) -> Iterator[Finding]:
    for one in facts.unread:
        # a name that resembles no setting may be a variable of a watch file
        level = Level.NOTE if one.meant is None else Level.WRONG
        yield Finding("settings", level, str(one), f"unset {one.name}, or correct its name")


def _services(facts: Facts) -> Iterator[Finding]:
    """Report services of the demo that ended by themselves."""
    home = facts.services
    for name in home.ended:
        fix = f"start it again: make demo; see {home.logs / f'{name}.log'}"
        yield Finding("services", Level.WRONG, f"{name} does not run, although nobody stopped it here", fix)
    recent = [one for one in home.restarts if facts.now - one.ended_at < MAX_RESTART_AGE]
    for one in recent:
        down = one.starts_at > facts.now - RESTART_TIME
        says = (
            f"{one.name} ended by itself at {_at(one.ended_at)} ({one.how}), {one.restarts} time(s) since it was "
            f"started; it {'is being' if down else 'was'} started again"
        )
        fix = f"see {home.logs / f'{one.name}.log'}"
        yield Finding("services", Level.WRONG if down else Level.NOTE, says, fix)
    if home.running and not home.ended and not recent:
        yield Finding("services", Level.OK, f"{len(home.running)} service(s) of this home folder run")


def _ledger(facts: Facts) -> Iterator[Finding]:
    if facts.ledger_error is not None:
        fix = "run: segwatch db up; or correct SEGWATCH_DATABASE_URL"
        if facts.ledger_server is not None and not facts.ledger_error.startswith("the schema is"):
            fix = f"make sure that PostgreSQL runs at {facts.ledger_server}, or correct SEGWATCH_DATABASE_URL"
        yield Finding("ledger", Level.WRONG, facts.ledger_error, fix)
    elif facts.ledger is not None:
        says = f"reachable, schema up to date, {len(facts.ledger.watches)} watch(es)"
        yield Finding("ledger", Level.OK, says)


def _prefect(facts: Facts) -> Iterator[Finding]:
    server = facts.prefect
    if server is None:
        fix = "to check the server, its schedules and workers, set PREFECT_API_URL, e.g. http://HOST:4200/api"
        yield Finding(
            "prefect", Level.NOTE, "no Prefect server is configured, so nothing runs by itself", fix
        )
    elif server.failing:
        says = f"{server.url} answers with an error, as it does while its database is away: {server.error}"
        database = "its database runs in this home folder: segwatch db up"
        if not server.of_home:
            database = "make sure that the database of the Prefect server runs; see the server's log"
        yield Finding("prefect", Level.WRONG, says, database)
    elif server.error is not None:
        start = "make demo" if facts.has_home_prefect else "prefect server start"
        fix = f"start it with: {start}; or correct PREFECT_API_URL"
        yield Finding("prefect", Level.WRONG, f"{server.url} does not answer: {server.error}", fix)
    else:
        yield Finding("prefect", Level.OK, f"{server.url} is reachable, {len(server.names)} deployment(s)")


def _schedules(facts: Facts) -> Iterator[Finding]:
    server = facts.prefect
    if server is None or server.error is not None:
        return
    yield from _missing(facts, server)
    switched_on = [one for one in server.scheduled if one.on]
    expected = {*_OFF_BY_DEFAULT, *(make_deployment_name(one.name) for one in _list_paused(facts))}
    for one in server.scheduled:
        if not one.on and one.name not in expected:
            says = f"{one.name}: its schedule is switched off"
            yield Finding("schedules", Level.NOTE, says, "unless that is intended, switch it on in Prefect")
    silent = [one for one in switched_on if _is_silent(one, facts.now)]
    if silent and len(silent) == len(switched_on):
        yield Finding(
            "schedules",
            Level.WRONG,
            "the Prefect server schedules no runs at all",
            "look for errors of the scheduler in the server's log; SQLAlchemy 2.1 breaks Prefect 3.8: "
            "run pip install 'sqlalchemy<2.1' where the server runs, and restart it",
        )
    else:
        for one in silent:
            yield Finding(
                "schedules",
                Level.WRONG,
                f"{one.name}: the server schedules no run for it",
                "its cron expression probably matches no date: correct it and run: segwatch apply FILE",
            )
    troubled = [found for one in switched_on for found in _runs(one, facts)]
    yield from troubled
    if not silent and not troubled and switched_on:
        last = max((one.last.expected_at for one in switched_on if one.last is not None), default=None)
        fired = f", the latest run was due at {_at(last)}" if last is not None else ", no run was due yet"
        yield Finding("schedules", Level.OK, f"{len(switched_on)} deployment(s) have a next run{fired}")


def _missing(facts: Facts, server: PrefectFacts) -> Iterator[Finding]:
    scheduled = {one.name for one in server.scheduled}
    for name in _ALWAYS:
        if name not in scheduled:
            yield Finding("schedules", Level.WRONG, f"{name} is not scheduled", "run: segwatch deploy")
    for watch in _live(facts):
        if watch.schedule is not None and make_deployment_name(watch.name) not in scheduled:
            says = f"watch {watch.name}: its schedule {watch.schedule!r} is not on the server"
            yield Finding("schedules", Level.WRONG, says, "run: segwatch deploy")


def _is_silent(one: DeploymentFacts, now: datetime) -> bool:
    return one.next_at is None and one.late == 0 and now - one.changed_at > MAX_SCHEDULER_DELAY


def _runs(one: DeploymentFacts, facts: Facts) -> Iterator[Finding]:
    if one.late and one.late_since is not None and facts.now - one.late_since > MAX_RUN_DELAY:
        yield Finding(
            "schedules",
            Level.WRONG,
            f"{one.name}: {one.late} run(s) are waiting for a worker, the oldest since {_at(one.late_since)}",
            f"start a worker: {_start_of_worker(facts, one.pool or 'cpu')}",
        )
    if one.last is not None and one.last.bad:
        yield Finding(
            "schedules",
            Level.WRONG,
            f"{one.name}: the run of {_at(one.last.expected_at)} ended as {one.last.state}: {one.last.message}",
            "see the run's log in Prefect; the next run retries",
        )


def _workers(facts: Facts) -> Iterator[Finding]:
    for pool in facts.prefect.pools if facts.prefect is not None else ():
        yield from _pool(pool, facts)


def _start_of_worker(facts: Facts, pool: str) -> str:
    """Return the command that starts a worker; the demo's workers have an environment and users of their own."""
    if facts.has_home_prefect and pool in ("cpu", "gpu"):
        return "make demo"
    return f"prefect worker start --pool {pool}{' --limit 1' if pool == 'gpu' else ''}"


def _pool(pool: PoolFacts, facts: Facts) -> Iterator[Finding]:
    now = facts.now
    if facts.has_home_prefect and f"worker-{pool.name}" in facts.services.ended and len(pool.workers) < 2:
        return  # its last heartbeat may be recent; reported as a service
    online = [one for one in pool.workers if not _is_lost(one, now)]
    start = _start_of_worker(facts, pool.name)
    if pool.paused:
        yield Finding(
            "workers", Level.WRONG, f"pool {pool.name} is paused", f"prefect work-pool resume {pool.name}"
        )
    if not online:
        seen = max((one.heartbeat_at for one in pool.workers if one.heartbeat_at is not None), default=None)
        since = f"; last heartbeat at {_at(seen)}" if seen is not None else ""
        yield Finding(
            "workers", Level.WRONG, f"no worker polls the pool {pool.name}{since}", f"start one: {start}"
        )
        return
    yield Finding("workers", Level.OK, f"pool {pool.name}: {len(online)} worker(s) online")
    for one in pool.workers:
        recent = one.heartbeat_at is not None and now - one.heartbeat_at < timedelta(days=1)
        if _is_lost(one, now) and recent and one.heartbeat_at is not None:
            says = f"worker {one.name} of pool {pool.name} sent its last heartbeat at {_at(one.heartbeat_at)}"
            yield Finding(
                "workers", Level.NOTE, says, f"unless it was stopped on purpose, restart it: {start}"
            )


def _is_lost(one: WorkerFacts, now: datetime) -> bool:
    silence = timedelta(seconds=_HEARTBEATS * one.heartbeat_seconds)
    return one.heartbeat_at is None or now - one.heartbeat_at > silence


def _catalogs(facts: Facts) -> Iterator[Finding]:
    well = unsearched = 0
    live = _live(facts)
    for watch in live:
        found = list(_catalog(watch, facts.now))
        yield from found
        well += not found and watch.answered_at is not None
        unsearched += not found and watch.answered_at is None
    if well:
        rest = f"; {unsearched} not searched yet" if unsearched else ""
        says = f"{well} of {len(live)} watch(es): the last catalog search succeeded{rest}"
        yield Finding("catalogs", Level.OK, says)


def _catalog(watch: WatchHealth, now: datetime) -> Iterator[Finding]:
    if watch.failures:
        good = f"since {_at(watch.answered_at)}" if watch.answered_at is not None else "yet"
        last = f", the last at {_at(watch.attempted_at)}" if watch.attempted_at is not None else ""
        yield Finding(
            "catalogs",
            Level.WRONG,
            f"watch {watch.name}: no catalog search has succeeded {good}; {watch.failures} failure(s) in a "
            f"row{last}: {watch.error}",
            "check the catalog with: segwatch source check PROFILE; the next run retries",
        )
    yield from _silence(watch)
    yield from _rejections(watch)
    due = _find_due_search(watch)
    if due is not None and now - due > MAX_SEARCH_DELAY:
        last = (
            f"last search at {_at(watch.attempted_at)}"
            if watch.attempted_at is not None
            else "never searched"
        )
        yield Finding(
            "catalogs",
            Level.WRONG,
            f"watch {watch.name}: the catalog search due at {_at(due)} did not happen; {last}",
            f"see the findings about schedules and workers; by hand: segwatch run {watch.name}",
        )


def _silence(watch: WatchHealth) -> Iterator[Finding]:
    """Report a catalog that answers and shows no scene where its orbits should have passed."""
    if watch.last_shown_at is None or not watch.silent_orbits:
        return
    ask = "ask the catalog's provider whether it still publishes them; "
    fix = ask + (
        "meanwhile source.fallback is searched: segwatch coverage shows what it has"
        if watch.has_fallback
        else "another catalog of the same scenes takes over as source.fallback: docs/how-to/real-catalogs.md"
    )
    orbits = ", ".join(watch.silent_orbits)
    if watch.missed_revisits >= MAX_MISSED:
        says = (
            f"watch {watch.name}: the catalog has published no scene since that of {_at(watch.last_shown_at)}, "
            f"although each orbit should have passed {watch.missed_revisits} time(s) or more: {orbits}"
        )
        yield Finding("catalogs", Level.WRONG, says, fix)
    else:
        says = f"watch {watch.name}: the catalog shows no more scenes of {orbits}, with the revisits missed in a row"
        yield Finding("catalogs", Level.NOTE, says, fix)


def _rejections(watch: WatchHealth) -> Iterator[Finding]:
    if watch.only_rejected:
        yield Finding(
            "catalogs",
            Level.WRONG,
            f"watch {watch.name}: all {watch.only_rejected} item(s) found were rejected, for example: "
            f"{watch.rejected_because}",
            "correct source.profile or source.collection in the watch file and apply it; the items are listed by: "
            f"segwatch coverage {watch.name}",
        )


def _sources(facts: Facts) -> Iterator[Finding]:
    for one in facts.ledger.sources if facts.ledger is not None else ():
        fix = (
            "if the outage lasts, correct the address or the credentials; to retry now: segwatch retry WATCH"
        )
        yield Finding("sources", Level.WRONG, outages.describe_circuit(one), fix)


def _shifts(facts: Facts) -> Iterator[Finding]:
    """Report scenes that lie far from their series, or whose place is not certain: they may raise false changes."""
    for one in facts.ledger.shifts if facts.ledger is not None else ():
        parts = []
        if one.large:
            parts.append(f"{one.large} moved by more than two pixels (up to {one.largest_m:.0f} m)")
        if one.uncertain:
            parts.append(f"{one.uncertain} whose shift is uncertain, so that they were not moved")
        says = (
            f"watch {one.watch}: of {one.observed} observed scene(s) {' and '.join(parts)}, "
            f"the newest of {_at(one.newest_at)}; changes in them may be displaced imagery"
        )
        fix = (
            f"look at them: segwatch coverage {one.watch}; if one platform lies elsewhere than the others, use one "
            "source a watch, or ask the provider for orthorectified imagery; alert rules with status: confirmed wait "
            "for another scene"
        )
        yield Finding("registration", Level.NOTE, says, fix)


def _find_due_search(watch: WatchHealth) -> datetime | None:
    """Return when the first catalog search after the last one was due."""
    if watch.schedule is None:
        return None
    since = max(watch.applied_at, watch.attempted_at or watch.applied_at, watch.acted_at or watch.applied_at)
    try:
        return cadence.find_next(watch.schedule, since)
    except ValueError:
        return None


def _live(facts: Facts) -> list[WatchHealth]:
    watches = facts.ledger.watches if facts.ledger is not None else ()
    return [one for one in watches if not cadence.is_over(one.ends_at, facts.now) and one.state != _PAUSED]


def _list_paused(facts: Facts) -> list[WatchHealth]:
    return [one for one in (facts.ledger.watches if facts.ledger is not None else ()) if one.state == _PAUSED]


def _pauses(facts: Facts) -> Iterator[Finding]:
    for one in _list_paused(facts):
        since = f" since {_at(one.acted_at)}" if one.acted_at is not None else ""
        says = f"watch {one.name} is paused{since}: nothing is searched or predicted"
        yield Finding(ABOUT_WATCHES, Level.NOTE, says, f"to go on: segwatch watch resume {one.name}")


def _leases(facts: Facts) -> Iterator[Finding]:
    ledger = facts.ledger
    if ledger is None or ledger.expired_since is None or facts.now - ledger.expired_since < MAX_LEASE_DELAY:
        return
    yield Finding(
        "leases",
        Level.WRONG,
        f"{ledger.expired_leases} scene(s) are leased by a worker that is gone, since {_at(ledger.expired_since)}",
        "the next segment run takes them over: start a worker of the gpu pool, or run: segwatch run WATCH",
    )


def _outbox(facts: Facts) -> Iterator[Finding]:
    ledger = facts.ledger
    if ledger is None:
        return
    stuck = ledger.due_since is not None and facts.now - ledger.due_since > MAX_OUTBOX_DELAY
    if stuck and ledger.due_since is not None:
        yield Finding(
            "outbox",
            Level.WRONG,
            f"{ledger.messages_due} message(s) are due and not sent, the oldest since {_at(ledger.due_since)}",
            "make sure that the deployment deliver/deliver and a worker of the cpu pool run",
        )
    names = name_channels([one.channel for one in ledger.channels])
    for one in ledger.channels:
        yield _report_channel(names[one.channel], one)
    if ledger.messages_dead:
        says = f"{ledger.messages_dead} message(s) failed for good"
        fix = "once the channel works again, resend them with: segwatch alert replay"
        yield Finding("outbox", Level.NOTE, says, fix)
    if ledger.messages_withdrawn:
        says = f"{ledger.messages_withdrawn} message(s) were withdrawn, because their rule no longer names the channel"
        fix = "if that was a mistake, restore the channel in the rule and run: segwatch alert replay"
        yield Finding("outbox", Level.NOTE, says, fix)
    if not stuck and not ledger.channels:
        yield Finding("outbox", Level.OK, f"no backlog; {ledger.messages_due} message(s) due now")


def _report_channel(name: str, one: FailingChannel) -> Finding:
    """Report a channel whose last attempt failed, also between two times at which its circuit is open."""
    if one.gone_at is not None:
        says = f"channel {name}: its receiver has refused all messages since {_at(one.gone_at)}: {one.error}"
        fix = "take it out of the rule; or, once it accepts messages again, run: segwatch alert replay"
        return Finding("outbox", Level.WRONG, says, fix)
    state = "" if one.open_until is None else f"circuit open until {_at(one.open_until)} after "
    since = "ever" if one.delivered_at is None else f"since {_at(one.delivered_at)}"
    says = (
        f"channel {name}: {state}{one.failures} failure(s) in a row, the last at {_at(one.failed_at)}; nothing was "
        f"delivered {since}: {one.error}"
    )
    # a few failures may be a receiver that restarts
    level = Level.WRONG if one.failures >= BREAKER_FAILURES else Level.NOTE
    fix = "correct the receiver or its address; pending messages are retried and sent once it works"
    return Finding("outbox", level, says, fix)


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
