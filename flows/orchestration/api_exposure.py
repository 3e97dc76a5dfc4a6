"""Probe which callers a Prefect API accepts: without credentials, from other sites' pages, under any host name."""

from __future__ import annotations

import httpx

from segwatch.flows.orchestration.server_facts import ApiExposure

_SECONDS = 10.0
#: A host name that nobody owns: the top-level domain is reserved.
_UNKNOWN_HOST = "segwatch.invalid"


def probe_api(url: str) -> ApiExposure:
    """Send the API one request without credentials, one CORS preflight and one with an unknown Host header.

    Raises
    ------
    httpx.HTTPError
        The API does not answer.
    """
    with httpx.Client(base_url=url.rstrip("/"), timeout=_SECONDS, follow_redirects=False) as client:
        anonymous = client.post("/deployments/filter", json={"limit": 1})
        preflight = client.options(
            "/deployments/filter",
            headers={"Origin": f"https://{_UNKNOWN_HOST}", "Access-Control-Request-Method": "POST"},
        )
        renamed = client.get("/health", headers={"Host": _UNKNOWN_HOST})
    allowed = preflight.headers.get("access-control-allow-origin")
    return ApiExposure(
        open=anonymous.is_success,
        any_origin=allowed in {"*", f"https://{_UNKNOWN_HOST}"},
        any_host=renamed.is_success,
    )
