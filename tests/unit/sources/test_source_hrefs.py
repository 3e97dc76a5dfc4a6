"""Only web links to named hosts are opened."""

from __future__ import annotations

import pytest

from segwatch.geo.errors import UnsafeHref
from segwatch.geo.sources import hrefs

ALLOWED = ["data.example.org", "*.blob.example.net", "127.0.0.1:8080"]


@pytest.mark.parametrize(
    "href",
    [
        "https://data.example.org/a.tif",
        "http://DATA.example.org:9000/a.tif?sig=1",
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


def test_no_allowed_host_means_none() -> None:
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
