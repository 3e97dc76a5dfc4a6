"""A catalog has one identity however its URL is written, and another one for any other URL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from shapely.geometry import box

from segwatch.geo.identity import identify_catalog, normalize_link
from segwatch.geo.text.redaction import to_public_url
from segwatch.geo.types.scene import Scene


@pytest.mark.parametrize(
    "written",
    [
        "https://stac.example.org/v1",
        "https://stac.example.org/v1/",
        "HTTPS://STAC.Example.org:443/v1",
        "https://user:secret@stac.example.org/v1",
        "https://stac.example.org./v1?token=abc#top",
        "https://stac.example.org/v1/search",
        "https://stac.example.org/v1/collections",
        "https://stac.example.org/v1/collections/s2",
        "https://stac.example.org/v1/collections/s2/items?limit=10",
    ],
)
def test_one_catalog_has_one_identity(written: str) -> None:
    assert identify_catalog(written) == "https://stac.example.org/v1"


@pytest.mark.parametrize(
    "other",
    [
        "http://stac.example.org/v1",
        "https://stac.example.org:8443/v1",
        "https://stac.example.org/V1",
        "https://stac.example.org/v1/research",
        "https://stac.example.org/v1/catalog.json",
        "https://stac.example.org/v1/collections/s2/items/one",
        "https://stac.example.org/v1/collections/s2/collection.json",
        "https://stac.example.org",
    ],
)
def test_other_urls_are_other_catalogs(other: str) -> None:
    assert identify_catalog(other) != identify_catalog("https://stac.example.org/v1")
    assert "secret" not in identify_catalog(other.replace("://", "://a:secret@"))


def test_a_name_keeps_the_identity_when_the_url_changes() -> None:
    assert {identify_catalog(url, "mine") for url in ("http://a.example", "https://b.example/v2")} == {"mine"}


def test_the_root_of_a_host_and_of_a_url_without_a_host() -> None:
    assert identify_catalog("http://[::1]:8080/") == "http://[::1]:8080"
    assert identify_catalog("https://stac.example.org/search") == "https://stac.example.org"


@pytest.mark.parametrize(
    ("signed", "kept"),
    [
        ("https://b.example/a.tif?st=1&se=2&sp=r&sv=3&sr=c&sig=abc%3D", "https://b.example/a.tif"),
        ("https://b.example/a.tif?X-Amz-Signature=1&X-Amz-Date=2", "https://b.example/a.tif"),
        ("https://b.example/a.tif?Expires=1&Signature=2&Key-Pair-Id=3", "https://b.example/a.tif"),
        ("https://b.example/get?id=7&token=abc#x", "https://b.example/get?id=7#x"),
        # not every short parameter belongs to a signature
        ("https://b.example/get?st=Ohio&expires=never", "https://b.example/get?st=Ohio&expires=never"),
        ("https://b.example/a.tif", "https://b.example/a.tif"),
    ],
)
def test_signatures_are_not_part_of_a_normalized_link(signed: str, kept: str) -> None:
    assert to_public_url(signed) == kept
    assert normalize_link(signed) == normalize_link(kept)


def test_scene_keys_are_unique(scene: Scene) -> None:
    others = [
        replace(scene, catalog="https://b.example"),
        replace(scene, catalog="https://a.example/c", collection="d"),
        replace(scene, collection="c/d"),
        replace(scene, collection="c%2Fd"),
        replace(scene, platform="", relative_orbit="p/7"),
        replace(scene, catalog=""),
    ]
    assert len({one.key for one in (scene, *others)}) == len(others) + 1


@pytest.fixture
def scene() -> Scene:
    at = datetime(2024, 5, 1, 10, tzinfo=UTC)
    return Scene("c", "p", "7", at.date(), at, (), box(0, 0, 1, 1), "https://a.example")
