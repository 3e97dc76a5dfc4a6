"""Take away what no history needs once it is old: content of sent messages, pixels of superseded observations.

Never taken away is what a view shows of the past, what a late scene folds again, or what a later message continues:
observations, detections, tracks and their states, changes, judgements, alerts, the last message about an alert on each
channel, and the chips of observations in force. Rows are taken in batches, each a transaction; messages
and observations that somebody else holds are left to the next time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, Engine, TextClause, text

#: Rows of one transaction.
BATCH = 1000

#: Sent messages that no later one continues: digests, tests, and those that a further message about the alert on the
#: channel followed. The first message about an alert stays, as an escalation repeats it.
_MESSAGES = """
    FROM segwatch.delivery d
    WHERE d.state = 'delivered' AND d.payload <> '{}'
      AND d.delivered_at < clock_timestamp() - CAST(:age AS interval)
      AND (d.alert_id IS NULL OR d.ordinal > 0 AND EXISTS (
              SELECT 1 FROM segwatch.delivery n
              WHERE n.alert_id = d.alert_id AND n.channel = d.channel AND n.ordinal > d.ordinal))
"""
_SUPERSEDED = """
    JOIN segwatch.observation o ON o.id = c.observation_id
    WHERE o.superseded_at < clock_timestamp() - CAST(:age AS interval)
"""
#: Chips by which nothing is registered any more. A series that took over another refers to chips of the earlier one.
_CHIPS = f"""
    FROM segwatch.observation_chip c {_SUPERSEDED}
      AND NOT EXISTS (SELECT 1 FROM segwatch.series_reference r WHERE r.observation_id = c.observation_id)
"""  # noqa: S608 - a part of this file
#: Spectral indices of observations that a later version of the scene replaced.
_CELLS = f"FROM segwatch.index_cells c {_SUPERSEDED}"
#: Pictures of observations that raised no alert, and that nobody is asked to label.
_QUICKLOOKS = """
    FROM segwatch.observation o
    WHERE o.evidence IS NOT NULL AND o.committed_at < clock_timestamp() - CAST(:age AS interval)
      AND NOT EXISTS (SELECT 1 FROM segwatch.change c JOIN segwatch.alert a ON a.change_id = c.id
                      WHERE c.observation_id = o.id)
      AND NOT EXISTS (SELECT 1 FROM segwatch.assessment_sample s
                      WHERE s.after_scene = o.scene_id OR s.before_scene = o.scene_id)
"""
_COUNT_MESSAGES = text(f"SELECT count(*) {_MESSAGES}")
_EMPTY_MESSAGES = text(
    f"""
    UPDATE segwatch.delivery SET payload = '{{}}'
    WHERE id IN (SELECT d.id {_MESSAGES} LIMIT :batch FOR UPDATE OF d SKIP LOCKED)
    """  # noqa: S608 - parts of this file
)
_COUNT_CHIPS = text(f"SELECT count(*) {_CHIPS}")
_DROP_CHIPS = text(
    f"""
    DELETE FROM segwatch.observation_chip
    WHERE ctid = ANY (ARRAY(SELECT c.ctid {_CHIPS} LIMIT :batch))
    """  # noqa: S608 - parts of this file
)
_COUNT_CELLS = text(f"SELECT count(*) {_CELLS}")
_DROP_CELLS = text(
    f"""
    DELETE FROM segwatch.index_cells
    WHERE observation_id IN (SELECT c.observation_id {_CELLS} LIMIT :batch)
    """  # noqa: S608 - parts of this file
)
_COUNT_QUICKLOOKS = text(f"SELECT count(*) {_QUICKLOOKS}")
_TAKE_QUICKLOOKS = text(
    f"SELECT o.id, o.evidence {_QUICKLOOKS} ORDER BY o.committed_at LIMIT :batch FOR UPDATE OF o SKIP LOCKED"
)
_FORGET_QUICKLOOKS = text(
    "UPDATE segwatch.observation SET evidence = NULL WHERE id = ANY(CAST(:ids AS uuid[]))"
)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long each is kept; None = for ever."""

    messages: timedelta | None
    """Content of sent messages, from their delivery on."""
    superseded: timedelta | None
    """Chips and spectral indices of observations, from when a later version of the scene replaced them."""
    quicklooks: timedelta | None
    """Quicklooks of observations without alert, from when they were committed."""


@dataclass(slots=True)
class Pruned:
    """What was, or would be, taken away."""

    messages: int = 0
    """Sent messages whose content goes; their rows stay."""
    chips: int = 0
    index_cells: int = 0
    """Observations whose spectral indices go."""
    quicklooks: int = 0

    def __str__(self) -> str:
        return (
            f"content of {self.messages} sent message(s), {self.chips} chip(s) and spectral indices of "
            f"{self.index_cells} superseded observation(s), {self.quicklooks} quicklook(s)"
        )


def count_prunable(conn: Connection, kept: Retention) -> Pruned:
    """Count what :func:`prune` would take away now."""

    def count(statement: TextClause, age: timedelta | None) -> int:
        return 0 if age is None else int(conn.execute(statement, {"age": age}).scalar_one())

    return Pruned(
        count(_COUNT_MESSAGES, kept.messages),
        count(_COUNT_CHIPS, kept.superseded),
        count(_COUNT_CELLS, kept.superseded),
        count(_COUNT_QUICKLOOKS, kept.quicklooks),
    )


def prune(
    engine: Engine, kept: Retention, delete_file: Callable[[str], bool], *, batch: int = BATCH
) -> Pruned:
    """Take away what is older than it is kept; repeating it takes nothing more.

    Parameters
    ----------
    delete_file
        Deletes a quicklook by its path; False if it could not be deleted, so that the ledger goes on naming it.
    batch
        Maximum rows of one transaction.
    """
    done = Pruned()
    if kept.messages is not None:
        done.messages = _repeat(engine, _EMPTY_MESSAGES, kept.messages, batch)
    if kept.superseded is not None:
        done.chips = _repeat(engine, _DROP_CHIPS, kept.superseded, batch)
        done.index_cells = _repeat(engine, _DROP_CELLS, kept.superseded, batch)
    if kept.quicklooks is not None:
        done.quicklooks = _prune_quicklooks(engine, kept.quicklooks, delete_file, batch)
    return done


def _repeat(engine: Engine, statement: TextClause, age: timedelta, batch: int) -> int:
    total, taken = 0, batch
    while taken == batch:
        with engine.begin() as conn:
            taken = conn.execute(statement, {"age": age, "batch": batch}).rowcount
        total += taken
    return total


def _prune_quicklooks(engine: Engine, age: timedelta, delete_file: Callable[[str], bool], batch: int) -> int:
    """Delete quicklooks before the ledger forgets them, so that an interrupted run leaves none that nobody names."""
    total, taken, forgotten = 0, batch, batch
    while taken == batch and forgotten:
        with engine.begin() as conn:
            rows = conn.execute(_TAKE_QUICKLOOKS, {"age": age, "batch": batch}).all()
            gone = [row.id for row in rows if delete_file(row.evidence)]
            conn.execute(_FORGET_QUICKLOOKS, {"ids": gone})
        taken, forgotten = len(rows), len(gone)
        total += forgotten
    return total
