"""URLs, and texts that quote them, without secrets."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwatch.geo.errors import CatalogUnreachable, ReadFailed, UnsafeHref
from segwatch.geo.text.redaction import (
    has_user_information,
    redact,
    require_public_url,
    strip_signature,
    to_public_url,
)

SECRET = "s3cr3tValue0123456789"
#: Known ways in which URLs carry secrets.
LEAKS = [
    f"https://a.example/v1?token={SECRET}",
    f"https://a.example/v1?Access_Token={SECRET}&limit=3",
    f"https://a.example/v1?subscription-key={SECRET}",
    f"https://a.example/v1?api%5Fkey={SECRET}",
    f"https://a.example/v1?apikey={SECRET}",
    f"https://a.example/v1?my_auth_token={SECRET}",
    f"https://a.example/v1?key={SECRET}",
    f"https://me:{SECRET}@a.example/v1",
    f"https://{SECRET}@a.example:8443/v1",
    f"https://a.example/a.tif?sv=2024&sr=c&se=2030&sp=r&sig={SECRET}",
    f"https://a.example/a.tif?X-Amz-Credential={SECRET}&X-Amz-Security-Token={SECRET}&X-Amz-Signature={SECRET}",
    f"https://a.example/a.tif?AWSAccessKeyId={SECRET}&Signature={SECRET}&Expires=1",
    f"https://a.example/a.tif?GoogleAccessId={SECRET}&Signature={SECRET}&Expires=1",
    f"https://a.example/a.tif?q-sign-algorithm=sha1&q-ak={SECRET}-token&q-signature={SECRET}"
    .replace(f"q-ak={SECRET}-token&", ""),
    f"https://a.example/wms;token={SECRET}/v1",
    f"https://a.example/wms/v1;jsessionid={SECRET}",
    f"https://a.example/api_key={SECRET}/v1",
    f"https://a.example/apikey/{SECRET}/v1",
    f"https://a.example/token/{SECRET}/v1",
    f"https://a.example/v1#access_token={SECRET}",
    f"https://a.example/v1?x=eyJhbGciOiJIUzI1NiJ9.{SECRET}.x",
    f"s3://{SECRET}:x@bucket/a.tif?token={SECRET}",
]  # fmt: skip


@pytest.mark.parametrize("address", LEAKS)
def test_no_secret_of_a_url_is_shown(address: str) -> None:
    for shown in (
        to_public_url(address),
        to_public_url(address, query=False),
        redact(f"GET {address}, refused (HTTP 403)."),
    ):
        assert SECRET not in shown
    assert "example" in to_public_url(address) or to_public_url(address).startswith("s3://bucket/")


@pytest.mark.parametrize("address", LEAKS)
def test_errors_do_not_show_secrets(address: str) -> None:
    errors = (
        CatalogUnreachable(address, f"no route to {address}"),
        ReadFailed("red", address, f"asked {address}"),
        UnsafeHref(address, "no"),
    )
    for error in errors:
        assert SECRET not in str(error)
        assert SECRET not in error.reason


@pytest.mark.parametrize(
    "address",
    [
        "https://a.example/v1/collections/s2/items/one",
        "https://a.example/get?id=7&file=a%20b.tif&st=Ohio&expires=never#page",
        "https://a.example/year=2024/month=05/a.tif",
        "https://a.example/api/sas/v1/token/account/container",
        "https://a.example/a.tif?versionId=7&partNumber=2",
        "s3://bucket/key/a.tif",
        "/vsicurl/nothing",
        "",
    ],
)
def test_other_parts_of_a_url_are_kept(address: str) -> None:
    assert to_public_url(address) == address
    assert redact(f"read {address} twice") == f"read {address} twice"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"Max retries exceeded with url: /search?limit=1&token={SECRET} (Caused by X)", True),
        (f"headers {{'Authorization': 'Bearer {SECRET}', 'Accept': '*/*'}}", True),
        (f"x-api-key: {SECRET}", True),
        (
            "the source gave no token: HTTP 401; basic processing failed, send Authorization: Bearer TOKEN",
            False,
        ),
    ],
)
def test_secrets_in_quoted_requests_are_hidden(text: str, hidden: bool) -> None:
    assert SECRET not in redact(text)
    assert hidden or "basic processing failed" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "send Authorization: Bearer TOKEN, or enter it",
        'curl -H "Authorization: Bearer TOKEN" http://a.example/',
        "use postgresql://user@host:port/database, the port a number",
        '{"duty": "mailtos://USER:PASSWORD@example.org"}',
    ],
)
def test_examples_of_our_own_are_shown(text: str) -> None:
    assert redact(text) == text


def test_what_only_resembles_an_example_is_hidden() -> None:
    for text in (
        "Authorization: Bearer token-4f3a99",
        "Authorization: Bearer TOKEN.4f3a99",
        "authorization=Bearertoken",
    ):
        assert redact(text).endswith("***")
    assert redact("https://user:pw@a.example/") == "https://a.example/"
    assert redact("https://user@me:pw@a.example/") == "https://user@a.example/"


def test_stripping_a_signature_keeps_other_parameters() -> None:
    assert strip_signature("https://a.example/a?token=t&sig=1&se=2") == "https://a.example/a?token=t"
    assert strip_signature("https://a.example/a?token=t&se=2") == "https://a.example/a?token=t&se=2"


def test_user_information_is_refused_with_advice() -> None:
    with pytest.raises(ValueError, match="SEGWATCH_CREDENTIALS") as caught:
        require_public_url(f"https://me:{SECRET}@a.example/v1")
    assert SECRET not in str(caught.value)
    assert not has_user_information("https://a.example/@me?x=a@b")


_QUERY = st.lists(st.tuples(st.from_regex(r"[a-z-]{1,12}", fullmatch=True), st.text(max_size=8)), max_size=5)


@given(st.text(max_size=60))
def test_redaction_is_idempotent(text: str) -> None:
    assert to_public_url(to_public_url(text)) == to_public_url(text)
    assert redact(redact(text)) == redact(text)


@given(_QUERY)
def test_redaction_adds_no_parameter(pairs: list[tuple[str, str]]) -> None:
    from urllib.parse import urlencode

    address = f"https://a.example/x?{urlencode(pairs)}&password={SECRET}"
    shown = parse_qsl(urlsplit(to_public_url(address)).query, keep_blank_values=True)
    assert SECRET not in str(shown)
    assert all(one in pairs for one in shown)
