"""One worker of one machine: ``python -m tests.support.machine VERSION``; drains once ``go`` comes on its input.

``VERSION`` is ``now``, or ``before`` for a worker whose code lacks the newest migration. Settings come from the
environment. Its last line of output is a JSON list of the scenes that it did, by acquisition.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

from segwatch.db import compatibility, migrate
from segwatch.flows.config.settings import load_settings
from segwatch.flows.inference.drain import drain
from segwatch.flows.inference.outcomes import DrainCounts
from segwatch.flows.inference.segmenters import Prediction, Tiles
from segwatch.flows.runtime.assemble import open_run_engine
from segwatch.flows.telemetry.scenes import SceneReport
from tests.support.colour_segmenter import Well

#: Of one batch of tiles; every machine comes to its turn.
_SECONDS = 0.2


class SlowWell(Well):
    """Answers as well, and takes a while."""

    def segment(self, tiles: Tiles, instructions: Sequence[str]) -> list[list[Prediction]]:
        """See :class:`segwatch.flows.inference.segmenters.Segmenter`."""
        time.sleep(_SECONDS)
        return super().segment(tiles, instructions)


def _read_code_before() -> compatibility.CodeVersion:
    """The version of code that lacks the newest migration."""
    revisions = migrate.list_revisions()[:-1]
    return compatibility.CodeVersion(revisions[-1], frozenset(revisions))


def main(version: str) -> None:
    """Work, and say what was done."""
    if version == "before":
        compatibility.read_code_version = _read_code_before
    settings, done = load_settings(), list[str]()

    def add(report: SceneReport, _: DrainCounts) -> None:
        done.append(report.acquired_at.isoformat())

    with open_run_engine(settings) as engine:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        drain(engine, settings, on_scene=add)
    sys.stdout.write(json.dumps(done) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
