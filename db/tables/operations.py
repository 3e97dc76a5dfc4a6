"""Operations: runs, circuits, mutexes, tokens, database users, trials, announcements, and what the work cost."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Double,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from segwatch.db.tables.columns import identity, metadata, string, time

#: Runs of flows, those of the last days included.
run = Table(
    "run",
    metadata,
    identity(),
    string("flow"),
    #: null = all watches
    string("watch", nullable=True),
    #: what only one run may work on at a time
    string("subject", nullable=True),
    #: host and process id
    string("worker"),
    #: null = run without Prefect
    Column("flow_run_id", UUID(as_uuid=True), nullable=True),
    time("started_at", now=True),
    time("heartbeat_at", now=True),
    time("lease_until"),
    time("ended_at", nullable=True),
    #: completed, failed, stopped or lost
    string("outcome", nullable=True),
    #: when the lost run was reported to Prefect
    time("reported_at", nullable=True),
    CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name="run_ended"),
    Index("run_alone_ix", "subject", unique=True, postgresql_where=text("ended_at IS NULL")),
    Index("run_flow_run_ix", "flow_run_id"),
    Index("run_ended_ix", "ended_at"),
)

#: Circuit breakers of hosts and credentials, shared by all workers so that an outage is found once.
circuit = Table(
    "circuit",
    metadata,
    Column("name", Text, primary_key=True),
    #: failures in a row; 0 = closed
    Column("failures", Integer, nullable=False, server_default="0"),
    time("opened_at", nullable=True),
    #: when one scene may probe it
    time("retry_at", nullable=True),
    #: the worker that probes it, and how long others wait for the outcome
    string("probe_worker", nullable=True),
    time("probe_until", nullable=True),
    string("error", nullable=True),
    #: when it last closed
    time("closed_at", nullable=True),
    #: until then the worker that probes counts as alive, unless it renews that
    time("probe_alive_until", nullable=True),
    CheckConstraint("(failures = 0) = (retry_at IS NULL)", name="circuit_open"),
)

#: Rows to lock for work that only one session may do at a time.
mutex = Table("mutex", metadata, Column("name", Text, primary_key=True))

#: Access tokens for HTTP; of the secret only a digest is stored.
access_token = Table(
    "access_token",
    metadata,
    Column("id", Text, primary_key=True),
    string("name"),
    #: SHA-256
    Column("digest", LargeBinary, nullable=False),
    #: null = all, also future ones
    Column("watches", ARRAY(Text)),
    Column("scopes", ARRAY(Text), nullable=False),
    time("created_at", now=True),
    time("expires_at", nullable=True),
    time("revoked_at", nullable=True),
    #: to the minute; null = never
    time("last_used_at", nullable=True),
    CheckConstraint("octet_length(digest) = 32", name="access_token_digest"),
    Index("access_token_name_ix", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
)

#: Logins of people who read with SQL. A login without a row here, such as one that an administrator made, may read all.
database_user = Table(
    "database_user",
    metadata,
    Column("name", Text, primary_key=True),
    #: null = all, also future ones
    Column("watches", ARRAY(Text)),
    #: whether names of reviewers and of people who mark alerts are shown
    Column("shows_names", Boolean, nullable=False),
    time("created_at", now=True),
)

#: Announcements of new items by catalogs, those of the last days: a repeated one requests nothing.
announcement = Table(
    "announcement",
    metadata,
    identity(),
    time("received_at", now=True),
    Index("announcement_received_ix", "received_at"),
)

#: Watches whose catalog announced new items since its last search; at most one row for each watch.
discovery_request = Table(
    "discovery_request",
    metadata,
    Column("watch_name", Text, primary_key=True),
    #: when the last announcement came in
    time("requested_at", now=True),
    #: announcements since the last search
    Column("announcements", Integer, nullable=False, server_default="1"),
    #: id of the item that was announced last
    string("item_id"),
    #: no other run is started until then; null = nobody took it
    time("taken_until", nullable=True),
    #: times that it was taken without a search that succeeded
    Column("attempts", Integer, nullable=False, server_default="0"),
)

#: Instructions tried on one scene without a watch; rows are deleted when they expire.
trial = Table(
    "trial",
    metadata,
    identity(),
    #: name of the token or user that asked for it
    string("reader"),
    #: id of the source, as the HTTP API names it
    string("source"),
    #: the watch that the trial stands for, which is not stored
    Column("definition", JSONB, nullable=False),
    #: only scenes acquired until then are tried; null = until it runs
    time("until", nullable=True),
    string("state"),
    time("requested_at", now=True),
    time("expires_at"),
    time("started_at", nullable=True),
    time("finished_at", nullable=True),
    #: host and process id of the run that works on it
    string("worker", nullable=True),
    time("lease_until", nullable=True),
    #: times that a worker took it
    Column("attempts", Integer, nullable=False, server_default="0"),
    #: what the worker is doing
    string("stage", nullable=True),
    Column("tiles_done", Integer, nullable=True),
    Column("tiles", Integer, nullable=True),
    #: why it failed
    string("reason", nullable=True),
    #: scene, model, totals, cost and polygons
    Column("result", JSONB, nullable=True),
    #: JPEG of the scene with outlines
    Column("picture", LargeBinary, nullable=True),
    CheckConstraint("state IN ('queued', 'running', 'done', 'failed')", name="trial_state"),
    CheckConstraint("(state = 'done') = (result IS NOT NULL)", name="trial_done"),
    CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="trial_leased"),
    Index("trial_reader_ix", "reader", "requested_at"),
    Index("trial_expires_ix", "expires_at"),
)

#: What attempts at scenes have cost, summed as they end: by watch, month (UTC), model and outcome.
usage = Table(
    "usage",
    metadata,
    Column("watch_name", Text, primary_key=True),
    #: first day of the month, UTC
    Column("month", Date, primary_key=True),
    Column("model_version", Text, primary_key=True),
    #: observed, or why the attempt failed
    Column("outcome", Text, primary_key=True),
    Column("attempts", BigInteger, nullable=False),
    Column("compute_seconds", Double, nullable=False),
    Column("bytes_read", Double, nullable=False),
    #: observed ground
    Column("area_km2", Double, nullable=False),
)

#: How old scenes were when they raised alerts, as counts by upper limit of age.
alert_age = Table(
    "alert_age",
    metadata,
    Column("watch_name", Text, primary_key=True),
    #: seconds from acquisition to alert, the limit included; Infinity for the oldest
    Column("up_to_seconds", Double, primary_key=True),
    Column("alerts", BigInteger, nullable=False),
    #: sum of their ages
    Column("seconds", Double, nullable=False),
)
