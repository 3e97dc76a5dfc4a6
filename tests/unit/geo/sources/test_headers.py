"""Header fields in all legal forms, and in the illegal ones that servers send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwatch.geo.sources.http.headers import (
    ContentRange,
    Validator,
    parse_boundary,
    parse_content_range,
    parse_date,
    parse_etag,
    parse_length,
    parse_retry_after,
    parse_single_part,
    parse_validator,
)

NOW = datetime(2026, 11, 27, 10, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.0),
        ("Fri, 27 Nov 2026 10:00:30 GMT", 30.0),
        ("Friday, 27-Nov-26 10:00:30 GMT", 30.0),
        ("Fri Nov 27 10:00:30 2026", 30.0),
        ("Fri, 27 Nov 2026 11:00:30 +0100", 30.0),
        ("Fri, 27 Nov 2026 09:00:00 GMT", 0.0),
        ("soon", 0.0),
        ("-3", 0.0),
        ("", 0.0),
        (None, 0.0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    assert parse_retry_after({} if value is None else {"retry-after": value}, NOW) == seconds


def test_retry_after_dates_use_the_clock_of_the_server() -> None:
    fast = {"date": "Fri, 27 Nov 2026 12:00:00 GMT", "retry-after": "Fri, 27 Nov 2026 12:00:20 GMT"}
    assert parse_retry_after(fast, NOW) == 20.0


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("bytes 0-9/100", ContentRange(0, 9, 100)),
        ("Bytes 0-9/100", ContentRange(0, 9, 100)),
        ("bytes  0 - 9 / 100", ContentRange(0, 9, 100)),
        ("bytes=0-9/100", ContentRange(0, 9, 100)),
        ("bytes 0-9/*", ContentRange(0, 9, None)),
        ("bytes */100", ContentRange(None, None, 100)),
        ("bytes 9-0/100", None),
        ("bytes 0-100/100", None),
        ("items 0-9/100", None),
        ("", None),
        (None, None),
    ],
)
def test_content_ranges(value: str | None, found: ContentRange | None) -> None:
    assert parse_content_range(value) == found


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        ({"etag": '"a"'}, {"etag": 'W/"a"'}, False),
        ({"etag": '"a"'}, {"etag": 'w/"a"'}, False),
        ({"etag": '"a"'}, {"etag": "a"}, False),
        ({"etag": '"a"'}, {"etag": '"a-gzip"'}, False),
        ({"etag": '"a"'}, {}, False),
        ({"etag": '"a"'}, {"etag": '"b"'}, True),
        ({"etag": 'W/"a"'}, {"etag": 'W/"b"'}, True),
        (
            {"etag": '"a"', "last-modified": "Fri, 27 Nov 2026 10:00:00 GMT"},
            {"etag": '"a"', "last-modified": "Fri, 27 Nov 2026 10:00:07 GMT"},
            False,
        ),
        (
            {"last-modified": "Fri, 27 Nov 2026 10:00:00 GMT"},
            {"last-modified": "Friday, 27-Nov-26 10:00:00 GMT"},
            False,
        ),
        (
            {"last-modified": "Fri, 27 Nov 2026 10:00:00 GMT"},
            {"last-modified": "Fri, 27 Nov 2026 10:00:07 GMT"},
            True,
        ),
    ],
)
def test_validators_tell_file_versions_apart(
    one: dict[str, str], other: dict[str, str], differ: bool
) -> None:
    first, second = parse_validator(one), parse_validator(other)
    assert first.contradicts(second) is second.contradicts(first) is differ


def test_a_merged_tag_contradicts_later_ones() -> None:
    seen = parse_validator({"etag": '"a"'}).merge(Validator(None, None))
    assert seen.merge(parse_validator({})).contradicts(parse_validator({"etag": '"b"'}))


def test_lengths() -> None:
    assert parse_length({"content-length": "12"}) == parse_length({"content-length": "12, 12"}) == 12
    assert (
        parse_length({})
        is parse_length({"content-length": "12, 13"})
        is parse_length({"content-length": "-1"})
    )


def test_multipart_responses() -> None:
    boundary = parse_boundary('Multipart/ByteRanges; boundary="sep"')
    assert boundary == b"sep"
    assert parse_boundary("image/tiff") is None
    part = b"--sep\r\nContent-Type: image/tiff\r\nCONTENT-RANGE: bytes 2-5/9\r\n\r\n\r\nab\r\n"
    assert parse_single_part(b"\r\n" + part + b"--sep--\r\n", boundary) == (ContentRange(2, 5, 9), b"\r\nab")
    assert parse_single_part(part + part + b"--sep--", boundary) is None


@given(st.text(max_size=60))
def test_no_header_raises(value: str) -> None:
    for read in (parse_content_range, parse_etag, parse_date, parse_boundary):
        read(value)
    assert parse_retry_after({"retry-after": value, "date": value}, NOW) >= 0
    parse_length({"content-length": value})


@given(st.datetimes(datetime(1970, 1, 2), datetime(2090, 1, 1)), st.integers(0, 10**6))
def test_dates_and_seconds_say_the_same(moment: datetime, seconds: int) -> None:
    now = moment.replace(microsecond=0, tzinfo=UTC)
    then = now + timedelta(seconds=seconds)
    date, number = ({"retry-after": said} for said in (f"{then:%a, %d %b %Y %H:%M:%S} GMT", str(seconds)))
    assert parse_retry_after(date, now) == parse_retry_after(number, now)
