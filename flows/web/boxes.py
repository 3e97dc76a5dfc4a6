"""Bounding boxes in the query of a request."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import HTTPException, Query

from segwatch.db.analyst import Box

BoxText = Annotated[
    str | None,
    Query(max_length=200, description="west,south,east,north in degrees (EPSG:4326); without it, everywhere"),
]


def parse_box(given: str | None) -> Box | None:
    """Parse ``west,south,east,north``.

    Raises
    ------
    fastapi.HTTPException
        422 if these are not four numbers in order within the world.
    """
    if given is None:
        return None
    try:
        west, south, east, north = (float(part) for part in given.split(","))
    except ValueError:
        raise _refuse(given) from None
    inside = -180 <= west < east <= 180 and -90 <= south < north <= 90
    if not inside or not all(map(math.isfinite, (west, south, east, north))):
        raise _refuse(given)
    return west, south, east, north


def _refuse(given: str) -> HTTPException:
    return HTTPException(
        422, f"bbox: {given!r} is no box; give west,south,east,north in degrees, as in 11.2,46.1,11.4,46.3"
    )
