"""Retry HTTP requests with exponential back-off: one loop for catalog requests and range requests.

See ``docs/adr/0007-own-range-reader.md`` for the libraries that were weighed.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how fast a request is retried."""

    max_attempts: int
    back_off_seconds: float
    """Mean wait before the first retry; doubled before each further one, with a jitter of 50 percent."""
    max_wait_seconds: float
    """Longest single wait. A server that asks for more (``Retry-After``) is not retried."""

    def compute_wait(self, attempt: int, retry_after_seconds: float) -> float:
        """Compute the wait in seconds after a failed attempt (counted from 1)."""
        jitter = random.uniform(0.5, 1.5)  # noqa: S311 - spreads retries, not used for security
        back_off: float = self.back_off_seconds * 2 ** (attempt - 1) * jitter
        return min(self.max_wait_seconds, max(retry_after_seconds, back_off))


@dataclass(frozen=True, slots=True)
class Transient:
    """A failure that a retry may cure."""

    reason: str
    retry_after_seconds: float = 0.0
    """Delay that the server asks for."""
    max_attempts: int | None = None
    """Fewer attempts than the policy allows; None = those of the policy."""


class RetriesExhausted(Exception):
    """A transient failure lasted through all attempts."""

    def __init__(self, failure: Transient, attempts: int, error: Exception) -> None:
        super().__init__(f"{failure.reason} ({attempts} attempts)")
        self.failure = failure
        self.error = error
        """Exception of the last attempt."""


def call_with_retries(
    call: Callable[[], T],
    policy: RetryPolicy,
    classify: Callable[[Exception], Transient | None],
    *,
    name: str,
    until: float = math.inf,
) -> T:
    """Call a function until it succeeds, fails for good or runs out of attempts or time.

    Parameters
    ----------
    classify
        Tells whether an exception is transient; None = it is raised at once.
    name
        What is requested, for the log.
    until
        Deadline on the monotonic clock: no attempt starts and no wait lasts beyond it.

    Raises
    ------
    RetriesExhausted
        The last attempt failed with a transient error.
    """
    attempt = 1
    while True:
        try:
            return call()
        except Exception as error:
            failure = classify(error)
            if failure is None:
                raise
            max_attempts = min(policy.max_attempts, failure.max_attempts or policy.max_attempts)
            waits_too_long = failure.retry_after_seconds > policy.max_wait_seconds
            if attempt >= max_attempts or waits_too_long or time.monotonic() >= until:
                raise RetriesExhausted(failure, attempt, error) from error
        wait = policy.compute_wait(attempt, failure.retry_after_seconds)
        _log.info("%s: %s; next attempt in %.1f s", name, failure.reason, wait)
        time.sleep(max(0.0, min(wait, until - time.monotonic())))
        attempt += 1
