"""One report per scene that a worker has finished with: outcomes, times and counts."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from segwatch.db.usage import AttemptOutcome
from segwatch.geo.text.printable import sanitize
from segwatch.geo.types.scene import Scene

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one observation of the scene."""

    watch: str
    outcome: AttemptOutcome
    reason: str = ""
    """Why it was not observed."""
    compute_seconds: float = 0.0
    bytes_read: float = 0.0
    """Its share of what was read for all instructions of the scene."""
    polygons: int = 0


@dataclass(slots=True)
class SceneReport:
    """A scene while a worker works on it, and after; the worker adds the attempts."""

    scene: str
    """Key of the scene."""
    acquired_at: datetime
    begun: float = field(default_factory=time.monotonic)
    """When it was leased (monotonic)."""
    attempts: list[Attempt] = field(default_factory=list)
    seconds: float = 0.0
    """From the lease to the end; the reading of a scene overlaps the work on the one before."""

    @classmethod
    def of(cls, scene: Scene) -> SceneReport:
        """Begin the report of a leased scene."""
        return cls(sanitize(scene.key), scene.acquired_at)

    @property
    def watches(self) -> list[str]:
        """Names of the watches, sorted."""
        return sorted({one.watch for one in self.attempts})

    @property
    def outcomes(self) -> dict[str, int]:
        """Observations by outcome."""
        return dict(Counter(one.outcome.value for one in self.attempts))

    @property
    def compute_seconds(self) -> float:
        """Time in segmenters, seconds."""
        return sum(one.compute_seconds for one in self.attempts)

    @property
    def bytes_read(self) -> float:
        """Bytes of imagery received."""
        return sum(one.bytes_read for one in self.attempts)

    @property
    def polygons(self) -> int:
        """Polygons found."""
        return sum(one.polygons for one in self.attempts)

    @property
    def reason(self) -> str:
        """First reason why an observation was not made; empty if all were."""
        return next((one.reason for one in self.attempts if one.reason), "")

    def end(self) -> None:
        """Take the time."""
        self.seconds = time.monotonic() - self.begun

    def fields(self) -> dict[str, Any]:
        """Return the fields of its log line; times in seconds, rounded to milliseconds."""
        return dict(self._list_fields())

    def _list_fields(self) -> Iterator[tuple[str, Any]]:
        yield "scene", self.scene
        yield "watches", self.watches
        yield "acquired_at", self.acquired_at.isoformat()
        yield "age_seconds", round((datetime.now(UTC) - self.acquired_at).total_seconds())
        yield "outcomes", self.outcomes
        yield "seconds", round(self.seconds, 3)
        yield "compute_seconds", round(self.compute_seconds, 3)
        yield "bytes_read", round(self.bytes_read)
        yield "polygons", self.polygons
        if self.reason:
            yield "reason", sanitize(self.reason)

    def log(self) -> None:
        """Write the one line of the scene, where logs are JSON."""
        _log.info("scene done", extra=self.fields())
