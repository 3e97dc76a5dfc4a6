"""Coordinates as people type them."""

from __future__ import annotations

import pytest

from segwatch.geo.text.coordinates import parse_coordinates


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("46.12, 11.3", (11.3, 46.12)),
        (" -33.9 18.4 ", (18.4, -33.9)),
        ("11.3E 46.12N", (11.3, 46.12)),
        ("46°7'12\"N 11°18'E", (11.3, 46.12)),
        ("33°54′S, 18°24′E", (18.4, -33.9)),
        ("5 N 70 O", (-70.0, 5.0)),
    ],
)
def test_points_are_read_as_people_write_them(given: str, found: tuple[float, float]) -> None:
    assert parse_coordinates(given) == pytest.approx(found)


@pytest.mark.parametrize(
    "given", ["", "Zurich", "46", "91, 0", "0, 181", "46N 47N", "46°61'N 11°E", "46N 11E there", "1" * 200]
)
def test_what_is_no_point_is_none(given: str) -> None:
    assert parse_coordinates(given) is None
