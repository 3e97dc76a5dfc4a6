"""Send requests to a STAC server: only to its own host, with retries and with responses in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import requests
from pystac_client.exceptions import APIError
from requests import Response, codes
from requests.exceptions import ChunkedEncodingError, ConnectTimeout, RequestException, Timeout
from urllib3.exceptions import HTTPError, NewConnectionError

from segwatch.geo.sources.http import egress, faults, hrefs
from segwatch.geo.sources.http.deadline import call_within
from segwatch.geo.sources.http.headers import parse_retry_after
from segwatch.geo.sources.http.retries import RetriesExhausted, RetryPolicy, Transient, call_with_retries
from segwatch.geo.sources.search.paging import StacResponse
from segwatch.geo.sources.search.requests import HttpRequest
from segwatch.geo.sources.search.responses import find_next_link, parse_json, read_body

_TIMEOUT_SECONDS = (10.0, 60.0)
_MAX_REDIRECTS = 5
_TRANSIENT_STATUSES = frozenset({429, 500, 502, 503, 504})
_ACCEPT = "application/geo+json, application/json;q=0.9, */*;q=0.1"


@dataclass(frozen=True, slots=True)
class StacRetries:
    """Retries of requests to a STAC server."""

    total_seconds: float
    """Time limit for one response, including all retries."""
    policy: RetryPolicy
    max_connect_attempts: int
    """Attempts where no connection is made or the body is cut off."""


class StacHttpError(APIError):
    """A catalog responded with an error status.

    Its text is used to choose another form of the request; it is not part of the message.
    """

    def __init__(self, status: int, text: str, retry_after_seconds: float) -> None:
        super().__init__("")
        self.status_code = status
        self.text = text
        self.retry_after_seconds = retry_after_seconds


class StacClient:
    """Client for one STAC server. Requests go to allowed hosts only: paging links are the catalog's text, not ours.

    Parameters
    ----------
    hosts
        As in :func:`segwatch.geo.sources.http.hrefs.check`.
    """

    def __init__(self, hosts: Sequence[str], retries: StacRetries) -> None:
        self._session = requests.Session()
        egress.guard_session(self._session)
        self._hosts = tuple(hosts)
        self._retries = retries

    def send(self, request: HttpRequest) -> StacResponse:
        """Send a request and parse the JSON response. Searches by POST change nothing, so they are retried too.

        Raises
        ------
        APIError
            The server did not respond in time, or with an error.
        ValueError
            The response is not JSON.
        segwatch.geo.errors.UnsafeHref
            The URL, or one that it redirects to, must not be opened.
        """
        until = time.monotonic() + self._retries.total_seconds
        try:
            return call_with_retries(
                lambda: call_within(max(0.0, until - time.monotonic()), lambda: self._send_once(request)),
                self._retries.policy,
                self._classify,
                name=f"catalog {hrefs.redact_href(request.href)}",
                until=until,
            )
        except TimeoutError as error:
            self._session.close()
            raise APIError(f"no complete response within {self._retries.total_seconds:g} s") from error
        except RetriesExhausted as exhausted:
            raise exhausted.error from exhausted.error.__cause__

    def _classify(self, error: Exception) -> Transient | None:
        if isinstance(error, StacHttpError) and error.status_code in _TRANSIENT_STATUSES:
            wait = min(error.retry_after_seconds, self._retries.policy.max_wait_seconds)
            return Transient(f"HTTP {error.status_code}", wait)
        cause = error.__cause__
        if not isinstance(cause, requests.ConnectionError | Timeout | ChunkedEncodingError):
            return None
        limit = self._retries.max_connect_attempts if _is_cut_short(cause) else None
        return Transient(faults.describe(cause), max_attempts=limit)

    def _send_once(self, request: HttpRequest) -> StacResponse:
        for _ in range(_MAX_REDIRECTS + 1):
            hrefs.check(request.href, self._hosts)
            try:
                response = self._exchange(request)
                content = read_body(response)
            except (RequestException, HTTPError) as error:
                raise APIError(faults.describe(error)) from error
            if response.is_redirect:
                request = self._follow_redirect(request, response)
                continue
            if not 200 <= response.status_code < 300:
                wait = parse_retry_after(response.headers, datetime.now(UTC))
                raise StacHttpError(response.status_code, content[:2000].decode("utf-8", "replace"), wait)
            return StacResponse(
                parse_json(content, response.encoding), str(response.url), find_next_link(response)
            )
        raise APIError(f"more than {_MAX_REDIRECTS} redirects")

    def _exchange(self, request: HttpRequest) -> Response:
        headers = {"Accept": _ACCEPT, **dict(request.headers)}
        body = request.parameters if request.method == "POST" else None
        query = request.parameters if request.method == "GET" else None
        prepared = self._session.prepare_request(
            requests.Request(request.method, request.href, headers=headers, json=body, params=query)
        )
        settings = self._session.merge_environment_settings(str(prepared.url), {}, True, None, None)
        return self._session.send(prepared, timeout=_TIMEOUT_SECONDS, allow_redirects=False, **settings)

    def _follow_redirect(self, request: HttpRequest, response: Response) -> HttpRequest:
        """The same request at the redirect target. It stays a POST, as a GET without body would request everything."""
        target = hrefs.check_redirect(str(response.url), response.headers["location"], self._hosts)
        if request.method == "GET" or response.status_code == codes.see_other:
            return HttpRequest("GET", target, {}, request.headers)
        return replace(request, href=target)


def _is_cut_short(error: Exception) -> bool:
    """Whether no connection was made, or the body was cut off."""
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(error, ConnectTimeout | ChunkedEncodingError) or isinstance(reason, NewConnectionError)
