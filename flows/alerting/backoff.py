"""When a delivery is tried again, and how long the circuit of a failing channel stays open.

Attempts and open circuits are rows of the ledger, because they must outlive the process that failed; this module only
computes durations (docs/adr/0013-retries-and-circuits-in-the-ledger.md).
"""

from __future__ import annotations

import random

_MAX_RETRY_SECONDS = 3600.0
#: First opening of a channel's circuit, as a multiple of a message's first back-off.
_CIRCUIT_FACTOR = 6.0


def compute_retry_seconds(first_seconds: float, attempts: int) -> float:
    """Draw the back-off after a failed attempt: exponential, at most an hour, with jitter.

    Parameters
    ----------
    first_seconds
        Back-off after the first failure, without jitter.
    attempts
        Failed attempts so far.
    """
    longest: float = min(_MAX_RETRY_SECONDS, first_seconds * 2.0 ** min(attempts, 30))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311


def compute_circuit_seconds(first_seconds: float) -> float:
    """Return how long a channel's circuit opens after its first failure; the ledger doubles it for further ones."""
    return _CIRCUIT_FACTOR * first_seconds
