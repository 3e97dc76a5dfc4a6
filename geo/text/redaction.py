"""Remove secrets from URLs and texts. Pure, standard library only.

This is the only place that decides which parts of a URL are public:

| part of a URL | public? |
| --- | --- |
| scheme, host, port, path | yes, except secrets in the path (``;token=X``, ``/api_key=X``, ``/token/X``) |
| user information | no |
| query | parameters that are neither part of a signature nor named like a token or key |
| fragment | same as the query |

:func:`to_public_url` is for display and provenance, :func:`strip_signature` for links that are signed again, and
:func:`redact` for any text that may quote URLs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote_plus, urlsplit, urlunsplit

from segwatch.geo.text.storable import shorten

#: Signature parameters of Azure, buckets and CDNs. They count only beside the parameter that is their key here.
_SIGNED_WITH = {
    "sig": frozenset(
        {
            *("sv", "ss", "srt", "sr", "st", "se", "sp", "sip", "spr", "sig", "si", "sdd", "ses", "tn"),
            *(
                "spk",
                "srk",
                "epk",
                "erk",
                "skoid",
                "sktid",
                "skt",
                "ske",
                "sks",
                "skv",
                "saoid",
                "suoid",
                "scid",
            ),
            *("skdutid", "sduoid", "srh", "srq", "rscc", "rscd", "rsce", "rscl", "rsct"),
        }
    ),
    "signature": frozenset(
        {
            "signature",
            "expires",
            "policy",
            "key-pair-id",
            "awsaccesskeyid",
            "googleaccessid",
            "ossaccesskeyid",
        }
    ),
}
#: A query with one of these is signed.
_SIGNATURES = frozenset(
    {"sig", "signature", "x-amz-signature", "x-goog-signature", "x-oss-signature", "q-signature"}
)
#: Prefixes of signature parameters.
_SIGNATURE_PREFIXES = ("x-amz-", "x-goog-", "x-oss-", "x-cos-", "q-sign", "x-ms-")
#: Parameter names that mean a secret, compared without ``-``, ``_`` and ``.``.
_SECRET_NAMES = frozenset(
    {
        "accesskey", "accesskeyid", "apikey", "appid", "appkey", "auth", "authkey", "authorization", "awsaccesskeyid",
        "bearer", "code", "cred", "creds", "googleaccessid", "hmac", "jsessionid", "jwt", "key", "keyid",
        "keypairid", "login", "mapkey", "ossaccesskeyid", "pass", "passphrase", "passwd", "password", "phpsessid",
        "pw", "pwd", "qak", "sas", "secret", "sessid", "session", "sessionid", "sid", "sig", "sign", "signature",
        "subscriptionkey", "ticket", "token", "user", "username",
    }
)  # fmt: skip
#: Parts of parameter names that mean a secret.
_SECRET_PARTS = ("token", "secret", "password", "passwd", "apikey", "accesskey", "signature", "credential")
#: A JSON Web Token (RFC 7519), whatever the parameter is called.
_JWT = re.compile(r"eyJ[\w-]{8,}\.[\w-]+")
#: Path segments followed by a secret; those of the second set only where the next segment looks random.
_SECRET_SEGMENTS = frozenset({"apikey", "accesstoken", "authtoken", "subscriptionkey", "secret", "password"})
_POSSIBLE_SECRET_SEGMENTS = frozenset({"token", "key", "auth", "sas", "session", "jwt"})
_RANDOM = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w.~-]{20,}")
_HIDDEN = "***"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>\\^`{|}]+")
#: A query parameter outside a full URL, as clients quote requests: ``/search?token=...``.
_PARAMETER = re.compile(r"([?&;]|%3[fF]|%26)([\w.%-]{1,40})(=|%3[dD])([^&\s\"'<>#;]+)")
_CREDENTIALS = re.compile(r"(?i)\b(bearer|basic|token)(\s+|%20)(?=[^\s\"']*\d)[\w.~+/=-]{12,}")
#: ``Authorization: Bearer TOKEN``, as our help texts write it, stays.
_HEADERS = re.compile(
    r"(?i)\b(authorization|x-api-key|api-key|cookie)([\"']?\s*[:=]\s*[\"']?)"
    r"(?!bearer\s+token(?:[\s\"'`),;]|$))((?:bearer|basic)\s+)?[^\s\"',;]{6,}"
)
#: User information that only shows where it belongs.
_PLACEHOLDERS = ("user@", "USER@", "USER:PASSWORD@")
#: Punctuation that may follow a URL in a sentence.
_PUNCTUATION = ".,;:!?)]"
_MAX_CHARS = 500


def to_public_url(address: str, *, query: bool = True, max_chars: int | None = None) -> str:
    """Remove secrets from a URL for display and storage. Idempotent.

    Parameters
    ----------
    query
        Keep the parameters that are not secret: they may identify the file. False removes query and fragment.
    max_chars
        Maximum length of the result.
    """
    try:
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return shorten(_strip_user_info(address.partition("?")[0]), max_chars or _MAX_CHARS)
    kept = _filter_query(parts.query, is_secret_parameter) if query else ""
    fragment = _filter_query(parts.fragment, is_secret_parameter) if query else ""
    shown = urlunsplit((parts.scheme, host, _public_path(parts.path), kept, fragment))
    return shown if max_chars is None else shorten(shown, max_chars)


def strip_signature(url: str) -> str:
    """Remove the signature from a link and keep every other parameter, tokens included.

    A query without a signature is not changed: short names such as ``sr`` may mean something else there.
    """
    parts = urlsplit(url)
    if _SIGNATURES.isdisjoint(name for name, _ in split_parameters(parts.query)):
        return url
    kept = _filter_query(parts.query, _is_signature)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, kept, parts.fragment))


def redact(text: str) -> str:
    """Replace secrets in the URLs, parameters and headers that a text quotes by ``***``."""
    found = _URL.sub(lambda match: _public_in_text(match[0]), text)
    found = _PARAMETER.sub(_hide_parameter, found)
    found = _HEADERS.sub(rf"\1\2\3{_HIDDEN}", found)
    return _CREDENTIALS.sub(rf"\1\2{_HIDDEN}", found)


def has_user_information(address: str) -> bool:
    """Whether a URL contains a user name or password before the host."""
    try:
        return "@" in urlsplit(address).netloc
    except ValueError:
        return "@" in address


def require_public_url(address: str) -> str:
    """Return the URL of a catalog or source unchanged if it contains no user information.

    Raises
    ------
    ValueError
        It contains user information. The message does not quote it and names the setting for credentials.
    """
    if has_user_information(address):
        raise ValueError(
            "contains a user name or password, and URLs are visible to everyone; write it without the part before @ "
            'and set SEGWATCH_CREDENTIALS instead, e.g. {"PROFILE": {"username": "...", "password": "..."}}'
        )
    return address


def split_parameters(query: str) -> list[tuple[str, str]]:
    """Split a query into parameters: (decoded name in lower case, decoded value)."""
    return [(_name(one), unquote_plus(one.partition("=")[2])) for one in query.split("&") if one]


def is_secret_parameter(names: frozenset[str], parameter: str) -> bool:
    """Whether a parameter (``name=value``) is a secret, in a query with these parameter names."""
    return _is_signature(names, parameter) or _is_secret(_name(parameter)) or bool(_JWT.search(parameter))


def _is_signature(names: frozenset[str], parameter: str) -> bool:
    name = _name(parameter)
    is_companion = any(name in group for key, group in _SIGNED_WITH.items() if key in names)
    return is_companion or name.startswith(_SIGNATURE_PREFIXES)


def _is_secret(name: str) -> bool:
    plain = _squash(name)
    return plain in _SECRET_NAMES or any(part in plain for part in _SECRET_PARTS)


def _filter_query(query: str, drop: Callable[[frozenset[str], str], bool]) -> str:
    given = [parameter for parameter in query.split("&") if parameter]
    names = frozenset(map(_name, given))
    return "&".join(parameter for parameter in given if not drop(names, parameter))


def _public_path(path: str) -> str:
    before = ""
    segments = []
    for segment in path.split("/"):
        plain = _squash(unquote_plus(before))
        is_secret = plain in _SECRET_SEGMENTS or (
            plain in _POSSIBLE_SECRET_SEGMENTS and _RANDOM.fullmatch(segment)
        )
        segments.append(_HIDDEN if segment and is_secret else _public_segment(segment))
        before = segment
    return "/".join(segments)


def _public_segment(segment: str) -> str:
    """Hide the value of ``token=X`` and ``name;token=X``. Other equals signs stay: they may be Hive partitions."""
    if "=" not in segment and "eyJ" not in segment:
        return segment
    return _JWT.sub(_HIDDEN, ";".join(map(_public_assignment, segment.split(";"))))


def _public_assignment(part: str) -> str:
    name, mark, _ = part.partition("=")
    return f"{name}={_HIDDEN}" if mark and _is_secret(_name(name)) else part


def _public_in_text(address: str) -> str:
    bare = address.rstrip(_PUNCTUATION)
    shown = to_public_url(bare)
    rest = bare.partition("://")[2]
    placeholder = next((one for one in _PLACEHOLDERS if rest.startswith(one)), "")
    return shown.replace("://", f"://{placeholder}", 1) + address[len(bare) :]


def _hide_parameter(match: re.Match[str]) -> str:
    mark, name, equals, value = match.groups()
    return (
        f"{mark}{name}{equals}{_HIDDEN}" if is_secret_parameter(frozenset(), f"{name}={value}") else match[0]
    )


def _strip_user_info(text: str) -> str:
    return re.sub(r"//[^/\s]*@", "//", text)


def _name(parameter: str) -> str:
    return unquote_plus(parameter.partition("=")[0]).strip().lower()


def _squash(name: str) -> str:
    return re.sub(r"[-_.\s]", "", name.lower())
