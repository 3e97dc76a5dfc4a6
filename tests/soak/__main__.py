"""``python -m tests.soak --minutes 20``: the last line of output is a JSON object; status 1 if anything leaks."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import asdict

from tests.soak.soak import run_soak


def main() -> int:
    """Run everything for a while, and report what grows, leaks or comes late."""
    parser = argparse.ArgumentParser(prog="tests.soak", description=main.__doc__)
    parser.add_argument(
        "--minutes", type=float, default=20.0, help="beside the time of starting and stopping"
    )
    parser.add_argument("--every", type=int, default=1, help="minutes from one run of the watch to the next")
    options = parser.parse_args()
    # whoever ends the soak ends its services, too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    outcome = run_soak(
        minutes=options.minutes,
        every=options.every,
        say=lambda line: print(line, flush=True),  # noqa: T201
    )
    sys.stdout.write(json.dumps(asdict(outcome) | {"is_sound": outcome.is_sound}) + "\n")
    return 0 if outcome.is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
