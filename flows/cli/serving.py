"""``segwatch serve``: the web server, for this machine, for holders of a token, or for everyone."""

from __future__ import annotations

import os
from contextlib import nullcontext
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated

import typer

from segwatch.flows.cli.console import clear_errors, say, warn

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from segwatch.flows.config.settings import FlowSettings
    from segwatch.flows.web.operations import OperationIntake
    from segwatch.flows.web.options import ServerOptions
    from segwatch.flows.web.trials import TrialIntake


def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    public: Annotated[
        bool, typer.Option("--public", help="Let everyone who reaches the server read, without a token.")
    ] = False,
    closed: Annotated[
        bool, typer.Option("--closed", help="Require tokens even if only this machine reaches the server.")
    ] = False,
    writing: Annotated[
        bool,
        typer.Option(
            "--writing",
            help=(
                "Accept reviews, events, announcements, operations, trials and new watches from tokens with these "
                "scopes; writes as SEGWATCH_DATABASE_URL."
            ),
        ),
    ] = False,
) -> None:
    """Serve the map, OGC API Features, vector tiles, imagery and alert feeds.

    The server reads with the role of SEGWATCH_ANALYST_URL, which must be read-only (default: the embedded cluster's
    segwatch_analyst).

    Readers need a token from `segwatch token create`, or a proxy that names its users (SEGWATCH_PROXY_USER_HEADER,
    SEGWATCH_PROXY_USERS), as soon as other machines can reach the server: with --host, or with a proxy in front of it
    (SEGWATCH_PUBLIC_URL, SEGWATCH_ALLOWED_HOSTS, SEGWATCH_TRUSTED_PROXIES). --public turns that off.

    Each client may send 50 requests per second; all clients behind a proxy that SEGWATCH_TRUSTED_PROXIES does not name
    count as one. /healthz tells whether the server is up, /readyz whether its database is.

    With SEGWATCH_REVIEW_TOKEN set, requests with that token may add reviews; with SEGWATCH_EVENT_SECRET set, requests
    signed with it may add events; with SEGWATCH_ANNOUNCEMENT_SECRET set, catalogs may announce items signed with it.
    """
    from segwatch.flows.config.settings import load_settings
    from segwatch.flows.errors import ConfigError
    from segwatch.flows.runtime import assemble
    from segwatch.flows.web.guards.site import is_reached_from_elsewhere
    from segwatch.flows.web.server import serve as run_server

    with clear_errors():
        settings = load_settings()
        if public and closed:
            raise ConfigError("--public and --closed exclude each other; leave one out")
        elsewhere = is_reached_from_elsewhere(settings, host)
        needed = closed or (elsewhere and not public)
        if needed:
            say(
                "readers need a token: segwatch token create NAME --watch WATCH; see also: segwatch serve --help"
            )
        elif elsewhere:
            warn("--public: everyone who reaches this server can read every watch")
        writes = writing or settings.review_token or settings.event_secret or settings.announcement_secret
        # without writes, no connection with the worker's rights is opened
        with assemble.open_worker_engine(settings) if writes else nullcontext() as engine:
            options = _make_options(settings, host, engine, closed=needed, writing=writing)
            run_server(
                assemble.make_analyst_url(settings),
                host=host,
                port=port,
                options=options,
                on_started=lambda: say(
                    f"serving at {_describe_address(settings, host, port)}; Ctrl-C stops it"
                ),
            )


def _describe_address(settings: FlowSettings, host: str, port: int) -> str:
    if settings.public_url:
        return f"{settings.public_url} (port {port} of this machine)"
    try:
        everywhere = ip_address(host).is_unspecified
    except ValueError:
        everywhere = False
    if everywhere:
        return f"http://127.0.0.1:{port}/ and port {port} of every address of this machine"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _make_options(
    settings: FlowSettings, host: str, engine: Engine | None, *, closed: bool, writing: bool
) -> ServerOptions:
    from segwatch.flows.web import announcements, events, reviews
    from segwatch.flows.web.background import find_background
    from segwatch.flows.web.guards.site import make_site
    from segwatch.flows.web.options import ServerOptions

    token, secret, announcing = settings.review_token, settings.event_secret, settings.announcement_secret
    return ServerOptions(
        reviews=reviews.ReviewIntake(engine, token) if engine is not None and (token or writing) else None,
        events=events.EventIntake(engine, secret) if engine is not None and (secret or writing) else None,
        announcements=(
            announcements.AnnouncementIntake(engine, announcing)
            if engine is not None and (announcing or writing)
            else None
        ),
        operations=_make_operations(settings, engine) if engine is not None and writing else None,
        trials=_make_trials(settings, engine) if engine is not None and writing else None,
        prefect_url=settings.prefect_ui_url or _find_prefect_pages(),
        credentials=settings.credentials_for,
        imagery_hosts=settings.imagery_hosts,
        background=find_background(settings),
        site=make_site(settings, host),
        closed=closed,
    )


def _make_operations(settings: FlowSettings, engine: Engine) -> OperationIntake:
    from segwatch.db import watches
    from segwatch.flows.inference import watch_models
    from segwatch.flows.web.operations import OperationIntake

    def tell_server(watch: str, paused: bool) -> None:
        from segwatch.flows.orchestration import deploy

        with engine.connect() as conn:
            stored = watches.load_current(conn, watch).watch
        names = [watch]
        deploy.schedule_watches([stored], paused=names if paused else (), resumed=() if paused else names)

    return OperationIntake(
        engine,
        lambda conn, watch: watch_models.find_version(conn, settings, watch),
        tell_server if "PREFECT_API_URL" in os.environ else None,
    )


def _make_trials(settings: FlowSettings, engine: Engine) -> TrialIntake:
    from segwatch.flows.orchestration.trial_intake import make_trial_intake

    return make_trial_intake(settings, engine)


def _find_prefect_pages() -> str:
    """Find the address of Prefect's own pages from that of its API; empty if none is set."""
    return os.environ.get("PREFECT_API_URL", "").rstrip("/").removesuffix("/api")
