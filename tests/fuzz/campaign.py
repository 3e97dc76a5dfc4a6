"""Feed damaged documents to a parser: it accepts them, or refuses them with an error of its own, at a bounded cost."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

MAX_SECONDS = 2.0
"""Time of the processor for one document."""
MAX_MIB = 512
"""Memory for all documents of a run, beyond that of the valid ones."""


@dataclass(frozen=True)
class Parser:
    """A reader of something from outside."""

    name: str
    reads: str
    """What comes from outside, and from whom."""
    parse: Callable[[Any], object]
    inputs: SearchStrategy[Any]
    refusals: tuple[type[BaseException], ...] = ()
    """Its own errors, whose messages people can act on."""
    cost: int = 1
    """How many documents of the others cost as much as one of these: so many fewer are tried."""


@dataclass(slots=True)
class Tally:
    """What a run found."""

    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    slowest_seconds: float = 0.0
    memory_mib: float = 0.0


def run(parser: Parser, inputs: int, number: int, *, is_short: bool = False) -> Tally:
    """Try a number of documents.

    Parameters
    ----------
    number
        Seed.
    is_short
        Do not look for smaller documents that fail as well: a run that fails is then as short as others.

    Raises
    ------
    AssertionError
        A document took too long, or all of them together too much memory.
    BaseException
        What the parser raised that is none of its own errors.
    """
    tally = Tally()
    before = _measure_mib()

    def one(document: Any) -> None:
        began = time.process_time()
        try:
            parser.parse(document)
            tally.accepted += 1
        except parser.refusals:
            tally.refused += 1
        seconds = time.process_time() - began
        tally.inputs += 1
        if tally.inputs == 1:
            return  # the first one also imports what the parser needs
        tally.slowest_seconds = max(tally.slowest_seconds, seconds)
        assert seconds <= MAX_SECONDS, f"{parser.name} took {seconds:.1f} s"

    phases = [Phase.generate] if is_short else [Phase.generate, Phase.shrink]
    configured = settings(
        max_examples=max(1, inputs // parser.cost),
        database=None,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    seed(number)(configured(given(parser.inputs)(one)))()
    tally.memory_mib = _measure_mib() - before
    assert tally.memory_mib <= MAX_MIB, f"{parser.name} took {tally.memory_mib:.0f} MiB"
    return tally


def _measure_mib() -> float:
    """Measure the largest memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
