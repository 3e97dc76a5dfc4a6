"""Find the last earlier observations of the same ground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import shapely
from shapely.geometry.base import BaseGeometry

from segwatch.geo.types.belief import MAX_PAST


class Observed(Protocol):
    """Something that has the footprint of an observation."""

    @property
    def footprint(self) -> BaseGeometry:
        """What it observed, EPSG:4326."""
        ...


AnyObserved = TypeVar("AnyObserved", bound=Observed)


def find_past(past: Sequence[AnyObserved], footprint: BaseGeometry) -> list[AnyObserved]:
    """Find the last :data:`~segwatch.geo.types.belief.MAX_PAST` observations that meet a footprint, oldest first.

    Parameters
    ----------
    past
        Earlier observations in order; of those that meet the footprint at least the last ones.
    footprint
        As it was read, EPSG:4326.
    """
    shapely.prepare(footprint)
    found: list[AnyObserved] = []
    for one in reversed(past):
        if shapely.intersects(footprint, one.footprint):
            found.append(one)
        if len(found) == MAX_PAST:
            break
    return found[::-1]
