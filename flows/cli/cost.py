"""``segwatch cost``: what watches have cost, by month."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Annotated, Any

import typer

from segwatch.flows.cli.console import Json, clear_errors, open_engine, print_json, print_table, say

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
_HOUR, _GB, _DIGITS = 3600.0, 1e9, 2


def cost(
    watch: Annotated[
        str | None, typer.Argument(metavar="[WATCH]", help="Name of the watch. Default: every watch.")
    ] = None,
    month: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="Only this month, UTC. Default: every month.")
    ] = None,
    per_hour: Annotated[
        float, typer.Option(min=0, metavar="PRICE", help="Price of an hour of computing.")
    ] = 0.0,
    per_gb: Annotated[
        float, typer.Option(min=0, metavar="PRICE", help="Price of reading 10^9 bytes of imagery.")
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Add up what watches have cost by month: scenes, computing, bytes, observed ground, and money.

    Failed attempts cost, too, and are added. Computing is the time in the segmenter: on a GPU worker, of its GPU. What
    is read once for several instructions is divided between them.
    """
    from segwatch.db import analyst, watches
    from segwatch.flows.errors import ConfigError

    with clear_errors():
        if month is not None and not _MONTH.fullmatch(month):
            raise ConfigError(f"{month!r} is not a month; write, for example, --month 2024-05")
        with open_engine() as engine, engine.connect() as conn:
            if watch is not None:
                watches.load_current(conn, watch)
            rows = _add_up(analyst.list_usage(conn, watch=watch, month=month), per_hour, per_gb)
    if as_json:
        print_json(rows)
        return
    if not rows:
        say("nothing was segmented" + (f" in {month}" if month else ""))
        return
    cells = [
        (
            row["watch"],
            row["month"],
            row["observed"],
            row["attempts"] - row["observed"],
            f"{row['compute_seconds']:.0f}",
            f"{row['bytes_read'] / _GB:.3f}",
            f"{row['area_km2']:.1f}",
            f"{row['money']:.2f}",
        )
        for row in rows
    ]
    print_table(
        ("watch", "month", "observed", "not observed", "compute s", "GB read", "km2", "money"),
        cells,
        title="cost",
    )


def _add_up(usage: list[dict[str, Any]], per_hour: float, per_gb: float) -> list[dict[str, Any]]:
    """Add up models and outcomes; one row per watch and month."""
    sums: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in usage:
        total = sums[row["watch"], f"{row['month']:%Y-%m}"]
        for name in ("attempts", "compute_seconds", "bytes_read", "area_km2"):
            total[name] += row[name]
        total["observed"] += row["attempts"] if row["outcome"] == "observed" else 0
    return [
        {
            "watch": watch,
            "month": month,
            "attempts": int(total["attempts"]),
            "observed": int(total["observed"]),
            "compute_seconds": total["compute_seconds"],
            "bytes_read": total["bytes_read"],
            "area_km2": total["area_km2"],
            "money": round(
                total["compute_seconds"] / _HOUR * per_hour + total["bytes_read"] / _GB * per_gb, _DIGITS
            ),
        }
        for (watch, month), total in sums.items()
    ]
