"""What of an address is public. Pure, standard library only; every border asks here, and the lists are nowhere else.

| part of an address | public? |
| --- | --- |
| scheme, host, port, path | yes, but for the parameters of a path that hold a secret (``;token=X``, ``/api_key=X``) |
| user information | no |
| query | parameters whose names are not those of a signature, a token or a key |
| fragment | as the query |

:func:`public` is shown and kept as provenance, :func:`unsigned` is signed anew and sent, and :func:`redacted` takes
secrets out of any text that may quote addresses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote_plus, urlsplit, urlunsplit

from segwatch.geo.text.storable import shortened

#: Parameters that are part of a signature where the first one is there, too: of Azure, of buckets and of CDNs.
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
#: One of these makes a query a signed one.
_SIGNATURES = frozenset(
    {"sig", "signature", "x-amz-signature", "x-goog-signature", "x-oss-signature", "q-signature"}
)
#: Parameters that begin so are part of a signature.
_SIGNATURE_PREFIXES = ("x-amz-", "x-goog-", "x-oss-", "x-cos-", "q-sign", "x-ms-")
#: Names of parameters that hold a secret by themselves, whole, without ``-``, ``_`` and ``.``.
_SECRET_NAMES = frozenset(
    {
        "accesskey", "accesskeyid", "apikey", "appid", "appkey", "auth", "authkey", "authorization", "awsaccesskeyid",
        "bearer", "code", "cred", "creds", "googleaccessid", "hmac", "jsessionid", "jwt", "key", "keyid",
        "keypairid", "login", "mapkey", "ossaccesskeyid", "pass", "passphrase", "passwd", "password", "phpsessid",
        "pw", "pwd", "qak", "sas", "secret", "sessid", "session", "sessionid", "sid", "sig", "sign", "signature",
        "subscriptionkey", "ticket", "token", "user", "username",
    }
)  # fmt: skip
#: What a name that is longer holds for the parameter to be secret.
_SECRET_PARTS = ("token", "secret", "password", "passwd", "apikey", "accesskey", "signature", "credential")
#: A JSON Web Token, whatever the parameter is named.
_JWT = re.compile(r"eyJ[\w-]{8,}\.[\w-]+")
#: Path segments whose next one holds a secret; of the second kind, only where that one looks random.
_NAMES_A_SECRET = frozenset({"apikey", "accesstoken", "authtoken", "subscriptionkey", "secret", "password"})
_MAY_NAME_A_SECRET = frozenset({"token", "key", "auth", "sas", "session", "jwt"})
_RANDOM = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w.~-]{20,}")
_HIDDEN = "***"
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>\\^`{|}]+")
#: A parameter in a text outside an address, as clients quote requests: ``/search?token=...``.
_PARAMETER = re.compile(r"([?&;]|%3[fF]|%26)([\w.%-]{1,40})(=|%3[dD])([^&\s\"'<>#;]+)")
_CREDENTIALS = re.compile(r"(?i)\b(bearer|basic|token)(\s+|%20)(?=[^\s\"']*\d)[\w.~+/=-]{12,}")
_HEADERS = re.compile(
    r"(?i)\b(authorization|x-api-key|api-key|cookie)([\"']?\s*[:=]\s*[\"']?)((?:bearer|basic)\s+)?[^\s\"',;]{6,}"
)
#: Punctuation of the sentence around an address is no part of it.
_AFTER = ".,;:!?)]"
_LONGEST_SHOWN = 500


def public(address: str, *, query: bool = True, most: int | None = None) -> str:
    """The address as strangers may see it; the same again changes nothing.

    Parameters
    ----------
    query
        Parameters that hold no secret stay as they are written, as they may say which file it is.
        False leaves out the query and the fragment: for addresses of services, whose parameters say nothing to people.
    most
        Longest result, in characters.
    """
    try:
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return shortened(_mask(address.partition("?")[0]), most or _LONGEST_SHOWN)
    kept = _kept(parts.query, holds_a_secret) if query else ""
    fragment = _kept(parts.fragment, holds_a_secret) if query else ""
    shown = urlunsplit((parts.scheme, host, _public_path(parts.path), kept, fragment))
    return shown if most is None else shortened(shown, most)


def unsigned(url: str) -> str:
    """The link without any signature; what else its query holds, tokens too, stays as it is written.

    A query that holds no signature is left alone: short names such as ``sr`` may mean something else there.
    """
    parts = urlsplit(url)
    if _SIGNATURES.isdisjoint(name for name, _ in parameters(parts.query)):
        return url
    kept = _kept(parts.query, _sign)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, kept, parts.fragment))


def redacted(text: str) -> str:
    """A text without the secrets of the addresses, parameters and headers that it quotes."""
    found = _IN_TEXT.sub(lambda match: _public_in_text(match[0]), text)
    found = _PARAMETER.sub(_hide_parameter, found)
    found = _HEADERS.sub(rf"\1\2\3{_HIDDEN}", found)
    return _CREDENTIALS.sub(rf"\1\2{_HIDDEN}", found)


def has_user_information(address: str) -> bool:
    """Whether an address holds a user's name or password before its host."""
    try:
        return "@" in urlsplit(address).netloc
    except ValueError:
        return "@" in address


