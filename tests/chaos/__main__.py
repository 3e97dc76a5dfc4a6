"""``python -m tests.chaos --scenes 500 --faults 300 --seed 1``: the last line of output is a JSON object."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import asdict

from tests.chaos.trial import run_trial


def main() -> int:
    """Run a trial; 1 if the ledger under faults differs from the undisturbed one."""
    parser = argparse.ArgumentParser(prog="tests.chaos", description=main.__doc__)
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument(
        "--watches", type=int, default=0, help="watches that the scenes belong to; default: one for 50 scenes"
    )
    parser.add_argument("--minutes", type=float, default=40.0, help="no fault comes after half of this time")
    parser.add_argument("--without-prefect", action="store_true", help="start no Prefect server")
    options = parser.parse_args()
    # whoever ends the trial ends its workers and services, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    outcome = run_trial(
        scenes=options.scenes,
        faults=options.faults,
        seed=options.seed,
        workers=options.workers,
        watches=options.watches or max(1, options.scenes // 50),
        minutes=options.minutes,
        prefect=not options.without_prefect,
        say=lambda line: print(line, flush=True),  # noqa: T201
    )
    sys.stdout.write(json.dumps(asdict(outcome) | {"is_equal": outcome.is_equal}) + "\n")
    return 0 if outcome.is_equal else 1


if __name__ == "__main__":
    sys.exit(main())
