"""Say in plain words how sure a series is of a change or object: in messages, feeds and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NOT_JUDGED = "not judged"
"""Words for what no observation has judged: the baseline, and what was recorded before segwatch judged."""
#: Confidence from which it is rounded to neither 0 % nor 100 %.
_ALMOST_SURE = 0.995


def describe_belief(row: Mapping[str, Any], *, status: str = "status") -> str:
    """Describe a belief, such as ``confirmed by 3 observations, 97 % sure``.

    Where the calibrated confidence is known, it stands beside the raw one: ``...; calibrated: 67 %``.

    Parameters
    ----------
    row
        Has ``confidence`` and perhaps ``confidence_calibrated`` (0..1), ``observations_for``, ``observations_against``
        and the status; a missing or null status means that nothing was judged.
    status
        Name of the field with the status: ``provisional``, ``confirmed`` or ``refuted``.
    """
    if row.get(status) is None:
        return NOT_JUDGED
    calibrated = row.get("confidence_calibrated")
    if calibrated is None or math.isnan(calibrated):  # tables write null as NaN
        return _describe(row, row[status])
    return f"{_describe(row, row[status])}; calibrated: {format_percent(calibrated)}"


def _describe(row: Mapping[str, Any], found: str) -> str:
    agree, disagree = row["observations_for"], row["observations_against"]
    percent = format_percent(row["confidence"])
    if found == "refuted":
        # another change may explain it, although no observation contradicts it
        by = f" by {_count(disagree)}" if disagree else ""
        return f"refuted{by}, {percent} likely" + (f"; {_count(agree)} for it" if agree else "")
    words = (
        f"confirmed by {_count(agree)}" if found == "confirmed" else f"provisional: {_count(agree)} so far"
    )
    return f"{words}, {percent} sure" + (f"; {_count(disagree)} against it" if disagree else "")


def format_percent(confidence: float) -> str:
    """Format a confidence as per cent; never as 0 % or 100 %, because observations do not make it certain."""
    if confidence >= _ALMOST_SURE:
        return "over 99 %"
    if confidence < 1 - _ALMOST_SURE:
        return "under 1 %"
    return f"{confidence:.0%}".replace("%", " %")


def _count(observations: int) -> str:
    return "one observation" if observations == 1 else f"{observations} observations"
