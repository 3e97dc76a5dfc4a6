"""Dates and bands of local files, from their names, tags and descriptions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import PurePath

import pytest
from rasterio.enums import ColorInterp

from segwatch.geo.errors import BadBands, BadDatePattern
from segwatch.geo.sources.local.bands import infer_bands, parse_bands
from segwatch.geo.sources.local.dates import find_date, find_date_ahead

NOW = datetime(2026, 11, 28, tzinfo=UTC)
GREY, RED, GREEN, BLUE, NIR = (
    ColorInterp.gray, ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.nir,
)  # fmt: skip
UNDEFINED, ALPHA = ColorInterp.undefined, ColorInterp.alpha


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("S2A_MSIL2A_20240501T100031_N0510_R122_T33UUP_20240502T134512.tif", "2024-05-01 10:00"),
        ("T33UUP_20240501T100031_B04_10m.jp2", "2024-05-01 10:00"),
        ("S2B_33UUP_20240501_0_L2A.tif", "2024-05-01"),
        ("LC08_L1TP_013032_20180131_20180207_01_T1.tif", "2018-01-31"),
        ("LC80130322018031LGN00.tif", "2018-01-31"),
        ("20240501_153045_12_24a1_3B_AnalyticMS_SR.tif", "2024-05-01 15:30"),
        ("24MAY01153045-M1BS-012345678010_01_P001.tif", "2024-05-01 15:30"),
        ("DJI_20240501153045_0001.tif", "2024-05-01 15:30"),
        ("m_4709963_se_14_1_20170827_20171230.tif", "2017-08-27"),
        ("ortho-2024-05-01.tif", "2024-05-01"),
        ("20240501_1530.tif", "2024-05-01 15:30"),
        ("2024-05-01T20-24-06.tif", "2024-05-01 20:24"),
        # the year of a second date is no time
        ("2024-05-01_2024-06-12.tif", "2024-05-01"),
        ("2024-05-01 2024_06_12.tif", "2024-05-01"),
        ("31-12-2023.tif", "2023-12-31"),
        ("2024-05-01/odm_orthophoto.tif", "2024-05-01"),
        ("2024-05.tif", "2024-05"),
        ("1985.tif", "1985"),
        # months in words, digits without zeros, days of the year
        ("lake_25Jul2013.tif", "2013-07-25"),
        ("Übersicht See 13. März 2013.tif", "2013-03-13"),
        ("May 1st, 2024.tif", "2024-05-01"),
        ("2024-May-01.tif", "2024-05-01"),
        ("Dezember 2013.tif", "2013-12"),
        ("2024-5-1.tif", "2024-05-01"),
        ("MOD09GA.A2024122.h18v04.tif", "2024-05-01"),
        ("HLS.S30.T33UUP.2024122T100031.v2.0.tif", "2024-05-01 10:00"),
        # the folder says the day of the year that the file says
        ("2013-07-25/lake_2013.tif", "2013-07-25"),
        ("2013-07-25/lake_2014.tif", "2014"),
        # a part of the year is not its middle, and no month is in these words
        ("Q3 2013.tif", None),
        ("2013-W12.tif", None),
        ("summary_2013.tif", "2013"),
        ("MOD09GA.A2024399.h18v04.tif", None),
        # either number may be the month
        ("site_01.05.2024.tif", None),
        # numbers that are no dates, and dates to come
        ("tile_12345678.tif", None),
        ("20991231.tif", None),
        ("20241331.tif", None),
    ],
)
def test_the_usual_names_tell_the_date(name: str, text: str | None) -> None:
    found = find_date(PurePath(name), {}, None, NOW)
    assert (found.text if found else None) == text


def test_further_dates_and_dates_to_come_are_told() -> None:
    found = find_date(PurePath("2024-05-01_vs_2023-05-01.tif"), {}, None, NOW)
    assert found is not None
    assert (found.text, found.how) == ("2024-05-01", "first of 2 dates in the name")
    ahead = find_date_ahead(PurePath("lake_2044-01-01.tif"), {}, None, NOW)
    assert ahead is not None
    assert ahead.text == "2044-01-01"
    assert find_date_ahead(PurePath("tile_12345678.tif"), {}, None, NOW) is None


def test_the_tag_of_the_acquisition_wins_and_that_of_the_file_comes_last() -> None:
    acquired = {"ACQUISITIONDATETIME": "2020-02-03 04:05:06", "TIFFTAG_DATETIME": "2024:01:02 03:04:05"}
    written = {"TIFFTAG_DATETIME": "2024:01:02 03:04:05"}
    plain, dated = PurePath("a.tif"), PurePath("2019-09-09.tif")
    assert [
        found.text if (found := find_date(path, tags, None, NOW)) else None
        for path, tags in ((dated, acquired), (dated, written), (plain, written), (plain, {}))
    ] == ["2020-02-03 04:05", "2019-09-09", "2024-01-02 03:04", None]


def test_a_pattern_of_the_user_decides() -> None:
    path = PurePath("flight_01052024_2019-09-09.tif")
    assert [
        found.text if (found := find_date(path, {}, pattern, NOW)) else None
        for pattern in ("%d%m%Y", "_%d%m%Y_", "2021-03-04", "2021-03-04T05:06", "%Y%m%d_x")
    ] == ["2024-05-01", "2024-05-01", "2021-03-04", "2021-03-04 05:06", None]
    for wrong in ("yesterday", "%Q", "%"):
        with pytest.raises(BadDatePattern, match="is neither a date"):
            find_date(path, {}, wrong, NOW)


@pytest.mark.parametrize(
    ("name", "colours", "descriptions", "text"),
    [
        ("a.tif", [RED, GREEN, BLUE], [None] * 3, "R 1 G 2 B 3"),
        ("a.tif", [RED, GREEN, BLUE, ALPHA], [None] * 4, "R 1 G 2 B 3"),
        ("a.tif", [RED, GREEN, BLUE, UNDEFINED], [None] * 4, "R 1 G 2 B 3 NIR 4"),
        ("a.tif", [GREY], [None], "grey 1"),
        ("a.tif", [GREY, ALPHA], [None] * 2, "grey 1"),
        ("a.tif", [BLUE, GREEN, RED, NIR], [None] * 4, "R 3 G 2 B 1 NIR 4"),
        ("a.tif", [GREY] + [UNDEFINED] * 3, ["B02", "B03", "B04", "B08"], "R 3 G 2 B 1 NIR 4"),
        # what a name says of the order holds against colours that a program wrote without knowing
        ("20240501_153045_1234_3B_AnalyticMS.tif", [RED, GREEN, BLUE, UNDEFINED], [None] * 4, "R 3 G 2 B 1 NIR 4"),
        ("20240501_153045_12_24a1_3B_AnalyticMS_8b.tif", [GREY] * 8, [None] * 8, "R 6 G 4 B 2 NIR 8"),
        ("a.tif", [GREY] * 13, [None] * 13, "R 4 G 3 B 2 NIR 8 SWIR1 12 SWIR2 13"),
        ("a.tif", [GREY] * 30, [None] * 30, "R 1 G 2 B 3"),
    ],
)  # fmt: skip
def test_bands_are_known_by_description_name_colour_or_number(
    name: str, colours: list[ColorInterp], descriptions: list[str | None], text: str
) -> None:
    assert infer_bands(name, colours, descriptions).text == text


def test_bands_of_the_user_are_read_or_refused() -> None:
    assert [parse_bands(one).text for one in ("4,3,2", "4,3,2,8", "1")] == [
        "R 4 G 3 B 2", "R 4 G 3 B 2 NIR 8", "grey 1",
    ]  # fmt: skip
    for wrong in ("", "4,3", "a,b,c", "0,1,2", "1,2,3,4,5,6,7"):
        with pytest.raises(BadBands):
            parse_bands(wrong)
