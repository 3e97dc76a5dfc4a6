"""The displacement of a scene is found on its pixels, whatever its light, and not believed where they do not tell."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from scipy import ndimage

from segwatch.geo.chips import ChipCutter, choose_cells
from segwatch.geo.crs import make_local_equal_area, to_lonlat
from segwatch.geo.grid import get_crs, get_origin, make_grid
from segwatch.geo.tracking.registration_pixels import UNKNOWN_PX, add_references, measure_shift
from segwatch.geo.types.belief import Shift
from segwatch.geo.types.chips import CELL_PX, MAX_CHIPS, Cell, Chip

Floats = NDArray[np.float64]
PIXEL_M, FINE = 10.0, 4
CELLS = [Cell("EPSG:32633", PIXEL_M, -4000 + row, 390 + col) for row in range(3) for col in range(3)]
CLEAR = np.ones((CELL_PX, CELL_PX), bool)


@lru_cache
def make_ground(seed: int = 0) -> Floats:
    """Fields, woods and water, 0..255, four samples a pixel along each axis, with a margin of 16 pixels."""
    random = np.random.default_rng(seed)
    side = FINE * (CELL_PX + 32)
    rough = ndimage.gaussian_filter(random.normal(size=(side, side)), 6) * 20
    fields = np.floor(ndimage.gaussian_filter(random.normal(size=(side, side)), 20) * 120)
    grey = 110 + 25 * fields + 25 * rough
    return np.asarray(np.clip(grey, 0, 255))


def show(ground: Floats, east: float = 0.0, north: float = 0.0) -> Floats:
    """The ground as a scene shows it that lies ``east`` and ``north`` pixels beside its place, to a quarter pixel."""
    down, right = round(-north * FINE), round(east * FINE)
    start, count = 16 * FINE, CELL_PX * FINE
    cut = ground[start - down : start - down + count, start - right : start - right + count]
    return np.asarray(cut.reshape(CELL_PX, FINE, CELL_PX, FINE).mean(axis=(1, 3)))


def to_chips(
    east: float = 0.0,
    north: float = 0.0,
    light: Callable[[Floats], Floats] = lambda grey: grey,
    clear: NDArray[np.bool_] = CLEAR,
    seed: int = 0,
) -> list[Chip]:
    pictures = [light(show(make_ground(seed + index), east, north)) for index in range(len(CELLS))]
    return [
        Chip.encode(cell, np.clip(picture, 0, 255).astype(np.uint8), clear)
        for cell, picture in zip(CELLS, pictures, strict=True)
    ]


REFERENCES = add_references({}, to_chips(), Shift())


@pytest.mark.parametrize("light", [
    pytest.param(lambda grey: grey, id="same"),
    pytest.param(lambda grey: 1.1 * grey, id="brighter"),
    pytest.param(lambda grey: 0.9 * grey, id="darker"),
    pytest.param(lambda grey: 255 * (grey / 255) ** 1.3, id="gamma"),
    pytest.param(lambda grey: 0.6 * grey + 80, id="haze"),
    pytest.param(
        lambda grey: grey + np.random.default_rng(1).normal(scale=8, size=grey.shape), id="noise"
    ),
])  # fmt: skip
@pytest.mark.parametrize(("east", "north"), [(0.5, 0), (0, -1), (2, 1.25), (-3, 3)])
def test_displacement_is_found_in_any_light(
    light: Callable[[Floats], Floats], east: float, north: float
) -> None:
    found = measure_shift(to_chips(east, north, light), REFERENCES)
    assert found.shift is not None
    # the grid's north is 0.04 degrees off true north here
    assert (found.shift.east_m, found.shift.north_m) == pytest.approx(
        (-east * PIXEL_M, -north * PIXEL_M), abs=0.1 * PIXEL_M
    )
    assert found.shift.source == "pixels"
    assert found.shift.quality > 0.9
    assert found.uncertainty_m < 0.25 * PIXEL_M


def test_same_scene_is_not_moved_at_all() -> None:
    brighter = measure_shift(to_chips(light=lambda grey: 1.1 * grey), REFERENCES)
    for found in (measure_shift(to_chips(), REFERENCES), brighter):
        assert found.shift is not None
        assert found.shift.is_zero


def test_clouds_do_not_pull_the_displacement() -> None:
    clear = CLEAR.copy()
    clear[30:80, 10:70] = False
    found = measure_shift(to_chips(1.5, -0.75, clear=clear), REFERENCES)
    assert found.shift is not None
    assert (found.shift.east_m, found.shift.north_m) == pytest.approx((-15, 7.5), abs=1)


def test_cells_that_changed_are_outvoted() -> None:
    changed = [*to_chips(seed=50)[:3], *to_chips(2, 1)[3:]]
    found = measure_shift(changed, REFERENCES)
    assert found.shift is not None
    assert (found.shift.east_m, found.shift.north_m) == pytest.approx((-20, -10), abs=1)


def test_other_ground_is_not_believed() -> None:
    found = measure_shift(to_chips(seed=50), REFERENCES)
    assert found.shift is None
    assert found.uncertainty_m == UNKNOWN_PX * PIXEL_M


def test_cells_that_disagree_are_not_believed() -> None:
    at_odds = [
        to_chips(3 * math.cos(angle), 3 * math.sin(angle))[index]
        for index, angle in enumerate(np.linspace(0, 5.6, len(CELLS)))
    ]
    found = measure_shift(at_odds, REFERENCES)
    assert found.shift is None
    assert 0.25 * PIXEL_M <= found.uncertainty_m <= UNKNOWN_PX * PIXEL_M


def test_flat_pixels_tell_nothing() -> None:
    flat = [Chip.encode(cell, np.full((CELL_PX, CELL_PX), 90, np.uint8), CLEAR) for cell in CELLS]
    assert measure_shift(flat, REFERENCES).shift is None
    assert measure_shift(flat, add_references({}, flat, Shift())).shift is None


def test_nothing_to_compare_is_not_uncertain() -> None:
    found = measure_shift(to_chips(), {})
    assert (found.shift, found.uncertainty_m, found.compared) == (None, 0.0, 0)


def test_reference_carries_the_shift_of_its_own_observation() -> None:
    first, later = to_chips()[:5], to_chips(2, 0)
    references = add_references(add_references({}, first, Shift()), later, Shift(-20.0, 0.0, 1.0, "pixels"))
    found = measure_shift(to_chips(0, 1)[5:], references)
    assert found.shift is not None
    assert (found.shift.east_m, found.shift.north_m) == pytest.approx((0, -10), abs=1)


def test_earlier_reference_of_a_cell_stays() -> None:
    references = add_references(REFERENCES, to_chips(1, 1), Shift(1.0, 1.0))
    assert references == REFERENCES


def test_shift_points_to_true_north() -> None:
    # 2.5 degrees between grid north and true north
    cells = [Cell("EPSG:32633", PIXEL_M, -4000 + row, 600) for row in range(3)]
    grounds = [make_ground(row) for row in range(3)]

    def chips(east: float, north: float) -> list[Chip]:
        return [
            Chip.encode(cell, show(ground, east, north).astype(np.uint8), CLEAR)
            for cell, ground in zip(cells, grounds, strict=True)
        ]

    found = measure_shift(chips(3, 0), add_references({}, chips(0, 0), Shift()))
    side = CELL_PX * PIXEL_M
    x, y = 600.5 * side, 3998.5 * side
    centre = Transformer.from_crs(32633, 4326, always_xy=True).transform(x, y)
    onto = Transformer.from_crs(32633, make_local_equal_area(centre), always_xy=True)
    wanted = np.subtract(onto.transform(x - 3 * PIXEL_M, y), onto.transform(x, y))
    assert found.shift is not None
    assert (found.shift.east_m, found.shift.north_m) == pytest.approx(tuple(wanted), abs=0.3)


def test_damaged_chip_is_an_error() -> None:
    with pytest.raises(ValueError, match="is damaged"):
        Chip(CELLS[0], b"nonsense").decode()
    whole = to_chips()[0]
    with pytest.raises(ValueError, match="does not hold 128 x 128 pixels"):
        Chip(CELLS[0], whole.content[:-20]).decode()


# ---- cells and chips of an area


def _area(west: float, south: float, width: float, height: float) -> shapely.Polygon:
    """A rectangle of metres in zone 33."""
    left, bottom = 500_000 + west, 5_100_000 + south
    return to_lonlat(shapely.box(left, bottom, left + width, bottom + height), _utm())  # type: ignore[return-value]


def _utm() -> CRS:
    return get_crs(make_grid(shapely.box(15, 46, 15.1, 46.1), PIXEL_M))


@pytest.mark.parametrize("side", [400.0, 1280.0, 3000.0, 40_000.0])
def test_cells_are_few_spread_and_on_the_lattice(side: float) -> None:
    area = _area(0, 0, side, side)
    cells = choose_cells(area, make_grid(area, PIXEL_M))
    assert 1 <= len(cells) <= MAX_CHIPS
    local = shapely.box(500_000, 5_100_000, 500_000 + side, 5_100_000 + side)
    squares = [
        shapely.box(
            cell.col * 1280, -(cell.row + 1) * 1280, (cell.col + 1) * 1280, -cell.row * 1280
        )
        for cell in cells
    ]  # fmt: skip
    assert all(square.intersects(local) for square in squares)
    if side > 10_000:
        assert len(cells) == MAX_CHIPS
        assert all(local.contains(square) for square in squares)


def test_cells_follow_the_area_not_the_corners_of_its_grid() -> None:
    area = _area(0, 0, 9000, 7000)
    grid = make_grid(area, PIXEL_M)
    assert choose_cells(area, grid.pad(37)) == choose_cells(area, grid)


def test_chips_show_the_same_ground_whatever_the_grid() -> None:
    area = _area(0, 0, 6000, 6000)
    grid = make_grid(area, PIXEL_M)
    wide = grid.pad(50)
    cells = choose_cells(area, grid)
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (*wide.shape, 3), np.uint8)
    in_area = np.zeros(wide.shape, bool)
    in_area[50:-50, 50:-50] = True
    whole, parts = ChipCutter(cells, wide), ChipCutter(cells, grid)
    whole.add(picture, in_area, 0, 0)
    inner = picture[50:-50, 50:-50]
    for row in range(0, inner.shape[0], 70):
        for col in range(0, inner.shape[1], 90):
            block = inner[row : row + 70, col : col + 90]
            parts.add(block, np.ones(block.shape[:2], bool), row, col)
    assert whole.cut() == parts.cut()
    assert len(parts.cut()) == len(cells)


def test_clouded_cells_give_no_chip() -> None:
    area = _area(0, 0, 6000, 6000)
    grid = make_grid(area, PIXEL_M)
    cells = choose_cells(area, grid)
    cutter = ChipCutter(cells, grid)
    origin = get_origin(grid)
    clear = np.zeros(grid.shape, bool)
    row, col = cells[4].row * CELL_PX - origin.row, cells[4].col * CELL_PX - origin.col
    clear[row : row + 40, col : col + 40] = True
    cutter.add(np.full((*grid.shape, 3), 80, np.uint8), clear, 0, 0)
    (chip,) = cutter.cut()
    assert chip.cell == cells[4]
    assert chip.decode()[1].sum() == 1600
