"""The built page of the map: complete, without anything from other hosts, and small enough to ship."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

STATIC = Path(__file__).parents[4] / "flows" / "web" / "static"
MAX_BASE_MAP_BYTES = 3_000_000


def test_the_page_holds_all_that_it_loads_and_no_inline_script() -> None:
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    named = re.findall(r'(?:src|href)="/static/(page/[^"]+)"', page)
    assert len(named) >= 2
    for one in named:
        assert (STATIC / one).is_file(), f"{one} is missing; run: make page"
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert re.findall(r"\bon\w+=|style=", page) == []
    assert "//" not in page.replace("<!doctype html>", ""), "nothing from other hosts"


def test_the_parts_of_a_bundle_ship_with_it_and_with_their_licences() -> None:
    built = {one.name for one in (STATIC / "page").iterdir()}
    for script in (STATIC / "page").glob("*.js"):
        text = script.read_text(encoding="utf-8")
        for one in re.findall(r'["`/]([\w.-]+-[\w-]{8}\.(?:js|css))["`]', text):
            assert one in built, f"{script.name} loads {one}, which is missing"
    licences = (STATIC / "page" / "LICENSES.txt").read_text(encoding="utf-8")
    for one in ("maplibre-gl", "pmtiles", "preact", "terra-draw", "Natural Earth", "GeoNames"):
        assert one in licences, one


def test_the_base_map_is_a_small_archive_of_tiles() -> None:
    (archive,) = (STATIC / "basemap").iterdir()
    (script,) = (STATIC / "page").glob("index-*.js")
    assert f"/static/basemap/{archive.name}" in script.read_text(encoding="utf-8")
    content = archive.read_bytes()
    assert content.startswith(b"PMTiles\x03")
    assert len(content) <= MAX_BASE_MAP_BYTES
    digest = hashlib.sha256(content).hexdigest()[:8]
    assert archive.name == f"basemap-{digest}.pmtiles", "browsers keep it for good under this name"
