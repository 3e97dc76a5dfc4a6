"""Images whose bands are files of their own, and masks beside images: read where their names tell them surely."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

from segwatch.flows.cli.app import app
from segwatch.geo.rendering import render
from segwatch.geo.scenes import group_scenes
from segwatch.geo.sources import profiles
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.local import registry
from segwatch.geo.sources.local.adding import AddingOptions, add
from segwatch.geo.sources.local.products import parse_mask
from segwatch.geo.sources.rasters.pixels import SceneWindow, read_scene
from segwatch.geo.types.source import Profile
from tests.integration.sources.test_local_sources import GRID, PICTURE, SHAPE, items_of
from tests.support import local_pictures as pictures

CLOUD = 9
TILE = "T33UUP_20240501T100031"
LANDSAT = "LC08_L2SP_191028_20240501_20240502_02_T1"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    registry.use_home(tmp_path / "home")
    return tmp_path / "home"


#: Values of red, green and blue.
STORED = (PICTURE * 20.0 + np.random.default_rng(1).integers(0, 40, SHAPE)).astype(np.uint16)


def write_bands(folder: Path, names: tuple[str, str, str]) -> None:
    """Write red, green and blue as 16-bit files of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in zip(names, STORED, strict=True):
        pictures.write(folder / name, values[None], pictures.north_up(SHAPE[0]))


def read(name: str, item_id: str) -> tuple[SceneWindow, Profile]:
    source = registry.find(name)
    profile = profiles.load(str(source.profile_path))
    [scene] = group_scenes([items_of(name)[item_id]])
    return read_scene(
        scene, profile, GRID, allowed_hosts=hrefs.list_readable_hosts(profile, source.url)
    ), profile


def check_bands(name: str, item_id: str) -> SceneWindow:
    """Check that an item is read as red, green and blue were written, and that its picture is no single grey."""
    window, profile = read(name, item_id)
    assert window.valid.values.all()
    assert (window.bands.values == STORED).all()
    assert len(np.unique(render(window.bands, window.valid, profile).values)) > 10
    return window


def test_bands_and_masks_of_products_become_one_image(home: Path, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    write_bands(sentinel / "R10m", (f"{TILE}_B04_10m.tif", f"{TILE}_B03_10m.tif", f"{TILE}_B02_10m.tif"))
    write_bands(sentinel / "R20m", (f"{TILE}_B04_20m.tif", f"{TILE}_B03_20m.tif", f"{TILE}_B02_20m.tif"))
    classes = np.full((1, SHAPE[0] // 2, SHAPE[1] // 2), 4, np.uint8)
    classes[:, :, :4] = CLOUD
    coarse = pictures.north_up(SHAPE[0]) @ rasterio.Affine.scale(2)
    pictures.write(sentinel / "R20m" / f"{TILE}_SCL_20m.tif", classes, coarse)
    report = add("sentinel", [sentinel], AddingOptions())
    assert ([one.item_id for one in report.files], report.refused) == ([TILE], ())
    assert (report.profile.red.asset, report.profile.nodata, report.profile.gsd_m) == ("red", 0, 10)
    window = check_bands("sentinel", TILE)
    assert not window.clear.values[:, :8].any()
    assert window.clear.values[:, 8:].all()
    # a further file of the image makes a new version of it, and nothing else does
    assert [one.state for one in add("sentinel", [sentinel], AddingOptions()).files] == ["unchanged"]
    os.utime(sentinel / "R20m" / f"{TILE}_SCL_20m.tif", (1, 1))
    assert [one.state for one in add("sentinel", [sentinel], AddingOptions()).files] == ["changed"]
    (sentinel / "R20m" / f"{TILE}_SCL_20m.tif").unlink()
    assert "no mask" in add("sentinel", [sentinel], AddingOptions()).refused[0][1]

    landsat = tmp_path / "landsat"
    write_bands(landsat, (f"{LANDSAT}_SR_B4.TIF", f"{LANDSAT}_SR_B3.TIF", f"{LANDSAT}_SR_B2.TIF"))
    quality = np.where(np.arange(SHAPE[1]) < 8, 1 << 3, 1 << 6).astype(np.uint16)
    pictures.write(
        landsat / f"{LANDSAT}_QA_PIXEL.TIF",
        np.broadcast_to(quality, (1, *SHAPE)).copy(),
        pictures.north_up(SHAPE[0]),
    )
    report = add("landsat", [landsat], AddingOptions())
    assert [(one.item_id, one.acquired.text if one.acquired else "") for one in report.files] == [
        (LANDSAT, "2024-05-01")
    ]
    assert report.profile.clouds is not None
    assert report.profile.clouds.unclear_bits == (0, 1, 2, 3, 4)
    window = check_bands("landsat", LANDSAT)
    assert (window.clear.values.any(axis=0) == (np.arange(SHAPE[1]) >= 8)).all()

    plain = tmp_path / "2024-05-01"
    write_bands(plain, ("B04.tif", "B03.tif", "B02.tif"))
    assert [one.item_id for one in add("plain", [plain], AddingOptions()).files] == ["2024-05-01"]
    check_bands("plain", "2024-05-01")


def test_what_names_do_not_tell_surely_is_told(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    # bands of an unknown sensor, and of two grids
    write_bands(folder / "2024-05-01", ("B4.tif", "B3.tif", "B2.tif"))
    write_bands(folder / "2024-05-02", ("B04.tif", "B03.tif", "B02.tif"))
    pictures.write(
        folder / "2024-05-02" / "B02.tif", np.ones((1, 8, 8), np.uint16), pictures.north_up(SHAPE[0])
    )
    pictures.write_plain(folder / "2024-05-03.tif", PICTURE)
    hidden = np.where(np.arange(SHAPE[1]) < 16, 0, 255).astype(np.uint8)
    pictures.write(
        folder / "2024-05-03_mask.tif",
        np.broadcast_to(hidden, (1, *SHAPE)).copy(),
        pictures.north_up(SHAPE[0]),
    )
    report = add("photos", [folder], AddingOptions())
    reasons = dict(report.refused)
    assert [one.item_id for one in report.files] == ["2024-05-03"]
    assert all(
        "names that tell them" in reasons[f"photos/2024-05-01/{name}.tif"] for name in ("B2", "B3", "B4")
    )
    assert "differ in grid" in reasons["photos/2024-05-02/B04.tif"]
    assert "--mask 0" in reasons["photos/2024-05-03_mask.tif"]
    window, _ = read("photos", "2024-05-03")
    assert window.clear.values.all()

    registry.remove("photos")
    report = add(
        "photos",
        [folder / "2024-05-03.tif", folder / "2024-05-03_mask.tif"],
        AddingOptions(mask=parse_mask("0")),
    )
    assert ([one.item_id for one in report.files], report.refused) == (["2024-05-03"], ())
    window = read("photos", "2024-05-03")[0]
    assert (window.clear.values.any(axis=0) == (np.arange(SHAPE[1]) >= 16)).all()

    registry.remove("photos")
    report = add("photos", [folder], AddingOptions(mask=parse_mask("none")))
    assert "photos/2024-05-03_mask.tif" not in dict(report.refused)
    assert report.profile.clouds is None


def test_the_command_takes_masks(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGWATCH_HOME", str(home))
    pictures.write_plain(tmp_path / "2024-05-03.tif", PICTURE)
    runner = CliRunner()
    wrong = runner.invoke(
        app, ["source", "add", str(tmp_path / "2024-05-03.tif"), "--name", "one", "--mask", "x"]
    )
    assert wrong.exit_code != 0
    assert "whole numbers" in wrong.output
