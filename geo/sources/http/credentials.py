"""Sign requests for assets that need credentials; tokens are renewed before they expire.

| method | credentials | sent |
| --- | --- | --- |
| ``planetary-computer`` | none | SAS token of the asset's container in the query, replacing an older one |
| ``bearer`` | ``token`` | ``Authorization: Bearer`` (RFC 6750) |
| ``headers`` | any | the credentials as headers |
| ``oauth2`` | ``username``, ``password`` | a bearer token issued for them (RFC 6749, password grant) |
| ``s3`` | ``access_key_id``, ``secret_access_key``, or the machine's own | AWS Signature Version 4, and who pays |

Credentials are sent only to hosts that the profile lists. Error messages contain no query, header or secret.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from threading import Lock
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import httpx

from segwatch.geo.errors import AccessDenied
from segwatch.geo.sources.http import hrefs
from segwatch.geo.sources.http.signatures import replace_signature
from segwatch.geo.text.redaction import strip_signature
from segwatch.geo.types.source import AssetAccess, Profile

Credentials = Mapping[str, str]
NO_CREDENTIALS: Credentials = MappingProxyType({})
PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
METHODS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "planetary-computer": (),
        "bearer": ("token",),
        "headers": (),
        "oauth2": ("username", "password"),
        "s3": (),
    }
)
"""Required credentials by method."""
_KEYS = ("access_key_id", "secret_access_key", "session_token")
#: Other S3-compatible stores use this as their region.
_DEFAULT_REGION = "us-east-1"
_RENEW_BEFORE_SECONDS = 60.0
#: Lifetime of a token whose response gives none.
_DEFAULT_TOKEN_SECONDS = 300.0
#: Tokens are renewed at least once a day, whatever lifetime their response gives.
_MAX_TOKEN_SECONDS = 86_400.0
_Key = tuple[AssetAccess, str, str]
#: Tokens of this process with their expiry (Unix time), shared by all scenes of a source.
_TOKENS: dict[_Key, tuple[str, float]] = {}
_LOCK = Lock()


class Signer:
    """Signs the requests of one profile. Thread-safe.

    Raises
    ------
    AccessDenied
        A credential is missing, or no token is issued for it.
    """

    def __init__(self, profile: Profile, credentials: Credentials, client: httpx.Client) -> None:
        self._profile = profile
        self._access = profile.access
        self._credentials = credentials
        self._client = client
        missing = [name for name in METHODS.get(self._method, ()) if not credentials.get(name)]
        if missing:
            raise AccessDenied(
                profile.name,
                f"it needs {' and '.join(missing)}; set SEGWATCH_CREDENTIALS to "
                f'{{"{profile.name}": {{"{missing[0]}": "..."}}}}',
            )

    @property
    def _method(self) -> str:
        return self._access.method if self._access is not None else ""

    @property
    def redirect_hosts(self) -> tuple[str, ...]:
        """Other hosts that assets may redirect to."""
        return self._access.redirect_hosts if self._access is not None else ()

    @property
    def source(self) -> str:
        """Name of the profile."""
        return self._profile.name

    def signs(self, url: str) -> bool:
        """Whether requests for a URL carry credentials."""
        return self._access is not None and hrefs.is_allowed_host(
            url, hrefs.list_profile_hosts(self._profile)
        )

    def sign(self, url: str, method: str = "GET") -> tuple[str, dict[str, str]]:
        """Return the URL and headers to send now; ``method`` is GET or HEAD."""
        access = self._access
        if access is None or not self.signs(url):
            return url, {}
        if access.method == "planetary-computer":
            token = self._token(access, _container(url), lambda: self._container_token(access, url))
            return replace_signature(url, token), {}
        if access.method == "headers":
            return url, dict(self._credentials)
        if access.method == "s3":
            bare = strip_signature(url)  # stores refuse a request with two signatures
            return bare, self._signature(access, bare, method)
        if access.method == "bearer":
            return url, {"Authorization": f"Bearer {self._credentials['token']}"}
        token = self._token(access, "", lambda: self._oauth_token(access))
        return url, {"Authorization": f"Bearer {token}"}

    def _signature(self, access: AssetAccess, url: str, method: str) -> dict[str, str]:
        """Headers that sign a request. They do not include the range, so one signature is valid for all ranges."""
        try:
            from botocore.auth import S3SigV4Auth
            from botocore.awsrequest import AWSRequest
        except ImportError as error:
            raise AccessDenied(
                self._profile.name, "it needs botocore; install it with pip install 'segwatch[aws]'"
            ) from error
        request = AWSRequest(method, url)
        if access.requester_pays:
            request.headers["x-amz-request-payer"] = "requester"
        S3SigV4Auth(self._keys(), "s3", access.region or _DEFAULT_REGION).add_auth(request)
        return dict(request.headers.items())

    def _keys(self) -> Any:
        """The given keys, else those of botocore's chain: environment, AWS files, role of the machine."""
        from botocore.credentials import Credentials as Keys

        given = [self._credentials.get(name) for name in _KEYS]
        found = Keys(*given) if given[0] and given[1] else _machine_keys()
        if found is None:
            raise AccessDenied(
                self._profile.name,
                "it needs access_key_id and secret_access_key in SEGWATCH_CREDENTIALS, or AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or an IAM role of the machine",
            )
        return found.get_frozen_credentials()

    def forget(self) -> bool:
        """Drop the tokens that a server refused, so that new ones are requested; False where there were none."""
        with _LOCK:
            mine = [key for key in _TOKENS if key[0] == self._access]
            for key in mine:
                del _TOKENS[key]
        return bool(mine)

    def _token(self, access: AssetAccess, container: str, get: Callable[[], tuple[str, float]]) -> str:
        key = access, self._credentials.get("username", ""), container
        with _LOCK:
            token, until = _TOKENS.get(key, ("", 0.0))
            if time.time() >= until - _RENEW_BEFORE_SECONDS:
                token, until = get()
                _TOKENS[key] = token, until
            return token

    def _container_token(self, access: AssetAccess, url: str) -> tuple[str, float]:
        document = self._request_token("GET", f"{access.token_url or PLANETARY_COMPUTER}/{_container(url)}")
        expires = document.get("msft:expiry")
        try:
            until = datetime.fromisoformat(str(expires)).replace(tzinfo=UTC).timestamp()
        except (ValueError, OverflowError):
            until = time.time() + _DEFAULT_TOKEN_SECONDS
        return self._get_token(document, "token"), min(until, time.time() + _MAX_TOKEN_SECONDS)

    def _oauth_token(self, access: AssetAccess) -> tuple[str, float]:
        form = {
            "grant_type": "password",
            "client_id": access.client_id,
            "username": self._credentials["username"],
            "password": self._credentials["password"],
        }
        document = self._request_token("POST", access.token_url, form)
        seconds = document.get("expires_in")
        lives = seconds if isinstance(seconds, int | float) and seconds >= 0 else _DEFAULT_TOKEN_SECONDS
        return self._get_token(document, "access_token"), time.time() + min(lives, _MAX_TOKEN_SECONDS)

    def _request_token(
        self, method: str, url: str, form: Mapping[str, str] | None = None
    ) -> dict[str, object]:
        try:
            response = self._client.request(method, url, data=form)
            response.raise_for_status()
            document = response.json()
        except (httpx.HTTPError, ValueError) as error:
            status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
            reason = f"HTTP {status}" if status else type(error).__name__
            raise AccessDenied(
                self._profile.name, f"{hrefs.redact_href(url)} issued no token: {reason}"
            ) from None
        if not isinstance(document, dict):
            raise AccessDenied(
                self._profile.name,
                f"{hrefs.redact_href(url)} issued no token but returned a {type(document).__name__}",
            )
        return document

    def _get_token(self, document: dict[str, object], name: str) -> str:
        token = document.get(name)
        if not isinstance(token, str) or not token:
            raise AccessDenied(self._profile.name, f"the response of the token endpoint has no {name}")
        return token


def _container(url: str) -> str:
    """``account/container`` of a blob's URL."""
    parts = urlsplit(url)
    return f"{(parts.hostname or '').split('.')[0]}/{parts.path.lstrip('/').split('/')[0]}"


@cache
def _machine_keys() -> Any:
    """Self-renewing credentials of botocore's default chain; None where there are none."""
    import botocore.session

    return botocore.session.get_session().get_credentials()
