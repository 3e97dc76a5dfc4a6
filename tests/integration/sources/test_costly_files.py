"""Files whose structure makes reading them cost without bound are refused, each as its scene's reason."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from segwatch.geo.errors import UnfitPixels
from segwatch.geo.raster import make_coordinates
from segwatch.geo.sources import profiles
from segwatch.geo.sources.http import block_cache, ranges
from segwatch.geo.sources.http.connections import open_connections
from segwatch.geo.sources.rasters import files as source_files
from segwatch.geo.sources.rasters.decode_budget import DecodingBudget
from segwatch.geo.sources.rasters.pixels import open_scene, read_scene
from segwatch.geo.types.scene import Item, Scene
from tests.support.hostile_tiffs import Page, hostile_tiff, mask, overview, text
from tests.support.images import GRID, textured, tiff
from tests.support.paths import ROOT
from tests.support.serving import serving_files

PROFILE = profiles.load("rgb-cog")
#: What reading may take besides what a process has anyway.
MAX_MIB = 350
_SMALL = Page(100, 100, tile=(64, 64), filled=7)
_FINE = Page(320, 320, tile=(64, 64), filled=7)
_METADATA = b"<GDALMetadata>" + b'<Item name="a">x</Item>' * 60_000 + b"</GDALMetadata>\0"


def later(*pages: Page, **more: Any) -> Callable[[], bytes]:
    """What makes a file where it is needed: in all they take seconds."""
    return partial(hostile_tiff, *pages, **more)


HOSTILE = {
    "20 000 interleaved bands": later(Page(100, 100, 20_000, filled=7)),
    "interleaved bands of many bits": later(Page(100, 100, 2000, bits=64, filled=7)),
    "one tile": later(Page(100, 100, tile=(16_000, 16_000), filled=7)),
    "one strip": later(Page(100_000, 1900, filled=7)),
    "an overview of one tile": later(_FINE, overview(80, 80, tile=(16_000, 16_000), filled=7), pixel_m=2.5),
    "an overview of one strip": later(
        Page(400_000, 7600, tile=(512, 512)), overview(100_000, 1900, filled=7), pixel_m=2.5
    ),
    "a mask of one tile": later(_SMALL, mask(100, 100, tile=(20_000, 20_000), filled=255)),
    "a mask of an overview of one tile": later(
        _FINE, overview(80, 80, tile=(64, 64), filled=7), Page(80, 80, 1, tile=(20_000, 20_000), role=5), pixel_m=2.5
    ),
    "a loop of images": later(_SMALL, overview(50, 50, tile=(64, 64), filled=7), loop=True),
    "thousands of overviews": later(_SMALL, *[overview(50, 50, tile=(64, 64), filled=7)] * 3000),
    "thousands of sub-images": later(
        Page(100, 100, tile=(64, 64), filled=7, more={330: ((4, "I", 4), tuple(range(8, 4008)))})
    ),
    "metadata without end": later(Page(100, 100, tile=(64, 64), filled=7, more={42112: text(_METADATA)})),
    "too many blocks": later(Page(60_000, 40_000, 100, tile=(16, 16))),
}  # fmt: skip


def scene(*hrefs: str) -> Scene:
    now, square = datetime.now(UTC), box(14, 45, 16, 47)
    items = [
        Item(f"item {number}", "visual", href, now, None, "made", "1", "", square, {"visual": href})
        for number, href in enumerate(hrefs)
    ]
    return Scene("visual", "made", "1", date(2024, 5, 1), now, tuple(items), square)


@pytest.fixture(scope="module")
def told() -> dict[str, tuple[str | None, float]]:
    """Reason and peak MiB of each, all read one after the other by one process that has a limit of memory."""
    contents = {f"/{number}.tif": make() for number, make in enumerate(HOSTILE.values())}
    contents["/good.tif"] = textured(9, 9, 9)
    names = [one.removeprefix("/") for one in contents]
    with serving_files(contents) as served:
        child = subprocess.run(
            [sys.executable, "-m", "tests.support.reading_costs", served.url, "good.tif", *names],
            cwd=ROOT, capture_output=True, text=True, timeout=240, check=True,
        )  # fmt: skip
    first, *others, last = json.loads(child.stdout)
    assert first[1] is None
    assert last[1] is None, "files before it took what it needs"
    return {name: (one[1], one[2] - first[2]) for name, one in zip(HOSTILE, others, strict=True)}


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_in_little_memory(name: str, told: dict[str, tuple[str | None, float]]) -> None:
    reason, mib = told[name]
    assert reason is not None
    assert reason.startswith("UnfitPixels"), reason
    assert mib < MAX_MIB


@pytest.mark.parametrize(
    "make",
    [
        later(Page(9000, 2400, filled=7)),
        later(Page(9000, 2400, filled=7, compression=1)),
        later(Page(40_000, 40_000, tile=(512, 512)), overview(10_000, 10_000, filled=7), pixel_m=2.5),
        later(Page(100, 100, 400, bits=16, separate=True, tile=(112, 112), filled=7)),
        later(Page(256, 256, 200, bits=8, tile=(256, 256), filled=7)),
    ],
    ids=["a strip by rows", "a plain strip", "an overview by rows", "bands apart", "a spectrum"],
)
def test_what_gdal_reads_in_little_memory_is_read(make: Callable[[], bytes]) -> None:
    with serving_files({"/a.tif": make()}) as served:
        window = read_scene(scene(f"{served.url}/a.tif"), PROFILE, GRID, allowed_hosts=["127.0.0.1:*"])
    assert window.bands.shape == (3, GRID.height, GRID.width)


@pytest.fixture
def other_file(tmp_path: Path) -> Path:
    path = tmp_path / "other.tif"
    path.write_bytes(tiff(np.full((3, 10, 10), 77, np.uint8)))
    return path


@pytest.mark.parametrize("name", ["OVERVIEW_FILE", "&#79;verview_file", "&#x4f;VERVIEW_FILE"])
def test_metadata_open_no_other_file(name: str, other_file: Path) -> None:
    metadata = f'<GDALMetadata><Item name="{name}" domain="OVERVIEWS">{other_file}</Item></GDALMetadata>\0'
    page = Page(320, 320, tile=(64, 64), filled=7, more={42112: text(metadata.encode())})
    with (
        serving_files({"/a.tif": hostile_tiff(page, pixel_m=2.5)}) as served,
        pytest.raises(UnfitPixels, match="name another file"),
    ):
        read_scene(scene(f"{served.url}/a.tif"), PROFILE, GRID, allowed_hosts=["127.0.0.1:*"])


def _jp2(siz: tuple[int, ...], bands: int, *, code_block: int = 4, boxes: bytes = b"") -> bytes:
    """A JPEG 2000 file without any data."""
    components = b"\x07\x01\x01" * bands
    body = struct.pack(">H8IH", 0, *siz, bands) + components
    cod = bytes([0, 0, 0, 1, 0, 5, code_block, code_block, 0, 0])
    stream = b"\xff\x4f\xff\x51" + struct.pack(">H", len(body) + 2) + body
    stream += b"\xff\x52" + struct.pack(">H", len(cod) + 2) + cod + b"\xff\x90" + bytes(10)
    start = struct.pack(">I4sI", 12, b"jP  ", 0x0D0A870A)
    return start + boxes + struct.pack(">I4s", 8 + len(stream), b"jp2c") + stream


_XML = b"<OVERVIEW_FILE/>"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (_jp2((100, 100, 0, 0, 16_000, 16_000, 0, 0), 16_000), "16000 bands"),
        (_jp2((60_000, 60_000, 0, 0, 30_000, 30_000, 0, 0), 3), "30000 x 30000"),
        (_jp2((60_000, 60_000, 0, 0, 1, 1, 0, 0), 3), "blocks, too many|too many to decode"),
        (_jp2((60_000, 60_000, 0, 0, 60_000, 60_000, 0, 0), 3, code_block=0), "too many to decode"),
        (_jp2((100, 100, 0, 0, 0, 64, 0, 0), 3), "invalid size"),
        (_jp2((100, 100, 0, 0, 64, 64, 0, 0), 3, boxes=struct.pack(">I4s", 2**30, b"xml ")), "bytes long"),
        (_jp2((100, 100, 0, 0, 64, 64, 0, 0), 3, boxes=struct.pack(">I4s", 24, b"xml ") + _XML), "another file"),
        (_jp2((100, 100, 0, 0, 64, 64, 0, 0), 3, boxes=struct.pack(">I4s", 8, b"free") * 400), "boxes"),
        (_jp2((100, 100, 0, 0, 64, 64, 0, 0), 3)[:60], "cut off"),
    ],
)  # fmt: skip
def test_jpeg_2000_is_measured_by_its_headers(content: bytes, reason: str) -> None:
    with serving_files({"/a.jp2": content}) as served, pytest.raises(UnfitPixels, match=reason):
        read_scene(scene(f"{served.url}/a.jp2"), PROFILE, GRID, allowed_hosts=["127.0.0.1:*"])


def test_a_scene_decodes_so_much_and_no_more() -> None:
    budget = DecodingBudget(GRID)
    assert budget.spend(budget.total // 2)
    assert not budget.spend(budget.total)
    assert budget.spend(budget.total // 2)
    # without overviews and with nothing in it: small to send, endless to decode
    whole = hostile_tiff(Page(100_000, 100_000, tile=(512, 512), filled=7), pixel_m=1.25)
    big = GeoBox(GRID.shape, GRID.transform @ Affine.scale(300), GRID.crs)
    with serving_files({"/a.tif": whole}) as served, pytest.raises(UnfitPixels, match="to be decoded"):
        read_scene(scene(f"{served.url}/a.tif"), PROFILE, big, allowed_hosts=["127.0.0.1:*"])


@pytest.fixture
def mosaic(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Scene, int]]:
    monkeypatch.setattr(source_files, "_MAX_OPEN_FILES", 4)
    count = 10
    made = tiff(np.full((3, 40, 40), 9, np.uint8))
    with serving_files({f"/{number}.tif": made for number in range(count)}) as served:
        yield scene(*(f"{served.url}/{number}.tif" for number in range(count))), count


def test_a_mosaic_keeps_few_files_open_and_few_of_their_bytes(mosaic: tuple[Scene, int]) -> None:
    shown, count = mosaic
    coordinates = make_coordinates(GRID)
    # nothing is clear, so that every file is read
    with open_scene(shown, PROFILE, GRID, allowed_hosts=["127.0.0.1:*"]) as reader:
        for _ in range(2):
            for item in shown.items:
                reader._read_item(item, GRID, coordinates)
        files = reader._files
        assert len(files._known) == count
        assert len(files._open) <= source_files._MAX_OPEN_FILES
        assert sum(len(one.blocks) for one in files._remote.values()) <= block_cache.MAX_SCENE_BLOCKS
        window = reader.read(GRID)
    assert window.valid.all()
    assert not files._open


def test_blocks_of_all_files_together_are_kept_within_a_limit() -> None:
    content = bytes(200 * 32 * 1024)
    with serving_files({"/a": content, "/b": content}) as served, open_connections(PROFILE, {}) as shared:
        one, other = (
            ranges.RemoteFile(shared, "a", f"{served.url}/{name}", ["127.0.0.1:*"]) for name in "ab"
        )
        shared.cache._max_blocks = 100
        for file in (one, other, one):
            assert len(file.read(0, 60 * 32 * 1024)) == 60 * 32 * 1024
        assert (len(one.blocks), len(other.blocks)) == (60, 40)
        with pytest.raises(UnfitPixels, match="needed at once"):
            one.read_many([(0, len(content))] * 100)
