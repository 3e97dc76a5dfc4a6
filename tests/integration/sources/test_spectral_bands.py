"""Bands for spectral evidence: read once, with the rendering's windows, and never the reason that a scene is lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from shapely.geometry import box

from segwatch.geo.crs import to_lonlat
from segwatch.geo.errors import SourceFailed
from segwatch.geo.grid import get_crs
from segwatch.geo.items import parse_item
from segwatch.geo.sources import profiles
from segwatch.geo.sources.rasters.pixels import SceneWindow, open_scene
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.source import BandRef, Profile, SpectralBand
from tests.support.images import GRID, image
from tests.support.serving import Answer, serving_files

AREA = to_lonlat(box(*GRID.boundingbox), get_crs(GRID))
NOW = datetime(2024, 5, 1, tzinfo=UTC)
RED, GREEN, BLUE = (BandRef("visual", index) for index in (1, 2, 3))


def _profile(**bands: BandRef) -> Profile:
    spectral = tuple(SpectralBand(name, band) for name, band in bands.items())
    plain = replace(profiles.load("rgb-cog"), hosts=("127.0.0.1:*",), low=0.0, high=3.0)
    return replace(plain, spectral=spectral, scale=0.01, offset=0.5)


def _read(url: str, profile: Profile, assets: Mapping[str, str]) -> SceneWindow:
    links = {name: f"{url}{path}" for name, path in assets.items()}
    item = Item("i", "visual", url, NOW, None, "made", "1", "", AREA, links)
    scene = Scene("visual", "made", "1", NOW.date(), NOW, (item,), AREA)
    with open_scene(scene, profile, GRID, allowed_hosts=("127.0.0.1:*",), spectral=True) as reader:
        return reader.read(GRID)


def test_rendered_bands_are_not_read_again_and_others_are_scaled_like_them() -> None:
    profile = _profile(green=GREEN, nir=BandRef("infrared", 2))
    files = {"/rgb.tif": image(10, 20, 30), "/nir.tif": image(1, 80)}
    with serving_files(files) as server:
        found = _read(server.url, profile, {"visual": "/rgb.tif", "infrared": "/nir.tif"})
        rendered = server.bytes_asked("/rgb.tif")
    assert found.spectral is not None
    assert found.spectral.band.values.tolist() == ["green", "nir"]
    np.testing.assert_allclose(found.spectral.values[:, 5, 5], [0.7, 1.3], rtol=1e-6)
    with serving_files(files) as server:
        _read(server.url, _profile(), {"visual": "/rgb.tif"})
        assert server.bytes_asked("/rgb.tif") == rendered


def test_radar_is_in_decibels_and_nothing_more_is_read() -> None:
    radar = profiles.load("sentinel1-rtc-planetary")
    profile = replace(radar, hosts=("127.0.0.1:*",), access=None)
    files = {"/vv.tif": image(0.1, dtype="float32"), "/vh.tif": image(0.01, dtype="float32")}
    with serving_files(files) as server:
        found = _read(server.url, profile, {"vv": "/vv.tif", "vh": "/vh.tif"})
    assert found.spectral is not None
    np.testing.assert_allclose(found.spectral.values[:, 5, 5], [-10, -20], rtol=1e-5)
    np.testing.assert_allclose(found.bands.values[:, 5, 5], [-10, -20, 10], rtol=1e-5)


@pytest.mark.parametrize(
    "assets",
    [
        {"visual": "/rgb.tif"},
        {"visual": "/rgb.tif", "infrared": "/damaged.tif"},
        {"visual": "/rgb.tif", "infrared": "/rgb.tif"},
    ],
    ids=["missing", "damaged", "without the band"],
)
def test_a_scene_without_a_spectral_band_is_read_all_the_same(assets: dict[str, str]) -> None:
    profile = _profile(green=GREEN, nir=BandRef("infrared", 4))
    with serving_files({"/rgb.tif": image(10, 20, 30), "/damaged.tif": b"II*\0 and no more" * 9}) as server:
        found = _read(server.url, profile, assets)
    assert found.valid.values.all()
    assert found.spectral is not None
    assert np.isfinite(found.spectral.values[0]).all()
    assert np.isnan(found.spectral.values[1]).all()


def test_an_outage_of_a_spectral_band_is_an_outage_of_the_scene() -> None:
    """Else the evidence of a scene would depend on when it was read."""

    def fail(number: int, right: Answer) -> Answer:
        return (503, {}, b"") if right[2] in infrared else right

    infrared = image(1, 80)
    with serving_files({"/rgb.tif": image(10, 20, 30), "/nir.tif": infrared}, fail) as server:
        profile = _profile(nir=BandRef("infrared", 2))
        with pytest.raises(SourceFailed):
            _read(server.url, profile, {"visual": "/rgb.tif", "infrared": "/nir.tif"})


def test_an_item_may_lack_the_assets_of_spectral_bands() -> None:
    profile = _profile(nir=BandRef("infrared", 1))
    document = {
        "type": "Feature", "stac_version": "1.0.0", "id": "i", "collection": "visual", "bbox": list(AREA.bounds),
        "geometry": AREA.__geo_interface__, "links": [], "properties": {"datetime": NOW.isoformat()},
        "assets": {"visual": {"href": "https://a.example/v.tif"}},
    }  # fmt: skip
    assert dict(parse_item(document, profile).assets) == {"visual": "https://a.example/v.tif"}
    document["assets"]["infrared"] = {"href": "https://a.example/n.tif"}  # type: ignore[index]
    assert set(parse_item(document, profile).assets) == {"visual", "infrared"}
