"""Clean the log records of every process: one line of limited length, without secrets and control characters.

Ids of items, titles of events and messages of servers come from outside, and HTTP clients log whole URLs at level
DEBUG. Records are cleaned when they are created, so that every handler, including Prefect's, sees only clean ones.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any

from segwatch.geo.text.printable import MAX_MESSAGE_CHARS, sanitize, to_safe_lines
from segwatch.geo.text.redaction import redact

_MAX_TRACEBACK = 20_000
#: Logger whose formatter takes the parts of a request from ``args``.
_NEEDS_ARGUMENTS = "uvicorn.access"


class _Factory:
    """Record factory that cleans the records of the previous factory."""

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._make(*args, **kwargs)
        if record.name == _NEEDS_ARGUMENTS and isinstance(record.args, tuple):
            record.args = tuple(sanitize(one) if isinstance(one, str) else one for one in record.args)
            return record
        try:
            message = record.getMessage()
        except Exception:  # the handler reports that the arguments do not fit the format
            return record
        record.msg, record.args = sanitize(message, MAX_MESSAGE_CHARS), ()
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = _format_traceback(record.exc_info[1])
        if record.stack_info:
            record.stack_info = to_safe_lines(redact(record.stack_info))
        return record


def _format_traceback(error: BaseException) -> str:
    """Format a traceback with all lines but the first indented, so that no line can pass for a record."""
    text = "".join(traceback.format_exception(error)).rstrip("\n")
    return to_safe_lines(redact(text[-_MAX_TRACEBACK:]))


def print_traceback(error: BaseException) -> None:
    """Print the traceback of an unexpected error on standard error."""
    print(_format_traceback(error), file=sys.stderr)  # noqa: T201


def clean_log_records() -> None:
    """Clean every record that this process creates from now on. Repeating it changes nothing."""
    before = logging.getLogRecordFactory()
    if not isinstance(before, _Factory):
        logging.setLogRecordFactory(_Factory(before))
