"""Only http(s) links to allowed hosts are opened."""

from __future__ import annotations

from dataclasses import replace

import pytest

from segwatch.geo.errors import UnsafeHref
from segwatch.geo.sources import profiles
from segwatch.geo.sources.http import hrefs
from segwatch.geo.types.source import AssetAccess

ALLOWED = ["data.example.org", "*.blob.example.net", "127.0.0.1:8080"]


@pytest.mark.parametrize(
    "href",
    [
        "https://data.example.org/a.tif",
        "http://DATA.example.org:80/a.tif?sig=1",
        "https://x.blob.example.net/a.tif",
        "http://127.0.0.1:8080/a.tif",
    ],
)
def test_allowed(href: str) -> None:
    assert hrefs.check(href, ALLOWED) == href


@pytest.mark.parametrize(
    "href",
    [
        "file:///etc/passwd",
        "/vsicurl/https://data.example.org/a.tif",
        "/etc/passwd",
        "s3://bucket/a.tif",
        "ftp://data.example.org/a.tif",
        "https://data.example.org@evil.example.com/a.tif",
        "https://data.example.org.evil.example.com/a.tif",
        "https://evil.example.com/data.example.org/a.tif",
        "https://blob.example.net/a.tif",
        "https://xblob.example.net/a.tif",
        "http://127.0.0.1:8081/a.tif",
        "http://169.254.169.254/latest/meta-data",
        "http://data.example.org\\@evil.example.com/",
        "http://data.example.org/a b.tif",
        "http://data.example.org:port/",
        "http:///a.tif",
        "",
    ],
)
def test_refused(href: str) -> None:
    with pytest.raises(UnsafeHref):
        hrefs.check(href, ALLOWED)


def test_no_allowed_host_refuses_every_href() -> None:
    with pytest.raises(UnsafeHref, match="allowed: none"):
        hrefs.check("https://data.example.org/a.tif", ["", ""])


@pytest.mark.parametrize(
    "target", ["/b.tif", "https://data.example.org/b.tif", "http://data.example.org/c/d.tif"]
)
def test_redirects_on_one_host(target: str) -> None:
    assert hrefs.check_redirect("http://data.example.org/a.tif", target, ALLOWED).endswith(".tif")


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:8080/b.tif",
        "http://data.example.org:22/b.tif",
        "//evil.example.com/b.tif",
        "file:///etc/passwd",
    ],
)
def test_redirects_elsewhere(target: str) -> None:
    with pytest.raises(UnsafeHref):
        hrefs.check_redirect("http://data.example.org/a.tif", target, ALLOWED)


def test_downgrade_is_refused() -> None:
    with pytest.raises(UnsafeHref):
        hrefs.check_redirect("https://data.example.org/a.tif", "http://data.example.org/a.tif", ALLOWED)


def test_signatures_are_not_shown() -> None:
    with pytest.raises(UnsafeHref) as caught:
        hrefs.check("https://me:pw@other.example.org/a.tif?sig=SECRET", ALLOWED)
    assert "SECRET" not in str(caught.value)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("href", "allowed"),
    [
        ("http://data.example.org/a", True),
        ("http://data.example.org:80/a", True),
        ("https://data.example.org:443/a", True),
        ("http://data.example.org:443/a", False),
        ("https://data.example.org:80/a", False),
        ("http://data.example.org:22/a", False),
        ("https://data.example.org:5432/a", False),
        ("http://tiles.example.org:8443/a", True),
        ("http://tiles.example.org/a", False),
        ("http://any.example.org:5432/a", True),
        ("http://[::1]/a", True),
        ("http://[::1]:22/a", False),
        ("http://[::2]:9000/a", True),
        ("http://x.wide.example.org:9000/a", True),
        ("http://x.wide.example.org:9001/a", False),
    ],
)
def test_a_host_is_allowed_with_its_ports(href: str, allowed: bool) -> None:
    hosts = ["data.example.org", "tiles.example.org:8443", "any.example.org:*", "[::1]", "[::2]:9000"]
    assert hrefs.is_allowed_host(href, [*hosts, "*.wide.example.org:9000"]) is allowed


def test_a_catalog_and_a_store_are_read_on_their_own_ports() -> None:
    profile = replace(
        profiles.load("rgb-cog"),
        hosts=("minio.example.org",),
        access=AssetAccess("s3", endpoint="http://minio.example.org:9000"),
    )
    hosts = hrefs.list_readable_hosts(
        profile, "http://stac.example.org:8081/api", ["images.example.org:8443"]
    )
    for allowed in (
        "minio.example.org:9000",
        "minio.example.org",
        "stac.example.org:8081",
        "images.example.org:8443",
    ):
        assert hrefs.is_allowed_host(f"http://{allowed}/a.tif", hosts), allowed
    for refused in (
        "minio.example.org:9001",
        "stac.example.org:22",
        "images.example.org",
        "stac.example.org:9000",
    ):
        assert not hrefs.is_allowed_host(f"http://{refused}/a.tif", hosts), refused


@pytest.mark.parametrize("href", ["//[", "http://[x", "https://a]b/c", "//[::1"])
def test_a_link_that_is_not_a_url_stays_and_is_refused(href: str) -> None:
    joined = hrefs.join_href("https://stac.example.org/catalog.json", href)
    with pytest.raises(UnsafeHref):
        hrefs.check(joined, ["stac.example.org"])


def test_links_are_relative_to_their_document() -> None:
    assert hrefs.join_href("https://a.example/b/c.json", "../d.json") == "https://a.example/d.json"
