"""Shipped profiles are valid, and errors of invalid ones tell what to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from segwatch.geo.errors import ProfileError
from segwatch.geo.sources import profiles

GOOD = """
title = "t"
collection = "c"
gsd_m = 10.0
low = 0
high = 255
hosts = ["data.example.org"]
[bands]
red = { asset = "visual" }
green = { asset = "visual", index = 2 }
blue = { asset = "visual", index = 3 }
[clouds]
asset = "mask"
unclear_values = [1]
"""


def write(folder: Path, text: str) -> str:
    file = folder / "mine.toml"
    file.write_text(text)
    return str(file)


def test_all_shipped_profiles_load() -> None:
    expected = {
        "sentinel2-l2a-earthsearch",
        "landsat-c2-l2-planetary",
        "local-naip",
        "local-sentinel2",
        "rgb-cog",
    }
    assert expected <= set(profiles.list_names())
    for name in profiles.list_names():
        profile = profiles.load(name)
        assert profile.name == name
        assert profile.high > profile.low
        assert profile.hosts
        # a user's own images have no known license
        assert (
            name == "rgb-cog"
            or (profile.license and profile.attribution and profile.catalog)
            or "local" in name
        )


@pytest.mark.parametrize("kind", ["sentinel2", "landsat", "hls"])
def test_optical_satellite_profiles_mask_cloud_and_shadow(kind: str) -> None:
    for name in profiles.list_names():
        if name.startswith(kind):
            clouds = profiles.load(name).clouds
            assert clouds is not None
            assert len(clouds.unclear_values) + len(clouds.unclear_bits) >= 3


def test_own_file_loads(tmp_path: Path) -> None:
    profile = profiles.load(write(tmp_path, GOOD))
    assert profile.name == "mine"
    assert profile.assets() == ("visual", "mask")
    assert profile.green.index == 2


@pytest.mark.parametrize(
    ("old", "new", "field", "value"),
    [
        ("high = 255", "high = 0", "high", "0.0"),
        ("gsd_m = 10.0", "gsd_m = -1", "gsd_m", "-1"),
        ('hosts = ["data.example.org"]', 'hosts = ["https://x.org/"]', "hosts.0", "https://x.org/"),
        ('hosts = ["data.example.org"]', 'hosts = ["*.org"]', "hosts.0", "*.org"),
        ("unclear_values = [1]", "", "clouds", "unclear_values"),
        ('title = "t"', 'titel = "t"', "titel", "title"),
        ('collection = "c"', "", "collection", "required"),
        ("index = 3", "index = 0", "bands.blue.index", "0"),
        ("low = 0", "low =", "TOML", "mine.toml"),
        ('title = "t"', 'title = "t"\nrescan_dais = 5', "rescan_dais", "did you mean rescan_days?"),
        ('title = "t"', 'title = "t"\nrescan_days = inf', "rescan_days", "36525"),
        ("index = 3", "idx = 3", "bands.blue.idx", "did you mean index?"),
    ],
)
def test_messages_name_field_and_value(tmp_path: Path, old: str, new: str, field: str, value: str) -> None:
    with pytest.raises(ProfileError) as caught:
        profiles.load(write(tmp_path, GOOD.replace(old, new)))
    assert field in str(caught.value)
    assert value in str(caught.value)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ProfileError, match="rgb-cog"):
        profiles.load("no-such-profile")
    with pytest.raises(ProfileError, match="did you mean sentinel2-l2a-earthsearch"):
        profiles.load("sentinel-2-l2a-earth-search")
    with pytest.raises(ProfileError, match="cannot be read"):
        profiles.load("/no/such/file.toml")
