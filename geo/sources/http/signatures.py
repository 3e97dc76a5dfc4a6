"""Parse and replace the signature in the query of a link. Pure.

A link that was saved after signing contains an old token. A second token beside it makes the request invalid, so the
old one is removed before the link is signed again.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit, urlunsplit

from segwatch.geo.text.redaction import split_parameters, strip_signature

_BUCKET_PREFIXES = ("x-amz-", "x-goog-")
_BASIC_TIME = re.compile(r"^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$")


def replace_signature(url: str, token: str) -> str:
    """Sign a link with a token (a part of a query), replacing an older signature."""
    bare = strip_signature(url)
    parts = urlsplit(bare)
    query = "&".join(filter(None, (parts.query, token.lstrip("?&"))))
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def parse_expiry(url: str) -> datetime | None:
    """Parse when the signature of a link expires, in UTC; None where it has none or gives no expiry."""
    try:
        return _expiry(dict(split_parameters(urlsplit(url).query)))
    except (ValueError, OverflowError):  # numbers of any length, and dates beyond year 9999
        return None


def _expiry(given: dict[str, str]) -> datetime | None:
    if "sig" in given and (moment := _moment(given.get("se", ""))) is not None:
        return moment
    for prefix in _BUCKET_PREFIXES:
        begun, seconds = _moment(given.get(f"{prefix}date", "")), given.get(f"{prefix}expires", "")
        if begun is not None and seconds.isdigit():
            return begun + timedelta(seconds=min(int(seconds), 10**9))
    if "signature" in given and given.get("expires", "").isdigit():
        return datetime.fromtimestamp(min(int(given["expires"]), 10**11), UTC)
    return None


def _moment(text: str) -> datetime | None:
    basic = _BASIC_TIME.match(text)
    try:
        moment = datetime(*map(int, basic.groups())) if basic else datetime.fromisoformat(text)  # type: ignore[arg-type]
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
