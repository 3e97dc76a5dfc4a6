"""Areas over time from the recorded states of objects. Pure."""

from __future__ import annotations

import geopandas
import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: Units of :func:`sum_areas`.
UNITS = {
    "acquired_at": "UTC",
    "area_m2": "m2, geodesic",
    "confirmed_m2": "m2, geodesic",
    "clear_share": "0..1",
}
_DTYPES = {
    "target": "string",
    "acquired_at": "datetime64[us, UTC]",
    "area_m2": "float64",
    "confirmed_m2": "float64",
    "objects": "Int64",
    "clear_share": "float64",
}


def sum_areas(states: geopandas.GeoDataFrame, coverage: geopandas.GeoDataFrame) -> pd.DataFrame:
    """Sum up areas at the time of each observed scene.

    Parameters
    ----------
    states
        Table of recorded states; those in force count.
    coverage
        Table of observations of the same watch; those that are current and observed give the times.

    Returns
    -------
    pandas.DataFrame
        See :meth:`segwatch.client.session.Session.areas`; sorted by target and time.
    """
    counted = states.in_force.fillna(False) & states.alive.fillna(False)
    held = states[counted & (states.status != "refuted").fillna(True)]
    observed = (coverage.state == "observed").fillna(False)
    looked = coverage[observed & coverage.superseded_at.isna() & coverage.acquired_at.notna()]
    looked = looked.sort_values(["acquired_at", "observation_id"])
    parts = [_sum_target(target, ours, looked) for target, ours in held.groupby("target")]
    made = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(_DTYPES))
    return made.astype(_DTYPES)


def _sum_target(target: object, ours: geopandas.GeoDataFrame, looked: geopandas.GeoDataFrame) -> pd.DataFrame:
    sure = (ours.status == "confirmed").fillna(True).to_numpy(bool)  # not judged: the baseline
    area = ours.area_m2.to_numpy()
    values = np.column_stack([area, area * sure, np.ones(len(ours))])
    sums = _sum_there(ours, values, looked.acquired_at)
    return pd.DataFrame(
        {
            "target": target,
            "acquired_at": looked.acquired_at.array,
            "area_m2": sums[:, 0],
            "confirmed_m2": sums[:, 1],
            "objects": sums[:, 2].round().astype(int),
            "clear_share": looked.clear_share.array,
        }
    )


def _sum_there(
    ours: geopandas.GeoDataFrame, values: NDArray[np.float64], moments: pd.Series
) -> NDArray[np.float64]:
    """Sum (N, V) values of the states that hold at each moment: those that began less those that ended; (T, V)."""
    lasting = ours.valid_to.notna().to_numpy()
    began = _sum_until(ours.valid_from, values, moments)
    return began - _sum_until(ours.valid_to[lasting], values[lasting], moments)


def _sum_until(times: pd.Series, values: NDArray[np.float64], moments: pd.Series) -> NDArray[np.float64]:
    order = np.argsort(times.to_numpy("datetime64[us]"), kind="stable")
    running = np.vstack([np.zeros((1, values.shape[1])), np.cumsum(values[order], axis=0)])
    until = times.to_numpy("datetime64[us]")[order]
    return np.asarray(running[np.searchsorted(until, moments.to_numpy("datetime64[us]"), side="right")])
