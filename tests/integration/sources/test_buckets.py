"""Files in S3 buckets: requests are signed by AWS Signature Version 4, set the payer and contain no key."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from shapely.geometry import box

from segwatch.geo.errors import AccessDenied, BadItem, ReadFailed
from segwatch.geo.items import parse_item
from segwatch.geo.sources import profiles
from segwatch.geo.sources.rasters.pixels import SceneWindow, read_scene
from segwatch.geo.types.scene import Scene
from segwatch.geo.types.source import AssetAccess, Profile
from tests.support.images import GRID, image
from tests.support.paths import DATA
from tests.support.serving import running

KEY, SECRET = "AKIDEXAMPLE", "kept-to-itself"
LANDSAT = DATA / "stac" / "earthsearch_landsat.json"


def signature(secret: str, headers: dict[str, str], path: str, signed: str, scope: str) -> str:
    """AWS Signature Version 4 of a GET, from its specification."""
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in signed.split(";"))
    asked = f"GET\n{path}\n\n{lines}\n{signed}\n{headers['x-amz-content-sha256']}"
    digest = hashlib.sha256(asked.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{digest}"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, text.encode(), "sha256").hexdigest()


@contextmanager
def bucket(content: bytes, seen: list[dict[str, str]]) -> Iterator[str]:
    """An S3 store that requires signatures and requester pays."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen.append({"path": self.path, **headers})
            status, body = (206, self._part(headers)) if self._may(headers) else (403, b"")
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            if body:
                first = int(headers["range"].removeprefix("bytes=").split("-")[0])
                self.send_header("content-range", f"bytes {first}-{first + len(body) - 1}/{len(content)}")
            self.end_headers()
            self.wfile.write(body)

        def _part(self, headers: dict[str, str]) -> bytes:
            first, last = (int(part) for part in headers["range"].removeprefix("bytes=").split("-"))
            return content[first : last + 1]

        def _may(self, headers: dict[str, str]) -> bool:
            given = headers.get("authorization", "").removeprefix("AWS4-HMAC-SHA256 ")
            said = dict(part.strip().split("=", 1) for part in given.split(",") if "=" in part)
            signed, scope = said.get("SignedHeaders", ""), said.get("Credential", "/").partition("/")[2]
            if "x-amz-request-payer" not in signed or headers.get("x-amz-request-payer") != "requester":
                return False
            return said["Signature"] == signature(SECRET, headers, self.path, signed, scope)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with running(Handler) as url:
        yield url


def paying(url: str) -> Profile:
    access = AssetAccess("s3", region="eu-central-1", endpoint=url, requester_pays=True)
    return replace(profiles.load("rgb-cog"), access=access, hosts=("127.0.0.1:*",))


def scene(profile: Profile, link: str) -> Scene:
    square = box(14, 45, 16, 47)
    document = {
        "id": "one", "collection": "visual", "geometry": square.__geo_interface__,
        "properties": {"datetime": "2024-05-01T10:00:00Z"}, "assets": {"visual": {"href": link}},
    }  # fmt: skip
    item = parse_item(document, profile, base="https://stac.example.org/one")
    return Scene("visual", "made", "1", date(2024, 5, 1), datetime.now(UTC), (item,), square)


def look(profile: Profile, link: str = "s3://images/a b/ü+1.tif", **credentials: str) -> SceneWindow:
    return read_scene(
        scene(profile, link), profile, GRID, allowed_hosts=["127.0.0.1:*"], credentials=credentials
    )


def test_requests_are_signed_and_requester_pays(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[dict[str, str]] = []
    with bucket(image(10, 20, 30), seen) as url:
        window = look(paying(url), access_key_id=KEY, secret_access_key=SECRET, session_token="for-a-while")
    assert window.valid.all()
    assert {one["path"] for one in seen} == {"/images/a%20b/%C3%BC%2B1.tif"}
    assert {one["x-amz-security-token"] for one in seen} == {"for-a-while"}
    assert f"Credential={KEY}/" in seen[0]["authorization"]
    assert "/eu-central-1/s3/aws4_request" in seen[0]["authorization"]
    assert SECRET not in str(seen) + caplog.text
    assert "for-a-while" not in caplog.text


def test_machine_credentials_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    from segwatch.geo.sources.http import credentials

    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with bucket(image(10, 20, 30), []) as url:
        credentials._machine_keys.cache_clear()
        with pytest.raises(AccessDenied, match="AWS_ACCESS_KEY_ID"):
            look(paying(url))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        credentials._machine_keys.cache_clear()
        assert look(paying(url)).valid.all()
        credentials._machine_keys.cache_clear()


def test_wrong_keys_are_reported_without_showing_them() -> None:
    with bucket(image(10, 20, 30), []) as url, pytest.raises(ReadFailed, match="credentials") as told:
        look(paying(url), access_key_id=KEY, secret_access_key="wr0ng")
    assert "wr0ng" not in str(told.value)


@pytest.mark.parametrize(
    "link", ["s3://bucket", "s3:///key", "s3://UPPER/key", "s3://a@b/key", "gs://bucket/key"]
)
def test_invalid_s3_links_are_refused(link: str) -> None:
    with pytest.raises(BadItem, match="no http or https href"):
        scene(paying("http://127.0.0.1:1"), link)


def test_a_recorded_earth_search_item_is_read_from_its_bucket() -> None:
    item: dict[str, Any] = json.loads(LANDSAT.read_text(encoding="utf-8"))
    profile = profiles.load("landsat-c2-l2-earthsearch")
    found = parse_item(item, profile, base="https://earth-search.aws.element84.com/v1/x")
    assert found.assets["red"].startswith(
        "https://usgs-landsat.s3.us-west-2.amazonaws.com/collection02/level-2/"
    )
    assert found.relative_orbit == "33"
    assert found.platform == "landsat-8"
