"""Check for stuck work: lost runs, scenes that no worker takes, series and messages that nobody releases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from segwatch.db.stuck import StuckWork
from segwatch.flows.doctor.findings import Finding, Level

#: The next run of any deployment ends lost runs.
MAX_LOST_DELAY = timedelta(minutes=5)
#: `track` runs every five minutes and starts a segment run; then its worker has to load the model.
MAX_IDLE_DELAY = timedelta(minutes=20)
#: Folding years of scenes takes minutes.
MAX_FOLD_DELAY = timedelta(minutes=30)
MAX_MESSAGE_DELAY = timedelta(minutes=10)


def check(stuck: StuckWork, now: datetime) -> Iterator[Finding]:
    """Report work that has been stuck for longer than its limit."""
    for run in stuck.lost_runs:
        if now - run.lease_until > MAX_LOST_DELAY:
            yield Finding(
                "runs",
                Level.WRONG,
                f"the {run} has stopped sending heartbeats",
                "its process was killed or stopped: start its worker again; the next run of any deployment marks it "
                "as crashed in Prefect and takes over its work",
            )
    yield from _check_idle(stuck, now)
    for series in stuck.held_series:
        if now - series.since > MAX_FOLD_DELAY:
            yield Finding(
                "series",
                Level.WRONG,
                f"watch {series.watch}: database session {series.pid} has locked a series since "
                f"{series.since:%Y-%m-%d %H:%M} UTC, so its observations are not tracked",
                f"find out whether that session still works; SELECT pg_terminate_backend({series.pid}) unlocks the "
                "series",
            )
    late = stuck.expired_since is not None and now - stuck.expired_since > MAX_MESSAGE_DELAY
    if late and stuck.expired_since is not None:
        yield Finding(
            "outbox",
            Level.WRONG,
            f"{stuck.expired_messages} message(s) are leased by a deliver run that is gone, since "
            f"{stuck.expired_since:%Y-%m-%d %H:%M} UTC",
            "the next deliver run sends them: make sure that the deployment deliver/deliver runs",
        )


def _check_idle(stuck: StuckWork, now: datetime) -> Iterator[Finding]:
    if stuck.segmenting:
        return
    for one in stuck.idle:
        late = now - one.since > MAX_IDLE_DELAY
        yield Finding(
            "scenes",
            Level.WRONG if late else Level.NOTE,
            f"watch {one.watch}: {one.scenes} scene(s) could be segmented since {one.since:%Y-%m-%d %H:%M} UTC, "
            "and no segment run is active",
            "the next run of track/track starts one, if a worker of each pool runs; "
            f"by hand: segwatch run {one.watch}",
        )
