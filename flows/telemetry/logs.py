"""Logs as JSON lines for a log store: with the run, the watch and the flow, and one line per scene.

Consoles keep the lines that they have always had: JSON is written where ``SEGWATCH_LOGS=json``. Records are cleaned
where they are created (:mod:`segwatch.flows.runtime.logs`), so that JSON lines hold no secrets either.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict

#: Logger of segwatch's own packages.
_OWN = "segwatch"


def _add_traceback(_: Any, __: str, event: EventDict) -> EventDict:
    """Take the cleaned traceback of the record, never the exception itself."""
    event.pop("exc_info", None)
    record = event.get("_record")
    if record is not None and record.exc_text:
        event["exception"] = record.exc_text
    return event


class _JsonFormatter(structlog.stdlib.ProcessorFormatter):
    """Formats every record as one line of JSON."""

    def __init__(self) -> None:
        super().__init__(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.add_log_level,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                _add_traceback,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=str),
            ],
        )


def write_json() -> None:
    """Write every record that goes to a stream as a line of JSON, those of segwatch from level INFO on.

    Handlers that write elsewhere, to files or to Prefect's server, stay as they are. Repeating it changes only what was
    set up since.
    """
    root = logging.getLogger()
    others = [one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    for logger in (root, *others):
        for handler in list(logger.handlers):
            if _writes_stream(handler):
                logger.removeHandler(handler)
                logger.addHandler(_make_handler(cast("logging.StreamHandler[TextIO]", handler)))
    own = logging.getLogger(_OWN)
    if not root.handlers and not own.handlers:
        root.addHandler(_make_handler(logging.StreamHandler()))
    if own.getEffectiveLevel() > logging.INFO:
        own.setLevel(logging.INFO)


def is_json() -> bool:
    """Tell whether :func:`write_json` was called: any record of segwatch reaches a handler that writes JSON."""
    logger: logging.Logger | None = logging.getLogger(_OWN)
    while logger is not None:
        if any(isinstance(one.formatter, _JsonFormatter) for one in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def _writes_stream(handler: logging.Handler) -> bool:
    return (
        isinstance(handler, logging.StreamHandler)
        and not isinstance(handler, logging.FileHandler)
        and not isinstance(handler.formatter, _JsonFormatter)
    )


def _make_handler(before: logging.StreamHandler[TextIO]) -> logging.Handler:
    made = logging.StreamHandler(before.stream)
    made.setLevel(before.level)
    for one in before.filters:
        made.addFilter(one)
    made.setFormatter(_JsonFormatter())
    return made


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Add fields to every JSON line of the block, in this thread."""
    with structlog.contextvars.bound_contextvars(
        **{name: one for name, one in fields.items() if one is not None}
    ):
        yield
