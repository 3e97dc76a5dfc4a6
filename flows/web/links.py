"""Links between pages of a list."""

from __future__ import annotations

from fastapi import Request, Response


def link_next(request: Request, response: Response, following: str | None) -> None:
    """Link to the next page in a header, for clients that page by it (RFC 8288); None = this is the last page."""
    if following is not None:
        response.headers["Link"] = f'<{request.url.include_query_params(after=following)}>; rel="next"'
