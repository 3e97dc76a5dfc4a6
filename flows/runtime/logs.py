"""Logs of every process: a record is one line of bounded length, without secrets, whoever writes it.

Ids of items, titles of events and words of servers come from outside, and the HTTP clients log whole addresses at level
DEBUG. Records are cleaned where they are made, so that no handler, Prefect's among them, sees anything else.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any

from segwatch.geo.text.printable import MAX_MESSAGE, clean, lines
from segwatch.geo.text.redaction import redacted

_MAX_TRACEBACK = 20_000
#: Its formatter takes the parts of a request from ``args``.
_NEEDS_ARGUMENTS = "uvicorn.access"


class _Factory:
    """Makes records as the factory before it does, and cleans them."""

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._make(*args, **kwargs)
        if record.name == _NEEDS_ARGUMENTS and isinstance(record.args, tuple):
            record.args = tuple(clean(one) if isinstance(one, str) else one for one in record.args)
            return record
        try:
            said = record.getMessage()
        except Exception:  # the record's own handler says that its arguments do not fit
            return record
        record.msg, record.args = clean(said, MAX_MESSAGE), ()
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = _traceback(record.exc_info[1])
        if record.stack_info:
            record.stack_info = lines(redacted(record.stack_info))
        return record


def _traceback(error: BaseException) -> str:
    """All lines but the first indented: what an exception quotes cannot pass for a record."""
    told = "".join(traceback.format_exception(error)).rstrip("\n")
    return lines(redacted(told[-_MAX_TRACEBACK:]))


def print_traceback(error: BaseException) -> None:
    """On standard error, for a command that met what it did not expect."""
    print(_traceback(error), file=sys.stderr)  # noqa: T201


def install() -> None:
    """Clean every record that is made from now on in this process. Doing it twice changes nothing."""
    before = logging.getLogRecordFactory()
    if not isinstance(before, _Factory):
        logging.setLogRecordFactory(_Factory(before))
