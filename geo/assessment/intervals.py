"""95 % intervals of proportions and of sums and ratios of independent proportions, for small samples.

The plain interval (estimate +- 1.96 standard errors) has no width where every label of a stratum agrees, and covers the
truth far too rarely near 0 and 1. Used here: Wilson's interval for one proportion (Wilson 1927; Brown, Cai and DasGupta
2001), and the method of variance estimates recovery (MOVER; Zou and Donner 2008, for ratios Donner and Zou 2012), which
combines the intervals of parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from segwatch.geo.types.assessment import Estimate

Z = 1.96
"""Half the width of a 95 % interval in standard errors, as Olofsson et al. (2014) round it."""


def estimate_proportion(hits: float, count: int, population: float = math.inf) -> Estimate:
    """Estimate a proportion from a simple random sample without replacement; Wilson's interval.

    Parameters
    ----------
    hits
        Number of sampled units that have the property.
    count
        Size of the sample, at least 1.
    population
        Number of units that it was drawn from; infinite for points on the ground.
    """
    share = hits / count
    left = 1.0 if math.isinf(population) else max(0.0, population - count) / max(population - 1, 1)
    if left == 0:
        return Estimate(share, 0.0, share, share)
    # unbiased for a sample without replacement (Cochran 1977, section 3.2); `left` belongs to the true share's variance
    unsampled = 1.0 - count / population
    error = math.sqrt(unsampled * share * (1 - share) / max(count - 1, 1))
    effective = count / left
    middle = (share + Z**2 / (2 * effective)) / (1 + Z**2 / effective)
    half = Z / (1 + Z**2 / effective) * math.sqrt(share * (1 - share) / effective + Z**2 / (4 * effective**2))
    # the interval contains the estimate also where rounding errors say otherwise
    return Estimate(share, error, max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share)))


def add(parts: Sequence[Estimate]) -> Estimate:
    """Add independent estimates; the interval by MOVER."""
    value = sum(one.value for one in parts)
    return Estimate(
        value,
        math.sqrt(sum(one.standard_error**2 for one in parts)),
        value - math.sqrt(sum((one.value - one.low) ** 2 for one in parts)),
        value + math.sqrt(sum((one.high - one.value) ** 2 for one in parts)),
    )


def estimate_part(part: Estimate, rest: Estimate, standard_error: float) -> Estimate | None:
    """Estimate ``part / (part + rest)`` of independent, non-negative estimates; the interval by MOVER for ratios.

    Returns
    -------
    Estimate | None
        With the given standard error; None where both are 0.
    """
    whole = part.value + rest.value
    if whole == 0:
        return None
    value = part.value / whole
    low, high = _bound_ratio(part, rest)
    return Estimate(
        value,
        standard_error,
        min(value, low / (1 + low)),
        1.0 if math.isinf(high) else max(value, high / (1 + high)),
    )


def divide(above: Estimate, below: Estimate) -> Estimate | None:
    """Estimate ``above / below`` of independent, non-negative estimates; the interval by MOVER for ratios.

    Returns
    -------
    Estimate | None
        None where ``below`` is 0.
    """
    if below.value == 0:
        return None
    value = above.value / below.value
    low, high = _bound_ratio(above, below)
    error = math.hypot(above.standard_error, value * below.standard_error) / below.value
    return Estimate(value, error, min(value, low), max(value, high))


def _bound_ratio(above: Estimate, below: Estimate) -> tuple[float, float]:
    """Bound ``above / below``."""
    product = above.value * below.value
    low = _solve(product, above.low * below.high, above, above.low, below, below.high, sign=-1)
    high = math.inf
    if below.low > 0:
        high = _solve(product, above.high * below.low, above, above.high, below, below.low, sign=1)
    return max(0.0, low), high


def _solve(
    product: float, edges: float, above: Estimate, a: float, below: Estimate, b: float, *, sign: int
) -> float:
    spread = product**2 - edges * (2 * above.value - a) * (2 * below.value - b)
    divisor = b * (2 * below.value - b)
    if divisor == 0:
        return 0.0 if sign < 0 else math.inf
    return (product + sign * math.sqrt(max(spread, 0.0))) / divisor
