"""Login page: exchange a token for a cookie that scripts cannot read and that pages of other sites do not send."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse

from segwatch.db.tokens import MAX_TOKEN, Token
from segwatch.flows.web.guards.access import COOKIE
from segwatch.flows.web.guards.bodies import read_body

_PAGE = (Path(__file__).parents[1] / "static" / "login.html").read_text(encoding="utf-8")
_WRONG = "This token is invalid: it is misspelt, revoked or expired."
_MAX_BYTES = 2**20
_POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_DAY_SECONDS = 86_400


def make_router(find: Callable[[str], Token | None]) -> APIRouter:
    """``GET`` and ``POST /login``, ``POST /logout``."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/login")
    def page() -> Response:
        """Show the form."""
        return _render_page("", 200)

    @routes.post("/login")
    async def login(request: Request) -> Response:
        """Store the token in a cookie and redirect to the map."""
        form = dict(
            parse_qsl((await read_body(request, _MAX_BYTES)).decode("utf-8", "replace"), max_num_fields=5)
        )
        given = form.get("token", "").strip()
        token = await run_in_threadpool(find, given) if given and len(given) <= MAX_TOKEN else None
        if token is None:
            return _render_page(_WRONG, 403)
        response = _redirect_to_map(request)
        response.set_cookie(
            COOKIE, given, max_age=_compute_lifetime(token), path="/", secure=request.url.scheme == "https",
            httponly=True, samesite="strict",
        )  # fmt: skip
        return response

    @routes.post("/logout")
    def logout(request: Request) -> Response:
        """Delete the cookie; the token itself stays valid until it is revoked."""
        response = _redirect_to_map(request)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return response

    return routes


def _render_page(problem: str, status: int) -> Response:
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(_PAGE.replace("{problem}", problem), status, headers)


def _redirect_to_map(request: Request) -> Response:
    return RedirectResponse(f"{request.scope.get('root_path', '')}/", 303, {"Cache-Control": "no-store"})


def _compute_lifetime(token: Token) -> int | None:
    """Return the lifetime of the cookie: a day, but no longer than the token."""
    left = _DAY_SECONDS
    if token.expires_at is not None:
        left = min(left, int((token.expires_at - datetime.now(UTC)).total_seconds()))
    return max(left, 1)
