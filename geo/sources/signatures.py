"""Signatures that links carry in their query, and links without them. Pure.

A link that somebody saved after signing it holds a token of that day. A second token beside it makes the request
invalid, so the old one is taken out before the link is signed anew.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote_plus, urlsplit, urlunsplit

#: Parameters of a shared access signature (Azure), of accounts, services and users.
_SHARED_ACCESS = frozenset(
    {
        *("sv", "ss", "srt", "sr", "st", "se", "sp", "sip", "spr", "sig", "si", "sdd", "ses", "tn"),
        *("spk", "srk", "epk", "erk", "skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid"),
        *("skdutid", "sduoid", "srh", "srq", "rscc", "rscd", "rsce", "rscl", "rsct"),
    }
)
#: Of links to buckets, older forms; newer ones begin with a prefix.
_BUCKET = frozenset({"awsaccesskeyid", "googleaccessid", "signature", "expires", "key-pair-id", "policy"})
_BUCKET_PREFIXES = ("x-amz-", "x-goog-")
_BASIC_TIME = re.compile(r"^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$")


def unsigned(url: str) -> str:
    """The link without any signature; what else its query holds stays as it is written.

    Names are compared without case and decoded. A query that holds no signature is left alone: short names such as
    ``sr`` may mean something else there.
    """
    parts = urlsplit(url)
    names = {name for name, _ in _pairs(parts.query)}
    if not names & {"sig", "signature", "x-amz-signature", "x-goog-signature"}:
        return url
    kept = [text for text in parts.query.split("&") if text and not _signs(_name(text), names)]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "&".join(kept), parts.fragment))


def with_token(url: str, token: str) -> str:
    """The link signed by a token, which is a part of a query, in the place of whatever signed it before."""
    bare = unsigned(url)
    parts = urlsplit(bare)
    query = "&".join(filter(None, (parts.query, token.lstrip("?&"))))
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def expiry(url: str) -> datetime | None:
    """Until when the signature of a link holds, in UTC; None where it has none or does not say."""
    try:
        return _expiry(dict(_pairs(urlsplit(url).query)))
    except (ValueError, OverflowError):  # numbers of any length, and days after the last of the calendar
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


def _signs(name: str, names: set[str]) -> bool:
    """Whether a parameter belongs to the signatures that a query holds."""
    shared = "sig" in names and name in _SHARED_ACCESS
    bucket = "signature" in names and name in _BUCKET
    return shared or bucket or name.startswith(_BUCKET_PREFIXES)


def _pairs(query: str) -> list[tuple[str, str]]:
    return [(_name(text), unquote_plus(text.partition("=")[2])) for text in query.split("&") if text]


def _name(text: str) -> str:
    return unquote_plus(text.partition("=")[0]).strip().lower()


def _moment(text: str) -> datetime | None:
    basic = _BASIC_TIME.match(text)
    try:
        moment = datetime(*map(int, basic.groups())) if basic else datetime.fromisoformat(text)  # type: ignore[arg-type]
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
