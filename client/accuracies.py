"""Assessments as a table: accuracies and areas estimated from labels, with intervals. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from segwatch.client.frames import parse_time

#: Estimates of a target, in the order of the table.
MEASURES = ("users", "producers", "overall", "objects", "changes", "area_m2")
UNITS = {
    "value": "0..1, for area_m2 geodesic m2",
    "low": "as value, 95 % interval",
    "high": "as value, 95 % interval",
    "mapped_m2": "m2, geodesic",
    "drawn_at": "UTC",
}
_DTYPES = {
    "target": "string",
    "measure": "string",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "labels": "Int64",
    "samples": "Int64",
    "mapped_m2": "float64",
    "drawn_at": "datetime64[us, UTC]",
}


def make_table(accuracy: Mapping[str, Any]) -> pd.DataFrame:
    """Make a table of one assessment; see :meth:`segwatch.client.session.Session.accuracy`."""
    rows = [row for one in accuracy["targets"] for row in _list_rows(one, accuracy["drawn_at"])]
    return pd.DataFrame(rows, columns=list(_DTYPES)).astype(_DTYPES)


def _list_rows(target: Mapping[str, Any], drawn_at: Any) -> Iterator[dict[str, Any]]:
    for measure in MEASURES:
        estimate = target[measure]
        if estimate is not None:
            yield {
                "target": target["target"],
                "measure": measure,
                **{name: estimate[name] for name in ("value", "low", "high")},
                **{name: target[name] for name in ("labels", "samples", "mapped_m2")},
                "drawn_at": parse_time(drawn_at),
            }
