"""Requests to a STAC server: to its host only, repeated for as long as is worth it, with answers in bounded memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import requests
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from requests import Response, codes
from requests.exceptions import ChunkedEncodingError, RequestException
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from segwatch.geo.sources.http import egress, faults, headers, hrefs
from segwatch.geo.sources.http.deadline import within
from segwatch.geo.sources.http.responses import link_to_next, parse_json, read_body
from segwatch.geo.sources.search.paging import Answer
from segwatch.geo.sources.search.requests import Request

_TIMEOUT_SECONDS = (10.0, 60.0)
_RETRIES = 5
_LONGEST_WAIT_SECONDS = 30
_MAX_REDIRECTS = 5
_ACCEPT = "application/geo+json, application/json;q=0.9, */*;q=0.1"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server is waited for."""

    answer_seconds: float
    """For one answer, with all retries."""
    connect_retries: int
    back_off_seconds: float
    """Before the first retry; doubled before each further one."""


class Refusal(APIError):
    """A catalog answered with an error. Its words serve to find another way to ask; they are no part of a message."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__("")
        self.status_code = status
        self.words = words


class _Retry(Retry):
    """Waits as long as a server asks, in any form of the header; one that cannot be read is as good as none."""

    def parse_retry_after(self, retry_after: str) -> float:
        seconds = headers.parse_retry_after({"retry-after": retry_after}, datetime.now(UTC))
        return min(seconds, self.retry_after_max)


class StacHttp(StacApiIO):
    """Requests to one host only: the paging links of a catalog are its text, not ours.

    Parameters
    ----------
    hosts
        As in :func:`segwatch.geo.sources.http.hrefs.check`.
    """

    def __init__(self, hosts: Sequence[str], patience: Patience) -> None:
        self._patience = patience
        retry = _Retry(
            total=_RETRIES,
            connect=self._patience.connect_retries,
            backoff_factor=self._patience.back_off_seconds,
            backoff_max=_LONGEST_WAIT_SECONDS,
            backoff_jitter=0.2,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods=None,  # searches by POST change nothing, so they may be repeated
            respect_retry_after_header=True,
            retry_after_max=_LONGEST_WAIT_SECONDS,
            raise_on_status=False,
        )
        super().__init__(timeout=_TIMEOUT_SECONDS, max_retries=retry)
        self._hosts = tuple(hosts)
        egress.check_session(self.session)

    def answer(self, request: Request) -> Answer:
        """The JSON document that a request is answered with.

        Raises
        ------
        APIError
            It was not answered, or with an error.
        ValueError
            The answer is no JSON.
        segwatch.geo.errors.UnsafeHref
            It, or what it redirects to, may not be asked.
        """
        attempt = 1
        while True:
            try:
                return within(self._patience.answer_seconds, lambda: self._answer(request))
            except TimeoutError as error:
                self.session.close()
                raise APIError(f"it has not answered within {self._patience.answer_seconds:g} s") from error
            except APIError as error:
                # the session repeats what fails before the body comes, and not what is cut off within it
                if attempt == self._patience.connect_retries or not isinstance(
                    error.__context__, ChunkedEncodingError
                ):
                    raise
            time.sleep(self._patience.back_off_seconds * 2**attempt)
            attempt += 1

    def _answer(self, request: Request) -> Answer:
        for _ in range(_MAX_REDIRECTS + 1):
            hrefs.check(request.href, self._hosts)
            try:
                response = self._send(request)
                content = read_body(response)
            except (RequestException, HTTPError) as error:
                raise APIError(faults.describe(error)) from error
            if response.is_redirect:
                request = self._redirected(request, response)
                continue
            if not 200 <= response.status_code < 300:
                raise Refusal(response.status_code, content[:2000].decode("utf-8", "replace"))
            href = str(response.url)
            return Answer(parse_json(content, response.encoding), href, link_to_next(response))
        raise APIError(f"more than {_MAX_REDIRECTS} redirects")

    def _send(self, request: Request) -> Response:
        given = {"Accept": _ACCEPT, **dict(request.headers)}
        body = request.parameters if request.method == "POST" else None
        query = request.parameters if request.method == "GET" else None
        prepared = self.session.prepare_request(
            requests.Request(request.method, request.href, headers=given, json=body, params=query)
        )
        settings = self.session.merge_environment_settings(str(prepared.url), {}, True, None, None)
        return self.session.send(prepared, timeout=self.timeout, allow_redirects=False, **settings)

    def _redirected(self, request: Request, response: Response) -> Request:
        """The same request elsewhere: a search by POST that became a GET would ask for everything."""
        target = hrefs.check_redirect(str(response.url), response.headers["location"], self._hosts)
        if request.method == "GET" or response.status_code == codes.see_other:
            return Request("GET", target, {}, request.headers)
        return replace(request, href=target)
