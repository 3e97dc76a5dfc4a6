"""``python -m tests.fuzz --inputs 20000``: one line for each parser, and at the end a JSON object."""

from __future__ import annotations

import argparse
import faulthandler
import json
import multiprocessing
import sys
import tempfile
import traceback
from dataclasses import asdict
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz.campaign import Parser, run
from tests.fuzz.parsers import PARSERS

#: A parser that does not come back from one document is ended; all documents of a run take minutes.
_MAX_RUN_SECONDS = 3 * 3600


def main() -> int:
    """Fuzz every parser in a process of its own; 1 if one fails."""
    names = [one.name for one in PARSERS]
    options = argparse.ArgumentParser(prog="tests.fuzz", description=main.__doc__)
    options.add_argument(
        "--inputs", type=int, default=20_000, help="documents for each parser (default: 20000)"
    )
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--parser", choices=names, action="append", help="only this one; may be repeated")
    given = options.parse_args()
    chosen = [one for one in PARSERS if one.name in (given.parser or names)]
    # Hypothesis reads the project's files for constants once in a process, which takes longer than some runs
    run(Parser("nothing", "nothing", lambda _: None, st.integers()), 1, given.seed)
    failed, tried = [], 0
    for parser in chosen:
        status, said = _run_apart(parser, given.inputs, given.seed)
        if status:
            failed.append(parser.name)
            sys.stdout.write(f"{parser.name}\tfailed, status {status}\n{said}\n")
        else:
            sys.stdout.write(f"{parser.name}\t{said}\n")
            tried += int(json.loads(said)["inputs"])
        sys.stdout.flush()
    sys.stdout.write(
        json.dumps({"parsers": len(chosen), "inputs": tried, "seed": given.seed, "failed": failed}) + "\n"
    )
    return 1 if failed else 0


def _run_apart(parser: Parser, inputs: int, number: int) -> tuple[int, str]:
    """Run in a process that is forked, as importing everything takes longer than some runs; its status and output."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        child = multiprocessing.get_context("fork").Process(target=_run, args=(parser, inputs, number, said))
        child.start()
        child.join()
        return child.exitcode or 0, said.read_text(encoding="utf-8")


def _run(parser: Parser, inputs: int, number: int, said: Path) -> None:
    with said.open("w", encoding="utf-8", errors="replace") as out:
        # a crash, or C code that never returns, leaves a trace, too
        faulthandler.enable(out)
        faulthandler.dump_traceback_later(_MAX_RUN_SECONDS, exit=True, file=out)
        try:
            tally = run(parser, inputs, number)
        except BaseException:  # groups of several failures among them
            out.write(traceback.format_exc()[-8000:])
            out.flush()
            sys.exit(1)
        out.write(json.dumps(asdict(tally)))


if __name__ == "__main__":
    sys.exit(main())
