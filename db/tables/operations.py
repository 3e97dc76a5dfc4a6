"""What keeps work moving: runs, circuits, mutexes and access tokens."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, LargeBinary, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from segwatch.db.tables.columns import identity, metadata, string, time

#: Runs at work, and what became of those of the last days.
run = Table(
    "run",
    metadata,
    identity(),
    string("flow"),
    #: null = no watch in particular
    string("watch", nullable=True),
    #: what only one run at a time may work on
    string("subject", nullable=True),
    #: host and process id
    string("worker"),
    #: null = Prefect has no part in it
    Column("flow_run_id", UUID(as_uuid=True), nullable=True),
    time("started_at", now=True),
    time("heartbeat_at", now=True),
    time("lease_until"),
    time("ended_at", nullable=True),
    #: completed, failed, stopped or lost
    string("outcome", nullable=True),
    #: when Prefect was told that the run is lost
    time("reported_at", nullable=True),
    CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name="run_ended"),
    Index("run_alone_ix", "subject", unique=True, postgresql_where=text("ended_at IS NULL")),
    Index("run_flow_run_ix", "flow_run_id"),
    Index("run_ended_ix", "ended_at"),
)

#: Hosts and credentials that failed: shared by all workers, so that an outage is found once and not by every scene.
circuit = Table(
    "circuit",
    metadata,
    Column("name", Text, primary_key=True),
    #: in a row; 0 = closed
    Column("failures", Integer, nullable=False, server_default="0"),
    time("opened_at", nullable=True),
    #: then one scene is tried
    time("retry_at", nullable=True),
    #: the worker that tries it, and until when it is waited for
    string("probe_worker", nullable=True),
    time("probe_until", nullable=True),
    string("error", nullable=True),
    #: the last time that it closed
    time("closed_at", nullable=True),
    CheckConstraint("(failures = 0) = (retry_at IS NULL)", name="circuit_open"),
)

#: Rows that are locked where only one session may do something at a time.
mutex = Table("mutex", metadata, Column("name", Text, primary_key=True))

#: Who may read over HTTP, and do more. Of the secret a digest is kept alone.
access_token = Table(
    "access_token",
    metadata,
    Column("id", Text, primary_key=True),
    string("name"),
    #: SHA-256
    Column("digest", LargeBinary, nullable=False),
    #: null = all, those that come later too
    Column("watches", ARRAY(Text)),
    Column("scopes", ARRAY(Text), nullable=False),
    time("created_at", now=True),
    time("expires_at", nullable=True),
    time("revoked_at", nullable=True),
    CheckConstraint("octet_length(digest) = 32", name="access_token_digest"),
    Index("access_token_name_ix", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
)
