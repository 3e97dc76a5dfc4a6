"""Sources with credentials: tokens are requested, sent to the right hosts, renewed and never shown."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from shapely.geometry import box

from segwatch.geo.errors import AccessDenied, ReadFailed, UnsafeHref
from segwatch.geo.rendering import render
from segwatch.geo.sources import profiles
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.rasters.pixels import SceneWindow, read_scene
from segwatch.geo.sources.search.inspection import inspect
from segwatch.geo.types.scene import Item, Scene
from segwatch.geo.types.source import AssetAccess, Profile
from tests.support.images import GRID, image
from tests.support.serving import running
from tests.support.stac_store import Store, stac_store


@dataclass
class Source:
    """A server that issues tokens and serves one file to holders of the newest token."""

    url: str = ""
    content: bytes = b""
    tokens: int = 0
    lifetime: timedelta = timedelta(hours=1)
    stale: int = 0
    """Number of first tokens that are rejected."""
    accepted: set[str] = field(default_factory=set)
    forms: list[dict[str, list[str]]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def token(self) -> str:
        self.tokens += 1
        made = f"secret-{self.tokens}"
        self.accepted = {made} if self.tokens > self.stale else set()
        return made


@contextmanager
def source() -> Iterator[Source]:
    made = Source(content=image(10, 20, 30))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path)
            if path.path.startswith("/token/"):
                until = datetime.now(UTC) + made.lifetime
                self._send(
                    200,
                    json.dumps(
                        {"token": f"sig={made.token()}", "msft:expiry": f"{until:%Y-%m-%dT%H:%M:%SZ}"}
                    ),
                )
                return
            bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
            given = {*parse_qs(path.query).get("sig", []), bearer}
            made.seen.append(
                self.path + self.headers.get("authorization", "") + self.headers.get("x-key", "")
            )
            if path.path == "/moved.tif":
                self._send(302, "", location=made.url.replace("127.0.0.1", "localhost") + "/a.tif")
                return
            if not (made.accepted & given) and self.headers.get("x-key") != "k":
                self._send(403, "")
                return
            first, last = (int(part) for part in self.headers["range"].removeprefix("bytes=").split("-"))
            last = min(last, len(made.content) - 1)
            body = made.content[first : last + 1]
            self._send(206, body, **{"content-range": f"bytes {first}-{last}/{len(made.content)}"})

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            made.forms.append(form)
            if form.get("password") != ["right"]:
                self._send(401, "{}")
                return
            self._send(
                200, json.dumps({"access_token": made.token(), "expires_in": made.lifetime.total_seconds()})
            )

        def _send(self, status: int, body: str | bytes, **headers: str) -> None:
            content = body.encode() if isinstance(body, str) else body
            self.send_response(status)
            for name, value in (headers | {"content-length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with running(Handler) as url:
        made.url = url
        yield made


def scene(**assets: str) -> Scene:
    now = datetime.now(UTC)
    square = box(0, 0, 1, 1)
    item = Item("one", "visual", "http://127.0.0.1/one", now, None, "made", "1", "", square, assets)
    return Scene("visual", "made", "1", date(2024, 5, 1), now, (item,), square)


def guarded(method: str, at: str, **more: Any) -> Profile:
    access = AssetAccess(method, token_url=at, client_id="me", **more)
    return replace(profiles.load("rgb-cog"), access=access, hosts=("127.0.0.1:*",))


def look(one: Source, profile: Profile, path: str = "/a.tif", **credentials: str) -> SceneWindow:
    shown = scene(visual=one.url + path)
    return read_scene(shown, profile, GRID, allowed_hosts=["127.0.0.1:*"], credentials=credentials)


def test_links_are_signed_and_signed_again_after_expiry(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with source() as one:
        profile = guarded("planetary-computer", f"{one.url}/token")
        assert look(one, profile).valid.all()
        assert one.tokens == 1
        assert all("sig=secret-1" in seen for seen in one.seen)
        look(one, profile)
        assert one.tokens == 1
    with source() as one:
        one.lifetime = timedelta(seconds=30)
        profile = guarded("planetary-computer", f"{one.url}/token")
        look(one, profile)
        look(one, profile)
        assert one.tokens >= 2  # the tokens expire too soon to be used twice
    assert "secret-" not in caplog.text


def test_a_new_token_replaces_an_old_one_in_the_link() -> None:
    with source() as one:
        profile = guarded("planetary-computer", f"{one.url}/token")
        assert look(one, profile, "/a.tif?v=1&se=2020-01-02&SIG=OLD%3D").valid.all()
        assert {seen.partition("?")[2] for seen in one.seen} == {"v=1&sig=secret-1"}


def test_a_rejected_token_is_renewed_once() -> None:
    with source() as one:
        profile = guarded("planetary-computer", f"{one.url}/token")
        one.stale = 1
        assert look(one, profile).valid.all()
        assert one.tokens == 2


def test_oauth2_password_grant() -> None:
    with source() as one:
        profile = guarded("oauth2", f"{one.url}/oauth")
        assert look(one, profile, username="u", password="right").valid.all()
        assert one.forms == [
            {"grant_type": ["password"], "client_id": ["me"], "username": ["u"], "password": ["right"]}
        ]
        with pytest.raises(AccessDenied, match="HTTP 401") as told:
            look(one, profile, username="other", password="wr0ng")
        assert "wr0ng" not in str(told.value)
        with pytest.raises(AccessDenied, match="SEGWATCH_CREDENTIALS"):
            look(one, profile)


def test_credentials_are_sent_to_the_profiles_hosts_only() -> None:
    with source() as one:
        one.accepted = {"t"}
        assert look(one, guarded("bearer", ""), token="t").valid.all()
        assert look(one, guarded("headers", ""), **{"x-key": "k"}).valid.all()
        one.seen.clear()
        elsewhere = replace(guarded("bearer", ""), hosts=("data.example.org",))
        with pytest.raises(ReadFailed, match="signing or credentials"):
            look(one, elsewhere, token="t")
        assert one.seen == ["/a.tif"]


def test_redirect_hosts_are_followed_by_https_only() -> None:
    allowed, elsewhere = ["data.example.org"], ["*.cdn.example.net"]
    source_ = "https://data.example.org/a.tif"
    target = "https://x.cdn.example.net/a.tif?Signature=s"
    assert hrefs.check_redirect(source_, target, allowed, elsewhere) == target
    for refused in (
        "http://x.cdn.example.net/a.tif",
        "https://cdn.example.net/a",
        "https://x.other.example/a",
    ):
        with pytest.raises(UnsafeHref):
            hrefs.check_redirect(source_, refused, allowed, elsewhere)
    with source() as one, pytest.raises(UnsafeHref):
        one.accepted = {"t"}
        look(one, guarded("bearer", "", redirect_hosts=("localhost",)), "/moved.tif", token="t")


def test_radar_is_rendered_in_decibels_with_the_ratio_as_blue() -> None:
    profile = replace(profiles.load("sentinel1-rtc-planetary"), access=None)
    with source() as one, source() as other:
        one.accepted = other.accepted = {""}
        one.content, other.content = image(0.1, dtype="float32"), image(0.01, dtype="float32")
        shown = scene(vv=f"{one.url}/a.tif", vh=f"{other.url}/a.tif")
        window = read_scene(shown, profile, GRID, allowed_hosts=["127.0.0.1:*"])
    np.testing.assert_allclose(window.bands[:, 0, 0], [-10, -20, 10], atol=1e-4)
    rgb = render(window.bands, window.valid, profile)
    assert rgb.values[0, 0].tolist() == [128, 89, 170]


def test_source_check_reports_findings() -> None:
    store = Store()
    with stac_store(store) as url, source() as one:
        one.accepted = {""}
        for day in range(1, 6):
            store.put(f"a{day}", f"2024-05-0{day}T10:00:00Z", updated=f"2024-05-0{day}T10:00:00Z")
            ground = [[[14.9, 46.0], [15.1, 46.0], [15.1, 46.1], [14.9, 46.1], [14.9, 46.0]]]
            store.items[f"a{day}"]["geometry"]["coordinates"] = ground
            store.items[f"a{day}"]["assets"]["visual"]["href"] = f"{one.url}/a.tif"
        findings = {
            each.about: each for each in inspect(url, profiles.load("rgb-cog"), imagery_hosts=["127.0.0.1:*"])
        }
        assert findings["catalog"].says == "STAC API"
        assert "not declared" in findings["sort"].says
        assert findings["updated"].says.startswith("5 of 5")
        assert findings["assets"].says == "visual"
        assert findings["profile"].says.startswith("5 of 5")
        # the file covers only a part of the item's footprint
        assert findings["sample read"].good
        assert "25% valid" in findings["sample read"].says
        assert not findings["rendering"].good, "of one colour"
        store.items["a3"]["assets"] = {}
        findings = {
            each.about: each for each in inspect(url, profiles.load("rgb-cog"), imagery_hosts=["127.0.0.1:*"])
        }
        assert findings["profile"].says.startswith("4 of 5 items can be used; asset 'visual' is missing")
        store.items.clear()
        findings = {each.about: each for each in inspect(url, None)}
        assert not findings["items"].good
