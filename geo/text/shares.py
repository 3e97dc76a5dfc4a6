"""Write shares from 0 to 1 for people: what is less than all is never written as all."""

from __future__ import annotations


def format_share(share: float, decimals: int = 2) -> str:
    """Format a share with some decimals, such as ``0.97``; ``1.00`` is 1 alone."""
    return f"{_keep_below_one(share, decimals):.{decimals}f}"


def format_share_percent(share: float) -> str:
    """Format a share as whole per cent, such as ``97%``; ``100%`` is 1 alone."""
    return f"{_keep_below_one(share, 2):.0%}"


def _keep_below_one(share: float, decimals: int) -> float:
    """Round a share; one below 1 stays below it."""
    rounded = round(share, decimals)
    return 1 - 10.0**-decimals if share < 1 <= rounded else rounded
