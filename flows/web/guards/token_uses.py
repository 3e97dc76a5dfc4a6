"""Record when tokens are used, at most once a minute each, without holding up the requests that use them."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from segwatch.db import tokens
from segwatch.db.errors import describe_error

_log = logging.getLogger(__name__)
_EVERY_SECONDS = 60.0
_MAX_TOKENS = 10_000


class TokenUses:
    """Remembers which tokens were recorded lately; the least recently used are forgotten first.

    Parameters
    ----------
    engine
        Engine whose transactions are not read-only; the rights of the analyst are enough.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._recorded: OrderedDict[str, float] = OrderedDict()

    def record(self, given: str, name: str) -> None:
        """Record the use of a valid token. A failure is only logged: reading goes on where nothing can be written."""
        now = time.monotonic()
        if now - self._recorded.get(name, -_EVERY_SECONDS) < _EVERY_SECONDS:
            return
        self._recorded[name] = now
        self._recorded.move_to_end(name)
        while len(self._recorded) > _MAX_TOKENS:
            self._recorded.popitem(last=False)
        try:
            with self._engine.begin() as conn:
                tokens.record_use(conn, given)
        except SQLAlchemyError as error:
            _log.warning("the use of token %s could not be recorded: %s", name, describe_error(error))
