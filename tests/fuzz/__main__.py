"""``python -m tests.fuzz --inputs 20000``: one line for each parser, and at the end a JSON object."""

from __future__ import annotations

import argparse
import faulthandler
import json
import subprocess
import sys
import traceback
from dataclasses import asdict

from tests.fuzz.campaign import run
from tests.fuzz.parsers import PARSERS
from tests.support.paths import ROOT

#: A parser that does not come back from one document is ended; all documents of a run take minutes.
_MAX_RUN_SECONDS = 3 * 3600


def main() -> int:
    """Fuzz every parser in a process of its own; 1 if one fails."""
    names = [one.name for one in PARSERS]
    options = argparse.ArgumentParser(prog="tests.fuzz", description=main.__doc__)
    options.add_argument("--inputs", type=int, default=20_000, help="documents for each parser (default: 20000)")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--parser", choices=names, action="append", help="only this one; may be repeated")
    options.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.alone:
        return _run_alone(given.parser[0], given.inputs, given.seed)
    failed, tried = [], 0
    for name in given.parser or names:
        done = subprocess.run(
            [
                sys.executable, "-m", "tests.fuzz", "--alone", "--parser", name, "--inputs", str(given.inputs),
                "--seed", str(given.seed),
            ],
            cwd=ROOT, capture_output=True, text=True, timeout=_MAX_RUN_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            failed.append(name)
            sys.stdout.write(f"{name}\tfailed, status {done.returncode}\n{done.stdout[-6000:]}{done.stderr[-2000:]}\n")
        else:
            sys.stdout.write(done.stdout)
            tried += int(json.loads(done.stdout.splitlines()[-1].partition("\t")[2])["inputs"])
        sys.stdout.flush()
    parsers = len(given.parser or names)
    sys.stdout.write(json.dumps({"parsers": parsers, "inputs": tried, "seed": given.seed, "failed": failed}) + "\n")
    return 1 if failed else 0


def _run_alone(name: str, inputs: int, number: int) -> int:
    (parser,) = (one for one in PARSERS if one.name == name)
    # what C code never returns from leaves a trace, too
    faulthandler.dump_traceback_later(_MAX_RUN_SECONDS - 60, exit=True)
    try:
        tally = run(parser, inputs, number)
    except BaseException:  # groups of several failures among them
        traceback.print_exc(file=sys.stdout)
        return 1
    sys.stdout.write(f"{name}\t{json.dumps(asdict(tally))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
