"""Judge work that does not move: lost runs, scenes that no worker takes, leases of couriers and trackers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from segwatch.db.stuck import StuckWork
from segwatch.flows.doctor.findings import Finding, Level

#: The next run of any deployment ends lost ones.
LOST_LATE = timedelta(minutes=5)
#: A worker of the gpu pool starts, loads its model and is through with what is more urgent.
IDLE_LATE = timedelta(hours=1)
#: A fold of years of scenes takes minutes.
FOLD_LATE = timedelta(minutes=30)
MESSAGES_LATE = timedelta(minutes=10)


def check(stuck: StuckWork, now: datetime) -> Iterator[Finding]:
    """What is stuck; nothing where all moves."""
    for run in stuck.lost_runs:
        if now - run.lease_until > LOST_LATE:
            yield Finding(
                "runs",
                Level.WRONG,
                f"the {run} sends no heartbeat any more",
                "its process was killed or stopped: start its worker again; the next run of any deployment ends it in "
                "Prefect, and takes over what it held",
            )
    yield from _idle(stuck, now)
    for series in stuck.held_series:
        if now - series.since > FOLD_LATE:
            yield Finding(
                "series",
                Level.WRONG,
                f"watch {series.watch}: session {series.pid} holds a series since {series.since:%Y-%m-%d %H:%M} UTC, "
                "and nothing of it is tracked meanwhile",
                f"see whether that tracker is at work; SELECT pg_terminate_backend({series.pid}) frees the series",
            )
    late = stuck.expired_since is not None and now - stuck.expired_since > MESSAGES_LATE
    if late and stuck.expired_since is not None:
        yield Finding(
            "outbox",
            Level.WRONG,
            f"{stuck.expired_messages} message(s) are held by a courier that is gone, since "
            f"{stuck.expired_since:%Y-%m-%d %H:%M} UTC",
            "the next deliver run sends them: see that the deployment deliver/deliver runs",
        )


def _idle(stuck: StuckWork, now: datetime) -> Iterator[Finding]:
    if stuck.segmenting:
        return
    for one in stuck.idle:
        if now - one.since > IDLE_LATE:
            yield Finding(
                "scenes",
                Level.WRONG,
                f"watch {one.watch}: {one.scenes} scene(s) wait since {one.since:%Y-%m-%d %H:%M} UTC, and no segment "
                "run is at work",
                f"start a worker of the gpu pool; by hand: segwatch run {one.watch}",
            )
