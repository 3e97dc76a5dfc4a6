"""Pixels over HTTP from servers that fail, lie, truncate and redirect: read correctly, or refused with a reason."""

from __future__ import annotations

import io
import os
from datetime import UTC, date, datetime

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin
from shapely.geometry import box

from segwatch.geo.errors import GeoError, ReadFailed, UnsafeHref
from segwatch.geo.sources import profiles
from segwatch.geo.sources.rasters.pixels import open_scene, read_scene
from segwatch.geo.types.scene import Item, Scene
from tests.support.serving import Answer, Fault, serving_files

SIDE = 700
GRID = GeoBox((SIDE, SIDE), Affine(10, 0, 500_000, 0, -10, 5_100_000), "EPSG:32633")


@pytest.fixture(scope="module")
def image() -> tuple[bytes, NDArray[np.uint8]]:
    pixels = np.random.default_rng(3).integers(1, 255, (3, SIDE, SIDE), dtype=np.uint8)
    made = {"driver": "COG", "width": SIDE, "height": SIDE, "count": 3, "dtype": "uint8", "blocksize": 256}
    with rasterio.MemoryFile() as memory:
        with memory.open(crs="EPSG:32633", transform=from_origin(500_000, 5_100_000, 10, 10), **made) as file:
            file.write(pixels)
        return memory.read(), pixels


def scene(url: str) -> Scene:
    now = datetime.now(UTC)
    square = box(0, 0, 1, 1)
    item = Item("one", "visual", url, now, None, "made", "1", "", square, {"visual": f"{url}/a.tif"})
    return Scene("visual", "made", "1", date(2024, 5, 1), now, (item,), square)


def pixels(url: str) -> NDArray[np.float32]:
    return read_scene(scene(url), profiles.load("rgb-cog"), GRID, allowed_hosts=["127.0.0.1:*"]).bands.values


def _now_and_then(status: int) -> Fault:
    return lambda number, right: (status, {"retry-after": "0"}, b"") if number % 3 == 2 else right


def _cut(number: int, right: Answer) -> Answer:
    status, headers, body = right
    return (
        (status, {**headers, "content-length": str(len(body))}, body[: len(body) // 2])
        if number % 4 == 2
        else right
    )


@pytest.mark.parametrize("fault", [_now_and_then(429), _now_and_then(500), _now_and_then(503), _cut])
def test_what_passes_is_waited_for(image: tuple[bytes, NDArray[np.uint8]], fault: Fault) -> None:
    content, right = image
    with serving_files({"/a.tif": content}, fault) as files:
        np.testing.assert_array_equal(pixels(files.url), right)


def test_a_server_that_gives_no_etag_is_read(image: tuple[bytes, NDArray[np.uint8]]) -> None:
    def without(number: int, right: Answer) -> Answer:
        status, headers, body = right
        return status, {"content-range": headers["content-range"]}, body

    content, right = image
    with serving_files({"/a.tif": content}, without) as files:
        np.testing.assert_array_equal(pixels(files.url), right)
    assert len(files.asked) > 1


@pytest.mark.parametrize(
    "tags", [('"a"', 'W/"a"'), ('W/"a"', '"a"'), ('"a"', None), (None, '"a"'), ('"a"', "a"), (None, None)]
)
def test_one_file_behind_several_servers_is_read(
    image: tuple[bytes, NDArray[np.uint8]], tags: tuple[str | None, ...]
) -> None:
    def another(number: int, right: Answer) -> Answer:
        status, headers, body = right
        tag = tags[number % 2]
        given = {"content-range": headers["content-range"]} | ({"etag": tag} if tag else {})
        return status, given, body

    content, right = image
    with serving_files({"/a.tif": content}, another) as files:
        np.testing.assert_array_equal(pixels(files.url), right)
    assert len(files.asked) > 2


def _wrong_range(number: int, right: Answer) -> Answer:
    return (
        right
        if number < 3
        else (206, {**right[1], "content-range": f"bytes 0-{len(right[2]) - 1}/99999999"}, right[2])
    )


def _other_file(number: int, right: Answer) -> Answer:
    return right if number < 3 else (206, {**right[1], "etag": '"two"'}, right[2])


def _other_tag_after_none(number: int, right: Answer) -> Answer:
    tags = {1: '"one"', 2: ""}
    return 206, {**right[1], "etag": tags.get(number, 'W/"two"')}, right[2]


def _other_time(number: int, right: Answer) -> Answer:
    seconds = "07" if number < 3 else "08"
    given = {
        "content-range": right[1]["content-range"],
        "last-modified": f"Fri, 27 Nov 2026 10:00:{seconds} GMT",
    }
    return 206, given, right[2]


def _no_ranges(number: int, right: Answer) -> Answer:
    return 200, {}, b"x" * 200_000


def _forbidden(number: int, right: Answer) -> Answer:
    return right if number < 3 else (403, {}, b"")


def _gone_for_good(number: int, right: Answer) -> Answer:
    return right if number < 3 else (503, {"retry-after": "0"}, b"")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (_wrong_range, "requested bytes"),
        (_other_file, "changed while it was read"),
        (_other_tag_after_none, "changed while it was read"),
        (_other_time, "changed while it was read"),
        (_no_ranges, "ignores byte ranges"),
        (_forbidden, "signing or credentials"),
        (_gone_for_good, "HTTP 503"),
    ],
)
def test_what_does_not_pass_is_said(image: tuple[bytes, NDArray[np.uint8]], fault: Fault, says: str) -> None:
    with serving_files({"/a.tif": image[0]}, fault) as files, pytest.raises(ReadFailed, match=says):
        pixels(files.url)