def open_address(address: str) -> str:
    """An address of a catalog or source, which strangers see.

    Raises
    ------
    ValueError
        It holds user information; the message, without it, says which setting holds credentials.
    """
    if has_user_information(address):
        raise ValueError(
            "holds a user name or password, and addresses are shown to everyone; take out what stands before the @ and "
            'put it into SEGWATCH_CREDENTIALS, e.g. {"PROFILE": {"username": "...", "password": "..."}}'
        )
    return address


def parameters(query: str) -> list[tuple[str, str]]:
    """Names (small, decoded) and values (decoded) of a query's parameters."""
    return [(_name(one), unquote_plus(one.partition("=")[2])) for one in query.split("&") if one]


def holds_a_secret(names: frozenset[str], parameter: str) -> bool:
    """Whether a parameter of a query with these names is part of a signature, a token or a key."""
    return _sign(names, parameter) or _is_secret(_name(parameter)) or bool(_JWT.search(parameter))


def _sign(names: frozenset[str], parameter: str) -> bool:
    name = _name(parameter)
    beside = any(name in group for first, group in _SIGNED_WITH.items() if first in names)
    return beside or name.startswith(_SIGNATURE_PREFIXES)


def _is_secret(name: str) -> bool:
    plain = _plain(name)
    return plain in _SECRET_NAMES or any(part in plain for part in _SECRET_PARTS)


def _kept(query: str, drop: Callable[[frozenset[str], str], bool]) -> str:
    every = [one for one in query.split("&") if one]
    names = frozenset(map(_name, every))
    return "&".join(one for one in every if not drop(names, one))


def _public_path(path: str) -> str:
    before = ""
    segments = []
    for segment in path.split("/"):
        plain = _plain(unquote_plus(before))
        names_it = plain in _NAMES_A_SECRET or (plain in _MAY_NAME_A_SECRET and _RANDOM.fullmatch(segment))
        segments.append(_HIDDEN if segment and names_it else _public_segment(segment))
        before = segment
    return "/".join(segments)


def _public_segment(segment: str) -> str:
    """``name;token=X`` and ``token=X`` without the secret; what else has an equals sign may be a partition."""
    if "=" not in segment and "eyJ" not in segment:
        return segment
    return _JWT.sub(_HIDDEN, ";".join(map(_public_assignment, segment.split(";"))))


def _public_assignment(part: str) -> str:
    name, mark, _ = part.partition("=")
    return f"{name}={_HIDDEN}" if mark and _is_secret(_name(name)) else part


def _public_in_text(address: str) -> str:
    bare = address.rstrip(_AFTER)
    return public(bare) + address[len(bare) :]


def _hide_parameter(match: re.Match[str]) -> str:
    mark, name, equals, value = match.groups()
    return f"{mark}{name}{equals}{_HIDDEN}" if holds_a_secret(frozenset(), f"{name}={value}") else match[0]


def _mask(text: str) -> str:
    return re.sub(r"//[^/\s]*@", "//", text)


def _name(parameter: str) -> str:
    return unquote_plus(parameter.partition("=")[0]).strip().lower()


def _plain(name: str) -> str:
    return re.sub(r"[-_.\s]", "", name.lower())
