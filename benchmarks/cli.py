"""``segwatch-bench NAME [--quick]``: run one benchmark; the last line of output is a JSON object of its figures."""

from __future__ import annotations

import argparse
import importlib
import json
import sys

NAMES = (
    "model",
    "tracking",
    "imagery",
    "alerts",
    "export",
    "sql",
    "web",
    "migrate",
    "pipeline",
    "simulation",
)


def main(arguments: list[str] | None = None) -> None:
    """Run a benchmark by name and print its figures."""
    parser = argparse.ArgumentParser(prog="segwatch-bench", description=main.__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, under a minute on two cores")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args(arguments)
    benchmark = importlib.import_module(f"segwatch.benchmarks.{options.name}")
    figures = benchmark.run(quick=options.quick, device=options.device)
    sys.stdout.flush()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
