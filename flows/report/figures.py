"""The three figures of a briefing, with 95 % intervals where an assessment gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from segwatch.flows.report.exposure import Count
from segwatch.geo.assessment.intervals import add
from segwatch.geo.types.assessment import Accuracy, Estimate

_Z_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval, or why there is none."""

    low: float | None = None
    high: float | None = None
    reason: str = ""
    """Message of the catalogue, where there is no interval."""
    assessed_at: datetime | None = None
    mapped_m2: float | None = None
    """Area that was mapped when the sample was drawn."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the first page says in numbers."""

    extent_m2: float | None
    """Geodesic area that the targets cover now; None = nothing was observed."""
    extent: Interval
    gained: int
    """Objects that appeared, reappeared or grew."""
    gained_confirmed: int
    gains: Interval
    people: Count | None
    """None = not counted."""
    maximum_m2: float | None
    """Ground covered at any time; None = not known, or people are counted."""


def estimate_extent(accuracy: Accuracy, totals: Sequence[Mapping[str, Any]]) -> Interval:
    """Estimate the true area of all targets together; the samples of targets are independent.

    The estimate is of the map that was sampled, so :attr:`Interval.mapped_m2` says how much that one had mapped.
    """
    found = [accuracy.find(row["target"]) for row in totals]
    estimates = [one.area_m2 for one in found if one is not None and one.area_m2 is not None]
    reason = _explain_missing(accuracy, [row["target"] for row in totals], len(estimates))
    if reason:
        return Interval(reason=reason)
    total = sum(one.value for one in estimates)
    spread = _Z_95 * sum(one.standard_error**2 for one in estimates) ** 0.5
    low, high = max(0.0, total - spread), total + spread
    if len(estimates) == 1:
        low, high = estimates[0].low, estimates[0].high
    mapped = sum(one.mapped_m2 for one in found if one is not None)
    return Interval(low, high, assessed_at=accuracy.drawn_at, mapped_m2=mapped)


def estimate_gains(accuracy: Accuracy, gains: Sequence[Mapping[str, Any]]) -> Interval:
    """Estimate how many of the gains are real, from the share of each kind of change that happened.

    Where too few of a kind are labelled, the share of all changes of the target stands for it. The samples of kinds and
    targets are independent; the interval is that of a sum (MOVER).
    """
    parts: list[Estimate] = []
    missing = 0
    for row in gains:
        one = accuracy.find(row["target"])
        share = None if one is None else one.change_kinds.get(row["kind"], one.changes)
        if share is None:
            missing += 1
        else:
            parts.append(share.scale(int(row["objects"])))
    reason = _explain_missing(accuracy, [row["target"] for row in gains], len(gains) - missing)
    if reason:
        return Interval(reason=reason)
    whole = add(parts)
    return Interval(max(0.0, whole.low), whole.high, assessed_at=accuracy.drawn_at)


def _explain_missing(accuracy: Accuracy, targets: Sequence[str], estimates: int) -> str:
    """Name the message that says why there is no interval; empty where there is one."""
    if accuracy.assessment_id is None or not any(one.labels for one in accuracy.targets):
        return "interval.unassessed"
    if not targets:
        return "interval.none"
    return "interval.few" if estimates < len(targets) else ""
