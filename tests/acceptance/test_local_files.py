"""From a folder to tracked polygons with the two commands of the guide, on a machine where nothing runs yet."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyproj import CRS
from shapely import union_all, wkb
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, text

from segwatch.db.embedded.cluster import Cluster
from segwatch.db.engine import make_engine
from segwatch.geo.crs import to_crs
from tests.acceptance.conftest import COLOUR
from tests.support import local_pictures as pictures
from tests.support.documents import read_page
from tests.support.made_scenes import WATER
from tests.support.paths import ROOT, make_home

SHAPE = (200, 240)
STEADY, SMALL, LARGE = (60, 70, 30), (130, 160, 25), (130, 160, 40)
BEFORE, AFTER = pictures.paint(SHAPE, STEADY, SMALL), pictures.paint(SHAPE, STEADY, LARGE)
UTM = CRS.from_string(pictures.CRS)


@dataclass(frozen=True)
class Newcomer:
    """A shell in a folder with photos."""

    folder: Path

    def run(self, command: str) -> str:
        """Run a command as a page writes it; the segmenter knows the truth."""
        python = f"{sys.executable} -P -m segwatch.flows.cli "
        done = subprocess.run(
            ["sh", "-c", re.sub(r"^segwatch ", python, command)],
            cwd=self.folder,
            env=os.environ | COLOUR | {"PYTHONPATH": str(ROOT), "SEGWATCH_LINGER_SECONDS": "0"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def newcomer() -> Iterator[Newcomer]:
    """Photos of a lake that grows and one that stays, each in another form."""
    folder = make_home("newcomer")
    photos = folder / "photos"
    photos.mkdir()
    pictures.write_plain(photos / "2024-05-01.tif", BEFORE)
    pictures.write_south_up(photos / "2024-05-11.tif", BEFORE)
    pictures.write_palette(photos / "2024-05-21.tif", AFTER)
    pictures.write_alpha(photos / "2024-05-31.tif", AFTER, hidden=20)
    pictures.write_control_points(photos / "2024-06-10.tif", AFTER)
    (photos / "2024-06-20.tif").write_bytes((photos / "2024-05-01.tif").read_bytes()[:500])
    yield Newcomer(folder)
    Cluster(folder / ".segwatch").destroy()
    shutil.rmtree(folder, ignore_errors=True)


def read_commands(block: int) -> list[str]:
    """The commands of the guide's n-th block."""
    return read_page("docs/how-to/local-files.md").blocks[block].commands


def read_objects(folder: Path) -> list[BaseGeometry]:
    with _connect(folder) as conn:
        rows = conn.execute(text("SELECT geom FROM watch.objects_now WHERE watch = 'photos'"))
        return [to_crs(wkb.loads(row.geom, hex=True), UTM) for row in rows]


@contextmanager
def _connect(folder: Path) -> Iterator[Connection]:
    engine = make_engine(Cluster(folder / ".segwatch").info().url_for("segwatch_worker"))
    with engine.connect() as conn:
        yield conn
    engine.dispose()


def test_two_commands_lead_from_a_folder_to_tracked_polygons(newcomer: Newcomer) -> None:
    commands = read_commands(0)
    assert len(commands) == 2
    added = newcomer.run(commands[0])
    assert "5 new, 1 not used" in added
    assert "photos/2024-06-20.tif is not used: it is damaged" in added
    newcomer.run(commands[1])

    with _connect(newcomer.folder) as conn:
        states = conn.execute(
            text(
                "SELECT acquired_at::date::text AS day, state FROM watch.coverage WHERE watch = 'photos' ORDER BY 1"
            )
        ).all()
        changes = conn.execute(
            text(
                "SELECT kind, valid_at::date::text AS day FROM watch.changes "
                "WHERE watch = 'photos' AND NOT baseline AND retracted_at IS NULL"
            )
        ).all()
        [hrefs] = conn.execute(text("SELECT DISTINCT item_hrefs[1] FROM watch.objects_now")).scalars()
    assert [tuple(one) for one in states] == [
        (day, "observed") for day in ("2024-05-01", "2024-05-11", "2024-05-21", "2024-05-31", "2024-06-10")
    ]
    assert [tuple(one) for one in changes] == [("grew", "2024-05-21")]
    assert hrefs == "local://photos/items/2024-06-10"
    lake_px = (AFTER[2] == WATER[2]).sum()
    found = read_objects(newcomer.folder)
    assert len(found) == 2
    assert abs(union_all(found).area / (lake_px * pictures.GSD_M**2) - 1) < 0.01

    # a new image of the same place is all that the same commands add
    pictures.write_plain(newcomer.folder / "photos" / "2024-07-01.tif", BEFORE)
    assert "1 new, 5 unchanged" in newcomer.run(commands[0])
    assert "scenes 1, inferred 1" in newcomer.run(commands[1])
    with _connect(newcomer.folder) as conn:
        # on land, and on the ground that the transparent pixels of one image hide
        asked = "SELECT acquired_at::date::text, answer FROM watch.why_not(15.0013, 46.0622, '2024-07-01', 'photos')"
        answers = dict(tuple(row) for row in conn.execute(text(asked)))
    assert answers.pop("2024-05-31") in {"cloudy", "not imaged"}
    assert set(answers.values()) == {"nothing found"}


def test_one_image_is_tried_without_anything(newcomer: Newcomer) -> None:
    [command] = read_commands(1)
    said = newcomer.run(command)
    assert "not told by this model" in said
    found = json.loads((newcomer.folder / "try.geojson").read_text(encoding="utf-8"))
    assert [one["properties"]["target"] for one in found["features"]] == ["water", "water"]
    assert (newcomer.folder / "try.png").read_bytes().startswith(b"\x89PNG")
