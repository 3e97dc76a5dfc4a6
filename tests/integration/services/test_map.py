"""What the map page asks: the real application on a real database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from segwatch.flows.web.server import create_app
from tests.conftest import Database
from tests.invariants.conftest import Ledger, Look, cells

LAKE = cells(1, 1, 4, 4)
WORLD = [Look((LAKE,))] * 4


@pytest.fixture
def ledger(ledgers: Any) -> Ledger:
    made: Ledger = ledgers()
    made.arrive(WORLD, [0, 1])
    return made


@pytest.fixture
def client(database: Database) -> Iterator[TestClient]:
    with TestClient(create_app(database.url("segwatch_analyst")), raise_server_exceptions=False) as made:
        yield made


def watch(client: TestClient) -> dict[str, Any]:
    (row,) = client.get("/api/watches").json()
    return dict(row)


def test_the_wording_is_the_one_in_force(client: TestClient, ledger: Ledger) -> None:
    ledger.instruct("segment water bodies")
    ledger.find([2])
    assert watch(client)["instruction"] == "segment water bodies", "asked, and not answered yet"
    ledger.answer_leased(WORLD)
    ledger.track()
    assert watch(client)["instruction"] == "segment water bodies"
    ledger.instruct("segment the lakes")
    assert watch(client)["instruction"] == "segment the lakes", "which had an answer before"


def test_a_scene_counts_once_however_often_it_is_looked_at(client: TestClient, ledger: Ledger) -> None:
    ledger.instruct("segment water bodies")
    ledger.arrive(WORLD, [1, 2])
    looks = ledger.rows("SELECT 1 FROM watch.coverage WHERE state = 'observed'")
    assert len(looks) == 4
    ledger.find([3])
    shown = watch(client)
    assert [shown[one] for one in ("observed", "pending", "skipped", "failed")] == [3, 1, 0, 0]


def test_names_that_no_database_holds_are_refused(client: TestClient, ledger: Ledger) -> None:
    named = (
        "/api/alerts?watch=%00",
        "/api/reviews?watch=%00",
        "/api/scenes?watch=%00",
        "/feeds/%00/atom.xml",
    )
    for address in named:
        answer = client.get(address)
        assert answer.status_code == 422, address
        assert "the database can hold" in answer.json()["detail"]


TILES = "/imagery/tiles/WebMercatorQuad"


@pytest.fixture
def scene(client: TestClient, ledger: Ledger) -> dict[str, str]:
    """Names one in the address of a tile."""
    return {"watch": "lakes", "scene": client.get("/api/scenes?watch=lakes").json()[0]["scene_id"]}


def test_tiles_that_are_none_are_refused(client: TestClient, scene: dict[str, str]) -> None:
    for tile in ("5000/0/0", "-5/0/0", "30/0/0", "5/99/0", "5/0/-1", f"5/{'9' * 300}/0", "x/0/0"):
        assert client.get(f"{TILES}/{tile}.png", params=scene).status_code in {404, 422}, tile
    for other in ("WebMercatorQuad/5/0/0.gif", "NoGrid/0/0/0.png"):
        assert client.get(f"/imagery/tiles/{other}", params=scene).status_code == 422, other
    assert client.get(f"{TILES}/5/0/0.png", params=scene | {"tilesize": "0"}).status_code == 422


def test_a_tile_is_as_the_model_sees_it_whatever_else_is_asked(
    client: TestClient, scene: dict[str, str]
) -> None:
    plain = client.get(f"{TILES}/5/0/0.png", params=scene)
    assert plain.status_code == 200
    for more in (
        {"algorithm": "contours"},
        {"colormap_name": "viridis"},
        {"color_formula": "gamma rgb 0"},
        {"bidx": "9"},
        {"expression": "b1/0"},
        {"rescale": "x"},
        {"buffer": "-1"},
    ):
        assert client.get(f"{TILES}/5/0/0.png", params=scene | more).content == plain.content, more
