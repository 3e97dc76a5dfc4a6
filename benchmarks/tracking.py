"""Tracking: quality on simulated worlds, false changes of unchanged ground, cost over a history, assessments."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from segwatch.benchmarks import tracking_assessment, tracking_invariance, tracking_quality, tracking_scale


def run(*, quick: bool, device: str) -> dict[str, float | int]:
    """Measure quality, invariance, scale and assessment, each in the module ``segwatch.benchmarks.tracking_NAME``.

    Quality and invariance hold no times, and run beside each other; scale is timed, and runs alone.
    """
    del device  # all on the CPU
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        running_quality = executor.submit(tracking_quality.run, quick=quick)
        running_invariance = executor.submit(tracking_invariance.run, quick=quick)
        quality, invariance = running_quality.result(), running_invariance.result()
    return quality | invariance | tracking_scale.run(quick=quick) | tracking_assessment.run(quick=quick)
