"""Page of the metrics, from their definitions."""

from __future__ import annotations

from collections.abc import Iterable

from docs.generate.markdown import NOTICE, code, table
from segwatch.flows.telemetry.metrics import KEPT_SECONDS, LEDGER_METRICS, WORKER_METRICS, Metric

_INTRODUCTION = f"""# Metrics

What `/metrics` serves, in the text format of Prometheus; how to set it up is in [observe](../how-to/observe.md). Times
are seconds since 1970, UTC. Besides these, each process tells its own memory, CPU time and open files (`process_*`).

The ledger's metrics are read from the database at each scrape and kept for {KEPT_SECONDS:g} seconds. They are sums and
indexed counts, so their cost does not grow with the detections, and a restart loses nothing. The web server and every
run with `SEGWATCH_METRICS_PORT` serve the same: in queries, take `max by (watch)` over the instances.

"""


def page() -> str:
    """Return the page."""
    return (
        NOTICE
        + _INTRODUCTION
        + "## Of the ledger\n\n"
        + _list(LEDGER_METRICS)
        + "\n## Of a worker's run\n\n"
        + _list(WORKER_METRICS)
    )


def _list(metrics: Iterable[Metric]) -> str:
    rows = [(code(one.name), one.kind, ", ".join(map(code, one.labels)), one.words) for one in metrics]
    return table(("metric", "kind", "labels", "meaning"), rows)
