"""Scenes are registered by their chips in order of acquisition, whatever the order in which they arrive."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry.base import BaseGeometry
from typer.testing import CliRunner

from segwatch.db import health
from segwatch.flows.cli.app import app
from segwatch.flows.doctor.checks import check
from segwatch.flows.doctor.facts import Facts
from segwatch.geo.tracking.registration import move_all
from segwatch.geo.types.belief import Shift
from segwatch.geo.types.chips import CELL_PX, Cell, Chip
from segwatch.geo.types.tracking import ObservationResult
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells

PIXEL_M = 10.0
#: Two lakes: too few to measure a displacement on their outlines.
LAKES = (cells(1, 1, 3, 3), cells(5, 4, 7, 7))
NORTH, SOUTH = ((-4328, 446), (-4328, 447)), ((-4326, 446), (-4326, 447))
CLEAR = np.ones((CELL_PX, CELL_PX), bool)


@lru_cache
def ground(cell: tuple[int, int]) -> NDArray[np.float64]:
    """Pixels of a cell with a margin of 16."""
    random = np.random.default_rng(abs(cell[0]) * 1000 + cell[1])
    rough = ndimage.gaussian_filter(random.normal(size=(CELL_PX + 32, CELL_PX + 32)), 2)
    return np.asarray(np.clip(110 + 250 * rough, 0, 255))


@dataclass(frozen=True)
class Displaced(SceneContent):
    """The lakes as a scene shows them that lies some pixels east and north of its place."""

    east: int = 0
    north: int = 0
    visible: tuple[tuple[int, int], ...] = (*NORTH, *SOUTH)
    """Cells without clouds."""

    def result(self) -> ObservationResult:
        """As a perfect model would predict it."""
        by = Shift(self.east * PIXEL_M, self.north * PIXEL_M)
        shown = SceneContent(tuple(move_all(self.shapes, by)), self.footprint).result()
        return replace(shown, chips=tuple(self._chip(cell) for cell in self.visible))

    def _chip(self, cell: tuple[int, int]) -> Chip:
        down, right = 16 + self.north, 16 - self.east
        grey = ground(cell)[down : down + CELL_PX, right : right + CELL_PX]
        return Chip.encode(Cell("EPSG:32632", PIXEL_M, *cell), grey.astype(np.uint8), CLEAR)


def shifts(ledger: Ledger) -> list[tuple[str, float, float]]:
    """Source, and pixels east and north, of each observation in order."""
    rows = ledger.rows(
        "SELECT shift_source, shift_east_m, shift_north_m FROM segwatch.observation"
        " WHERE superseded_at IS NULL ORDER BY acquired_at, scene_id"
    )
    return [
        (
            row["shift_source"],
            round(row["shift_east_m"] / PIXEL_M, 1),
            round(row["shift_north_m"] / PIXEL_M, 1),
        )
        for row in rows
    ]


def changes(ledger: Ledger) -> list[str]:
    rows = ledger.rows("SELECT kind FROM segwatch.change WHERE retracted_at IS NULL AND NOT baseline")
    return sorted(row["kind"] for row in rows)


def test_displaced_scenes_are_corrected_and_raise_nothing(ledgers: Any) -> None:
    ledger = ledgers(min_change_m2=1000.0, min_change_ratio=0.01)
    world = [Displaced(LAKES, east=east, north=north) for east, north in ((0, 0), (3, 0), (-2, 1), (0, -3))]
    for day in range(len(world)):
        ledger.arrive(world, [day])
    assert shifts(ledger) == [
        ("none", 0, 0), ("pixels", -3, 0), ("pixels", 2, -1), ("pixels", 0, 3),
    ]  # fmt: skip
    assert changes(ledger) == []
    for row in ledger.rows("SELECT ST_AsBinary(geom) AS geom FROM watch.objects_now"):
        now = shapely.from_wkb(bytes(row["geom"]))
        assert max(_overlap(now, lake) for lake in LAKES) > 0.98


def test_a_new_model_is_registered_to_the_imagery_of_the_one_before(ledgers: Any) -> None:
    """Chips belong to the ground, not to the model: objects that are taken over stay where they are."""
    ledger = ledgers(min_change_m2=1000.0, min_change_ratio=0.01)
    displaced = ((1, 0), (-1, 0), (2, 1), (3, 0), (0, -2))
    world = [Displaced(LAKES, east=east, north=north) for east, north in displaced]
    ledger.arrive(world, [0, 1])
    ledger.model = "another@2"
    ledger.arrive(world, [3])
    # a late scene changes no reference that was taken over
    ledger.arrive(world, [2])
    ledger.model = "third@3"
    ledger.arrive(world, [4])
    # the first scene is the reference, though it is displaced itself
    assert shifts(ledger) == [
        ("none", 0, 0), ("pixels", 2, 0), ("pixels", -1, -1), ("pixels", -2, 0), ("pixels", 1, 2),
    ]  # fmt: skip
    assert changes(ledger) == []
    objects = ledger.rows("SELECT count(*) AS n, count(DISTINCT object_id) AS known FROM watch.objects_now")
    assert objects == [{"n": len(LAKES), "known": len(LAKES)}]
    before = ledger.everything()
    ledger.track()
    assert ledger.everything() == before


def test_large_and_uncertain_shifts_are_named_with_what_to_do(
    ledgers: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = ledgers()
    world = [
        Displaced(LAKES),
        Displaced(LAKES, east=3),
        Displaced(LAKES, east=1),
        Displaced(LAKES, visible=()),
    ]
    ledger.arrive(world, range(len(world)))
    rows = ledger.rows("SELECT shift_problem FROM watch.coverage ORDER BY acquired_at")
    assert [row["shift_problem"] for row in rows] == [None, "large", None, "uncertain"]
    with ledger.engine.connect() as conn:
        found = health.read(conn)
    (finding,) = (one for one in check(Facts(found.now, ledger=found)) if one.about == "registration")
    assert "of 4 observed scene(s) 1 moved by more than two pixels (up to 30 m)" in finding.says
    assert "1 whose shift is uncertain" in finding.says
    assert "segwatch coverage lakes" in finding.fix
    monkeypatch.setenv("SEGWATCH_DATABASE_URL", database.url())
    shown = CliRunner().invoke(app, ["coverage", "lakes"], env={"COLUMNS": "200"})
    assert "moved by 30 m, measured on pixels" in shown.output
    assert "shift uncertain: not moved" in shown.output
    assert "rules with status: confirmed wait for another scene" in " ".join(shown.output.split())


def _overlap(one: BaseGeometry, other: BaseGeometry) -> float:
    return float(one.intersection(other).area / one.union(other).area)


def test_without_chips_the_same_scenes_raise_changes(ledgers: Any) -> None:
    ledger = ledgers(min_change_m2=1000.0, min_change_ratio=0.01)
    world = [Displaced(LAKES, east=east, visible=()) for east in (0, 3)]
    ledger.arrive(world, [0, 1])
    assert shifts(ledger) == [("none", 0, 0), ("none", 0, 0)]
    assert changes(ledger) != []


def test_any_order_of_arrival_measures_the_same(ledgers: Any) -> None:
    world = [
        Displaced(LAKES, east=1, visible=NORTH),
        Displaced(LAKES, east=-1, north=2),
        # only cells whose reference is the second scene
        Displaced(LAKES, east=2, north=1, visible=SOUTH),
        Displaced(LAKES, east=1, north=-1, footprint=cells(0, 0, 8, 6)),
    ]
    known = None
    # every fifth order: each scene comes first and last
    for order in list(permutations(range(len(world))))[::5]:
        ledger = ledgers()
        for day in order:
            ledger.arrive(world, [day])
        # the first scene is the reference, though it is displaced itself
        assert shifts(ledger) == [
            ("none", 0, 0), ("pixels", 2, -2), ("pixels", -1, -1), ("pixels", 0, 1),
        ], order  # fmt: skip
        found = ledger.known()
        assert known in (None, found), order
        known = found


def test_earlier_scene_becomes_the_reference(ledgers: Any) -> None:
    ledger = ledgers()
    world = [Displaced(LAKES, east=3), Displaced(LAKES), Displaced(LAKES, north=1)]
    ledger.arrive(world, [1, 2])
    assert shifts(ledger) == [("none", 0, 0), ("pixels", 0, -1)]
    ledger.arrive(world, [0])
    assert shifts(ledger) == [("none", 0, 0), ("pixels", 3, 0), ("pixels", 3, -1)]
    before = ledger.everything()
    ledger.track()
    assert ledger.everything() == before


def test_other_ground_widens_the_tolerance(ledgers: Any) -> None:
    """Where the pixels show something else, a displacement of a pixel and a half is no change."""

    @dataclass(frozen=True)
    class Strange(Displaced):
        def _chip(self, cell: tuple[int, int]) -> Chip:
            return replace(super()._chip((cell[0] + 50, cell[1])), cell=Cell("EPSG:32632", PIXEL_M, *cell))

    for kind, expected in ((Strange, False), (Displaced, True)):
        ledger = ledgers(min_change_m2=1.0, min_change_ratio=0.0001)
        moved = tuple(move_all(LAKES, Shift(15.0, 0.0)))
        ledger.arrive([Displaced(LAKES), kind(moved)], [0, 1])
        assert bool(changes(ledger)) == expected


def test_chips_are_stored_once_and_readable_by_workers_only(ledgers: Any) -> None:
    ledger = ledgers()
    ledger.arrive([Displaced(LAKES)], [0])
    (row,) = ledger.rows(
        "SELECT count(*) AS n, max(length(content)) AS longest FROM segwatch.observation_chip"
    )
    assert row["n"] == 4
    assert row["longest"] < 20_000
    (rights,) = ledger.rows(
        "SELECT has_table_privilege('segwatch_analyst', 'segwatch.observation_chip', 'SELECT') AS analyst,"
        " has_table_privilege('segwatch_worker', 'segwatch.observation_chip', 'UPDATE') AS update"
    )
    assert rights == {"analyst": False, "update": False}
