"""Links that were signed before: one signature remains, other parameters are not changed."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwatch.geo.sources.http.signatures import parse_expiry, replace_signature
from segwatch.geo.text.redaction import strip_signature

BLOB = "https://account.blob.core.windows.net/box/31/a%20b.tif"
TOKEN = "st=2026-01-01T00%3A00%3A00Z&se=2030-01-01T00%3A00%3A00Z&sp=rl&sv=2024-05-04&sr=c&sig=NEW%2B%3D"
OLD = "st=2020-01-01T00%3A00%3A00Z&se=2020-01-02T00%3A00%3A00Z&sp=rl&sv=2019-12-12&sr=c&skoid=1&sktid=2&sig=OLD%3D"
S3 = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=k%2F20200101%2Fus&X-Amz-Date=20200101T000000Z&X-Amz-Expires=60"
    "&X-Amz-SignedHeaders=host&X-Amz-Security-Token=t&X-Amz-Signature=abc"
)


@pytest.mark.parametrize(
    "query",
    [
        "",
        OLD,
        OLD.upper().replace("%3A", "%3a"),
        f"{OLD}&{OLD}",
        OLD.replace("sig=", "%73ig="),
        f"&{OLD}&",
        S3,
        TOKEN,
    ],
)
def test_one_token_remains(query: str) -> None:
    signed = replace_signature(f"{BLOB}?{query}" if query else BLOB, TOKEN)
    assert signed == f"{BLOB}?{TOKEN}"
    assert replace_signature(signed, f"?{TOKEN}") == signed


@pytest.mark.parametrize("own", ["versionid=2024-01-01T00%3A00%3A00.1Z", "a=b%20c&sr", "x=1&x=2"])
def test_other_parameters_are_not_changed(own: str) -> None:
    assert strip_signature(f"{BLOB}?{own}") == f"{BLOB}?{own}"
    kept = own.replace("&sr", "")
    assert replace_signature(f"{BLOB}?{own}&{OLD}", TOKEN) == f"{BLOB}?{kept}&{TOKEN}"


def test_signatures_of_buckets() -> None:
    for query in (
        S3,
        S3.lower(),
        "AWSAccessKeyId=k&Signature=s&Expires=1577836860",
        "X-Goog-Signature=1&X-Goog-Date=2",
    ):
        assert strip_signature(f"https://bucket.example.org/a.tif?{query}&versionId=7") == (
            "https://bucket.example.org/a.tif?versionId=7"
        )


@pytest.mark.parametrize(
    ("query", "until"),
    [
        (OLD, datetime(2020, 1, 2, tzinfo=UTC)),
        ("se=2020-01-02&sig=x", datetime(2020, 1, 2, tzinfo=UTC)),
        (S3, datetime(2020, 1, 1, 0, 1, tzinfo=UTC)),
        ("Signature=s&Expires=1577836860", datetime(2020, 1, 1, 0, 1, tzinfo=UTC)),
        ("se=2020-01-02", None),
        ("se=never&sig=x", None),
        ("", None),
    ],
)
def test_expiry_of_a_signature(query: str, until: datetime | None) -> None:
    assert parse_expiry(f"{BLOB}?{query}") == until


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=6))
def test_any_query_ends_with_one_token(pairs: list[tuple[str, str]]) -> None:
    signed = replace_signature(f"{BLOB}?{urlencode(pairs)}&{OLD}", TOKEN)
    assert parse_qs(urlsplit(signed).query)["sig"] == ["NEW+="]
    assert signed.endswith(TOKEN)
