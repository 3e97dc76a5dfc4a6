"""A worker that carries some watches through every step, again and again, until it is killed.

``python -m tests.chaos.worker WATCH...``; with ``PREFECT_API_URL``, its segmenting runs report to that Prefect server.
"""

from __future__ import annotations

import os
import sys
import time

from segwatch.flows.config.settings import load_settings
from segwatch.flows.orchestration.in_process import run_in_process
from segwatch.flows.runtime.assemble import open_worker_engine
from segwatch.flows.segment import segment

_PAUSE_SECONDS = 0.2


def main(names: list[str]) -> None:
    """Work; an error ends a run, and the next one begins."""
    settings = load_settings()
    while True:
        for name in names:
            try:
                if "PREFECT_API_URL" in os.environ:
                    segment(name)
                with open_worker_engine(settings) as engine:
                    run_in_process(engine, settings, name)
            except Exception as error:
                sys.stderr.write(f"{name}: {type(error).__name__}: {error}\n")
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1:])