@pytest.mark.parametrize("kept", [100, 20_000, 200_000, -70_000])
def test_a_file_that_is_shorter_than_it_should_be_shows_no_ground(
    image: tuple[bytes, NDArray[np.uint8]], kept: int
) -> None:
    """Never zeros in the place of what is missing."""
    content = image[0][:kept]
    with serving_files({"/a.tif": content}) as files, pytest.raises(GeoError):
        pixels(files.url)


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:1/a.tif",
        "file:///etc/passwd",
        "//10.0.0.1/a.tif",
    ],
)
def test_redirects_to_elsewhere_are_not_followed(image: tuple[bytes, NDArray[np.uint8]], target: str) -> None:
    with (
        serving_files({"/a.tif": image[0]}, lambda number, right: (302, {"location": target}, b"")) as files,
        pytest.raises(UnsafeHref),
    ):
        pixels(files.url)


@pytest.mark.parametrize(
    "content",
    [
        b'<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        b"<SourceFilename>/etc/passwd</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>",
        b"SQLite format 3\x00" + b"\x00" * 500,
        b"\x89HDF\r\n\x1a\n" + b"\x00" * 500,
        b"PK\x03\x04" + b"\x00" * 500,
        b"<GDAL_WMS></GDAL_WMS>",
        b"",
        os.urandom(4096),
        b"II*\x00" + b"\xff" * 4000,
    ],
    ids=["vrt", "sqlite", "hdf", "zip", "wms", "empty", "noise", "broken tiff"],
)
def test_containers_that_can_point_elsewhere_are_not_opened(content: bytes) -> None:
    with serving_files({"/a.tif": content}) as files, pytest.raises(ReadFailed):
        pixels(files.url)


def test_a_tiff_of_absurd_size_is_refused_before_it_is_read() -> None:
    made = io.BytesIO()
    with rasterio.MemoryFile() as memory:
        size = {"driver": "GTiff", "width": 300_000, "height": 40_000, "count": 3, "dtype": "uint8"}
        kinds = {
            "SPARSE_OK": True,
            "tiled": True,
            "blockxsize": 32_768,
            "blockysize": 16_384,
            "compress": "deflate",
        }
        with memory.open(
            crs="EPSG:32633", transform=from_origin(500_000, 5_100_000, 10, 10), **size, **kinds
        ):
            pass
        made.write(memory.read())
    with (
        serving_files({"/a.tif": made.getvalue()}) as files,
        pytest.raises(ReadFailed, match="make it cloud-optimized"),
    ):
        pixels(files.url)


def test_windows_are_the_whole_whatever_their_shape(image: tuple[bytes, NDArray[np.uint8]]) -> None:
    """Also where pixels are averaged, and where they are warped between UTM zones."""
    grids = (
        GeoBox((320, 330), Affine(23, 0, 499_000, 0, -23, 5_101_000), GRID.crs),
        GeoBox((500, 500), Affine(10, 0, 962_000, 0, -10, 5_115_000), "EPSG:32632"),
    )
    with serving_files({"/a.tif": image[0]}) as files:
        shown = scene(files.url)
        for grid in grids:
            with open_scene(shown, profiles.load("rgb-cog"), grid, allowed_hosts=["127.0.0.1:*"]) as reader:
                whole = reader.read(grid)
                rows = [
                    reader.read(grid[row : min(row + 70, grid.height), :])
                    for row in range(0, grid.height, 70)
                ]
            assert whole.valid.any()
            valid = np.concatenate([one.valid for one in rows])
            assert (valid != whole.valid.values).mean() < 0.002
            both = valid & whole.valid.values
            difference = np.abs(np.concatenate([one.bands for one in rows], axis=1) - whole.bands.values)[
                :, both
            ]
            # GDAL warps by a transform that is within an eighth of a pixel
            assert np.median(difference) < 6


def test_only_what_the_area_needs_is_read(image: tuple[bytes, NDArray[np.uint8]]) -> None:
    corner = GRID[:50, :50]
    with serving_files({"/a.tif": image[0]}) as files:
        window = read_scene(scene(files.url), profiles.load("rgb-cog"), corner, allowed_hosts=["127.0.0.1:*"])
    assert window.valid.all()
    asked = files.bytes_asked("/a.tif")
    assert window.bytes_read == asked
    # one block of 256 x 256 x 3 and what lies around it, of a file of nine and their overviews
    assert asked < 0.35 * len(image[0])
