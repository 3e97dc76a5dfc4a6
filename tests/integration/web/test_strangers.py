"""What strangers see, over HTTP: the real application on a real database that holds two watches."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import Engine, text
from starlette.routing import Mount

from segwatch.db import alerts, reviews, tokens
from segwatch.db.errors import NotFound, TokenRefused
from segwatch.db.readers import NOTHING, Visibility, make_reader_engine
from segwatch.db.tokens import Scope
from segwatch.flows.alerting.send_times import compute_send_time
from segwatch.flows.config.settings.web import WebSettings
from segwatch.flows.errors import ConfigError
from segwatch.flows.web import announcements, events
from segwatch.flows.web import reviews as web_reviews
from segwatch.flows.web.application import create_app
from segwatch.flows.web.guards.rules import RULES, NoRoute, find_rule
from segwatch.flows.web.guards.site import is_reached_from_elsewhere, make_site
from segwatch.flows.web.options import ServerOptions
from tests.conftest import Database
from tests.invariants.conftest import Ledger, SceneContent, cells

SECRET = "s3cr3tValue0123456789"
PERSON = "ada-lovelace"
LAKE = cells(1, 1, 4, 4)
HIDDEN, SHOWN = "lakes", "ponds"


@pytest.fixture
def ledger(ledgers: Any) -> Ledger:
    """``lakes`` has a reviewed object, a marked alert and a rejected item; ``ponds`` has a scene."""
    made: Ledger = ledgers()
    made.instruct("segment water bodies")
    made.arrive([SceneContent(()), SceneContent((LAKE,))], [0, 1])
    track = made.rows("SELECT track_id FROM watch.objects_now")[0]["track_id"]
    alert = made.rows("SELECT alert_id FROM watch.alerts")[0]["alert_id"]
    with made.engine.begin() as conn:
        reviews.decide(
            conn, track, reviews.Verdict.CONFIRMED, reviewer=PERSON, reason="x", turn=compute_send_time
        )
        alerts.mark(conn, alert, alerts.Mark.ACKNOWLEDGED, person=PERSON)
        conn.execute(
            text(
                "INSERT INTO segwatch.rejected_item (id, revision_id, collection, item_id, href, reason)"
                " SELECT gen_random_uuid(), revision_id, 'c', 'bad', 'https://stac.example/bad', 'no'"
                " FROM segwatch.watch_head WHERE name = 'lakes'"
            )
        )
    made.revision = made.also_watch(SHOWN, f"https://me:{SECRET}@ponds.example/v1?token={SECRET}")
    made.arrive([SceneContent((LAKE,))], [0])
    return made


@contextmanager
def serving(database: Database, **access: Any) -> Iterator[TestClient]:
    app = create_app(database.url("segwatch_analyst"), ServerOptions(**access))
    with TestClient(app, follow_redirects=False) as made:
        yield made


@pytest.fixture
def closed(database: Database, ledger: Ledger) -> Iterator[TestClient]:
    writing = {
        "reviews": web_reviews.ReviewIntake(ledger.engine),
        "events": events.EventIntake(ledger.engine),
        "announcements": announcements.AnnouncementIntake(ledger.engine),
    }
    with serving(database, closed=True, **writing) as made:
        yield made


@pytest.fixture
def token(engine: Engine) -> Callable[..., dict[str, str]]:
    """Makes a token; gives the header that bears it."""

    def make(
        name: str, *scopes: Scope, watches: tuple[str, ...] | None = (SHOWN,), **more: Any
    ) -> dict[str, str]:
        more.setdefault("expires_at", None)
        with engine.begin() as conn:
            made = tokens.create(conn, name, watch_names=watches, scopes=scopes or (Scope.READ,), **more)
        assert made.secret not in repr(made)
        return {"Authorization": f"Bearer {made.secret}"}

    return make


def _paths(routes: Any, before: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every path of an application and of those mounted in it, with its methods."""
    for route in routes:
        if hasattr(route, "original_router"):
            yield from _paths(route.original_router.routes, before + route.include_context.prefix)
        elif isinstance(route, Mount):
            inner = getattr(route.app, "_app", None)
            path = before + route.path
            yield from [(f"{path}/x", {"GET"})] if inner is None else _paths(inner.routes, path)
        else:
            yield before + route.path, route.methods


def test_every_route_has_a_rule_and_every_rule_a_route(closed: TestClient) -> None:
    found = list(_paths(closed.app.routes))  # type: ignore[attr-defined]
    assert len(found) > 30
    missing = [
        (method, path)
        for path, methods in found
        for method in methods - {"OPTIONS"}
        if isinstance(find_rule(method, re.sub(r"\{[^}]*\}", "1", path)), NoRoute)
    ]
    assert missing == []
    plain = {re.sub(r"\{[^}]*\}", "1", path) for path, _ in found} | {"/ogc"}
    unused = [
        rule
        for rule in RULES
        if not any(find_rule("GET", one) == find_rule("GET", _sample(rule)) for one in plain)
    ]
    assert unused == []
    assert find_rule("GET", "/new/route") == NoRoute(404, "Not Found")


def _sample(template: str) -> str:
    return re.sub(r"\{[^}]*\}", "1", template)


def test_nothing_is_answered_to_those_who_are_not_known(closed: TestClient) -> None:
    wrong = [
        {},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": f"Bearer segwatch_{'0' * 16}_{'a' * 43}"},
    ]
    for path, methods in _paths(closed.app.routes):  # type: ignore[attr-defined]
        for method in methods - {"HEAD"}:
            asked = re.sub(r"\{[^}]*\}", "1", path)
            if find_rule(method, asked) == "anyone":
                continue
            for headers in wrong:
                answer = closed.request(method, asked, headers=headers)
                assert answer.status_code in {401, 405}, (method, asked, answer.status_code)
                assert HIDDEN not in answer.text
    assert closed.get("/healthz").json() == {"status": "ok"}
    page = closed.get("/", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/login")
    assert "form-action 'self'" in closed.get("/login").headers["content-security-policy"]


COLLECTIONS = (
    "objects_now", "object_history", "changes", "alerts", "coverage", "imagery", "rejected_items", "reviews",
    "watches", "evidence", "upgrades", "alert_corrections", "detections", "shadow_comparisons", "shadow_differences",
    "presence",
)  # fmt: skip


def test_a_token_sees_its_watches_through_every_window(
    closed: TestClient, ledger: Ledger, token: Callable[..., dict[str, str]]
) -> None:
    few, all_ = token("few"), token("all", watches=None)
    alert = ledger.rows("SELECT alert_id FROM watch.alerts WHERE watch = 'lakes'")[0]["alert_id"]
    scene = ledger.rows("SELECT scene_id FROM watch.imagery WHERE watch = 'lakes'")[0]["scene_id"]
    track = ledger.rows("SELECT track_id FROM watch.objects_now WHERE watch = 'lakes'")[0]["track_id"]
    at = "2030-01-01T00:00:00Z"
    windows = [
        *(
            f"/ogc/collections/watch.{one}/items?f={kind}"
            for one in COLLECTIONS
            for kind in ("geojson", "csv")
        ),
        *(f"/ogc/collections/watch.{one}/items?filter=watch%3D%27lakes%27" for one in COLLECTIONS),
        f"/ogc/collections/watch.alerts/items/{alert}",
        "/api/watches",
        "/api/reviews?watch=lakes",
        "/api/alerts?watch=lakes",
        "/api/scenes?watch=lakes",
        "/api/unused?watch=lakes",
        "/api/coverage?watch=lakes",
        "/api/events",
        f"/api/tiles/0/0/0.mvt?watch=lakes&at={at}",
        "/api/operations",
        "/api/search?q=lake",
        f"/api/search?q={alert}",
        "/api/compare?watch=lakes&from=2020-01-01&to=2030-01-01",
        "/api/why-not?watch=lakes&lon=10.0015&lat=50.0015",
        "/api/watches/lakes/download?format=csv",
        f"/api/objects/{track}/history",
        "/feeds/lakes/atom.xml",
        f"/feeds/cap/{alert}.xml",
        f"/imagery/tiles/WebMercatorQuad/0/0/0.png?watch=lakes&scene={scene}",
    ]
    while closed.get("/api/search?q=x", headers=all_).status_code == 503:
        pass  # the table of places is being read
    seen_by_all = 0
    for one in windows:
        everything = closed.get(one, headers=all_)
        seen_by_all += everything.status_code == 200 and HIDDEN in everything.text
        answer = closed.get(one, headers=few)
        assert answer.status_code in {200, 404}, one
        told = (
            answer.text.replace("watch%3D%27lakes%27", "")
            .replace("named 'lakes'", "")
            .replace("watch lakes", "")
        )
        assert HIDDEN not in told.replace("watch=lakes", ""), one
        assert answer.headers["cache-control"].startswith(("private", "no-store")), one
        assert "Authorization" in answer.headers["vary"] or answer.status_code == 404, one
    assert seen_by_all >= 12, "the windows show what there is"
    tile = f"/api/tiles/0/0/0.mvt?watch=lakes&at={at}"
    assert len(closed.get(tile, headers=few).content) < len(closed.get(tile, headers=all_).content)
    assert {row["watch"] for row in closed.get("/api/watches", headers=few).json()} == {SHOWN}
    # nor where the others are
    described = closed.get("/ogc/collections/watch.objects_now", headers=few).json()
    assert "extent" not in described or not described["extent"]
    assert closed.get("/ogc/collections/watch.objects_now", headers=all_).json()["extent"]["spatial"]


def test_errors_tell_nothing_of_rows_that_may_not_be_seen(
    closed: TestClient, token: Callable[..., dict[str, str]]
) -> None:
    asked = "/ogc/collections/watch.objects_now/items?filter=(area_m2 - 1) ^ 0.5 > 0"
    assert closed.get(asked, headers=token("few")).status_code == 400
    assert closed.get(asked, headers=token("all", watches=None)).status_code == 200


def test_views_and_functions_hold_nothing_that_a_session_may_not_see(
    database: Database, ledger: Ledger
) -> None:
    """A view that comes later and forgets it is found here."""
    superuser = ledger.engine
    with superuser.connect() as conn:
        relations = conn.execute(
            text("SELECT relname FROM pg_class WHERE relnamespace = 'watch'::regnamespace AND relkind IN ('v', 'm')")
        ).scalars().all()  # fmt: skip
        functions = conn.execute(
            text("SELECT proname FROM pg_proc WHERE pronamespace = 'watch'::regnamespace")
        ).scalars().all()  # fmt: skip
        scene = (
            conn.execute(text("SELECT scene_id FROM watch.imagery WHERE watch = 'lakes'")).scalars().first()
        )
        track = (
            conn.execute(text("SELECT track_id FROM watch.objects_now WHERE watch = 'lakes'"))
            .scalars()
            .first()
        )
        notice = (
            conn.execute(
                text(
                    "SELECT CAST(jsonb_build_object('type', 'segwatch.alert', 'alert_id', alert_id,"
                    " 'change_id', change_id, 'track_id', track_id, 'valid_at', valid_at, 'watch', watch,"
                    " 'rule', rule, 'kind', kind,"
                    " 'target', target) AS text) FROM watch.alerts WHERE watch = 'lakes'"
                )
            )
            .scalars()
            .first()
        )
    calls = {
        "objects_as_of": "SELECT CAST(r AS text) FROM watch.objects_as_of(now()) r",
        "objects_page": "SELECT CAST(r.tracks AS text) FROM watch.objects_page('lakes', now(), now(), NULL,"
        f" '{UUID(int=0)}', 9) r",
        "why_not": "SELECT CAST(r AS text) FROM watch.why_not(10.0015, 50.0015, now(), 'lakes') r"
        " WHERE r.observation_id IS NOT NULL",
        "readable_imagery": f"SELECT CAST(r AS text) FROM watch.readable_imagery('lakes', '{scene}') r",
        "notified": "SELECT CAST(r AS text) FROM watch.notified('{}') r".format(
            str(notice).replace(":", r"\:")
        ),
        "objects_tile": "SELECT encode(watch.objects_tile('lakes', now(), 0, 0, 0), 'escape')",
        "compare_tile": "SELECT encode(watch.compare_tile('lakes', '2020-01-01Z', now(), 0, 0, 0), 'escape')",
        "compare": "SELECT CAST(r AS text) FROM watch.compare('lakes', '2020-01-01Z', now()) r",
        "compare_ground": "SELECT CAST(r AS text) FROM watch.compare_ground('lakes', '2020-01-01Z', now()) r",
        "data_version": "SELECT watch.data_version('lakes')",
        "object_observations": f"SELECT CAST(r AS text) FROM watch.object_observations('{track}') r",
        "object_lineage": f"SELECT CAST(r AS text) FROM watch.object_lineage('{track}') r",
        "operations": "SELECT CAST(r AS text) FROM watch.operations() r",
        "metrics": "SELECT CAST(r AS text) FROM watch.metrics() r",
        "usage": "SELECT CAST(r AS text) FROM watch.usage() r",
        "alert_ages": "SELECT CAST(r AS text) FROM watch.alert_ages() r",
        # what it says depends on an id that nobody can guess
        "access_token": "SELECT CAST(r AS text) FROM watch.access_token('x') r",
    }
    # it says nothing, and sessions that only read may not call it
    assert set(functions) == {*calls, "use_access_token"}, (
        "a function of the schema watch that this test does not know"
    )
    queries = [f"SELECT CAST(r AS text) FROM watch.{one} r" for one in relations] + list(calls.values())
    assert set(COLLECTIONS) <= set(relations)

    def told(sight: Visibility) -> list[str]:
        made = make_reader_engine(database.url("segwatch_analyst"), lambda: sight, application_name="test")
        with made.connect() as conn:
            found = ["\n".join(map(str, conn.execute(text(one)).scalars())) for one in queries]
        made.dispose()
        return found

    everything = told(Visibility(None, names=True))
    assert sum(HIDDEN in one for one in everything) >= 9
    assert sum(PERSON in one for one in everything) == 5
    assert not any(PERSON in one for one in told(Visibility(None, names=False)))
    some = told(Visibility(frozenset({SHOWN}), names=False))
    assert not any(HIDDEN in one for one in some)
    assert sum(SHOWN in one for one in some) >= 5
    nothing = told(NOTHING)
    assert not any(HIDDEN in one or SHOWN in one for one in nothing)
    # these say numbers and not whose they are
    for name in ("compare", "compare_ground", "data_version", "object_observations", "object_lineage"):
        at = queries.index(calls[name])
        assert some[at] == nothing[at] == "", name
        assert everything[at] or name == "object_lineage", name
    assert not any(SECRET in one for one in everything)


def test_no_window_shows_a_catalogs_token(database: Database, ledger: Ledger) -> None:
    with serving(database) as anyone:
        shown = [anyone.get(f"/ogc/collections/watch.{one}/items").text for one in COLLECTIONS]
    assert not any(SECRET in one for one in shown)
    assert any("https://ponds.example/v1" in one for one in shown)
    # the search itself still has it
    rows = ledger.rows("SELECT definition->>'catalog' AS catalog FROM segwatch.watch WHERE name = 'ponds'")
    assert SECRET in rows[0]["catalog"]


def test_names_are_for_those_who_review(closed: TestClient, token: Callable[..., dict[str, str]]) -> None:
    reading, reviewing = token("r", watches=None), token("v", Scope.READ, Scope.REVIEW, watches=None)
    for path in (
        "/api/reviews?watch=lakes",
        "/api/alerts?watch=lakes",
        "/ogc/collections/watch.objects_now/items",
    ):
        assert PERSON not in closed.get(path, headers=reading).text
        assert PERSON in closed.get(path, headers=reviewing).text
    filtered = closed.get(f"/ogc/collections/watch.reviews/items?reviewer={PERSON}", headers=reading)
    assert filtered.json()["numberMatched"] == 0


def test_who_may_not_review_a_watch_cannot(
    closed: TestClient, ledger: Ledger, token: Callable[..., dict[str, str]]
) -> None:
    track = str(ledger.rows("SELECT track_id FROM watch.objects_now WHERE watch = 'lakes'")[0]["track_id"])
    alert = ledger.rows("SELECT alert_id FROM watch.alerts WHERE watch = 'lakes'")[0]["alert_id"]
    asked = {"track_id": track, "verdict": "rejected", "reviewer": "eve", "reason": "y"}
    marked = {"mark": "resolved", "person": "eve"}
    few, all_ = token("few", Scope.READ, Scope.REVIEW), token("all", Scope.READ, Scope.REVIEW, watches=None)
    for headers, status in ((token("reads", watches=None), 403), (few, 404)):
        assert closed.post("/api/reviews", json=asked, headers=headers).status_code == status
        assert closed.post(f"/api/alerts/{alert}/marks", json=marked, headers=headers).status_code == status
    unknown = closed.post("/api/reviews", json=asked | {"track_id": str(UUID(int=1))}, headers=few).json()
    hidden = closed.post("/api/reviews", json=asked, headers=few).json()
    assert hidden["detail"].replace(track, "") == unknown["detail"].replace(str(UUID(int=1)), "")
    assert ledger.rows("SELECT 1 FROM segwatch.review WHERE reviewer = 'eve'") == []
    assert closed.post(f"/api/alerts/{alert}/marks", json=marked, headers=all_).status_code == 201
    assert closed.post("/api/reviews", json=asked, headers=all_).status_code == 201


def test_events_are_taken_with_a_token_for_them(
    closed: TestClient, token: Callable[..., dict[str, str]]
) -> None:
    event = {
        "type": "Feature", "id": "q1", "geometry": {"type": "Point", "coordinates": [10, 50]},
        "properties": {"type": "earthquake", "title": "M 6", "time": "2024-05-01T00:00:00Z"},
    }  # fmt: skip
    body = json.dumps(event)
    assert closed.post("/events", content=body).status_code == 401
    assert closed.post("/events", content=body, headers=token("r", watches=None)).status_code == 403
    answer = closed.post("/events", content=body, headers=token("e", Scope.EVENTS, watches=None))
    assert answer.status_code in {201, 422}, answer.text


def test_tokens_end(closed: TestClient, engine: Engine, token: Callable[..., dict[str, str]]) -> None:
    held = token("held")
    assert closed.get("/api/watches", headers=held).status_code == 200
    with pytest.raises(TokenRefused, match="revoke"):
        token("held")
    with engine.begin() as conn:
        assert "digest" not in tokens.list_tokens(conn)[0]
        tokens.revoke(conn, "held")
    assert closed.get("/api/watches", headers=held).status_code == 401
    soon = token("soon", expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert closed.get("/api/watches", headers=soon).status_code == 200
    with engine.begin() as conn:
        conn.execute(text("UPDATE segwatch.access_token SET expires_at = now() - interval '1 second'"))
    assert closed.get("/api/watches", headers=soon).status_code == 401
    with pytest.raises(NotFound):
        token("other", watches=("none-such",))
    with pytest.raises(TokenRefused):
        token("past", expires_at=datetime.now(UTC) - timedelta(hours=1))
    stored = str(engine.connect().execute(text("SELECT CAST(t AS text) FROM segwatch.access_token t")).all())
    assert held["Authorization"].rpartition("_")[2] not in stored


SAME = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}


def test_a_browser_keeps_the_token_in_a_cookie_that_other_sites_cannot_use(
    closed: TestClient, ledger: Ledger, token: Callable[..., dict[str, str]]
) -> None:
    given = token("b", Scope.READ, Scope.REVIEW, watches=None)["Authorization"].removeprefix("Bearer ")
    assert closed.post("/login", data={"token": given}).status_code == 403, "no page of this server asks"
    assert closed.post("/login", data={"token": "wrong<b>"}, headers=SAME).status_code == 403
    entered = closed.post("/login", data={"token": given, "next": "//evil.example"}, headers=SAME)
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert closed.get("/api/watches").status_code == 200
    alert = ledger.rows("SELECT alert_id FROM watch.alerts WHERE watch = 'lakes'")[0]["alert_id"]
    path, body = f"/api/alerts/{alert}/marks", {"mark": "resolved", "person": "b"}
    for foreign in (
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        SAME | {"Sec-Fetch-Site": "cross-site"},
    ):
        assert closed.post(path, json=body, headers=foreign).status_code == 403
    assert closed.post(path, json=body, headers=SAME).status_code == 201
    assert closed.post("/logout", headers=SAME).status_code == 303
    assert closed.get("/api/watches").status_code == 401


PROXIED = {
    "public_url": "https://maps.example.org",
    "trusted_proxies": ["10.1.0.0/16"],
    "proxy_user_header": "X-Forwarded-Email",
    "proxy_users": {"ada@x": {"watches": [SHOWN], "scopes": ["read"]}},
}


@contextmanager
def proxied(database: Database, peer: str, **more: Any) -> Iterator[TestClient]:
    site = make_site(WebSettings(**PROXIED | more), "0.0.0.0")
    app = create_app(database.url("segwatch_analyst"), ServerOptions(site=site, closed=True))
    with TestClient(
        app, base_url="http://maps.example.org", client=(peer, 1), follow_redirects=False
    ) as made:
        yield made


def test_a_trusted_proxy_names_its_users_and_nobody_else_does(database: Database, ledger: Ledger) -> None:
    named = {"X-Forwarded-Email": "ada@x"}
    with proxied(database, "10.1.2.3") as through:
        rows = through.get("/api/watches", headers=named).json()
        assert {row["watch"] for row in rows} == {SHOWN}
        assert through.get("/api/watches", headers={"X-Forwarded-Email": "eve@x"}).status_code == 403
        assert through.get("/api/watches").status_code == 401
        twice = [("X-Forwarded-Email", "ada@x"), ("X-Forwarded-Email", "eve@x")]
        assert through.get("/api/watches", headers=twice).status_code == 401
        posted = through.post("/api/reviews", json={}, headers=named | {"Origin": "https://evil.example"})
        assert posted.status_code == 403
    with proxied(database, "10.2.0.1") as elsewhere:
        assert elsewhere.get("/api/watches", headers=named).status_code == 401
    secret = SecretStr("a secret of the proxy")
    with proxied(database, "10.1.2.3", proxy_secret=secret) as through:
        assert through.get("/api/watches", headers=named).status_code == 401
        right = named | {"X-Segwatch-Proxy-Secret": secret.get_secret_value()}
        assert through.get("/api/watches", headers=right).status_code == 200
        assert (
            through.get("/api/watches", headers=right | {"X-Segwatch-Proxy-Secret": "no"}).status_code == 401
        )
    with pytest.raises(ConfigError, match="TRUSTED_PROXIES"):
        make_site(WebSettings(proxy_user_header="X-User"), "127.0.0.1")


def test_links_begin_with_the_public_address_whatever_a_request_says(
    database: Database, ledger: Ledger
) -> None:
    lies = {
        "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "ftp", "Forwarded": "host=evil.example",
        "X-Forwarded-Prefix": "/evil", "X-Original-URL": "/evil",
    }  # fmt: skip
    pages = (
        "/feeds/lakes/atom.xml",
        "/ogc/",
        "/ogc/collections",
        "/ogc/collections/watch.alerts/items?limit=1&f=csv",
    )
    site = make_site(WebSettings(public_url="https://maps.example.org"), "127.0.0.1")
    app = create_app(database.url("segwatch_analyst"), ServerOptions(site=site))
    with TestClient(app, base_url="http://localhost:8080") as made:
        for page in pages:
            answer = made.get(page, headers=lies)
            assert answer.status_code == 200
            assert "evil" not in answer.text + str(answer.headers)
            assert "localhost" not in answer.text + str(answer.headers)
        assert "https://maps.example.org/feeds/cap/" in made.get(pages[0]).text
        for host in (
            "evil.example",
            "maps.example.org.evil.example",
            "localhost@evil.example",
            "evil.example:80",
            "",
        ):
            answer = made.get("/feeds/lakes/atom.xml", headers={"Host": host})
            assert (answer.status_code, "evil" in answer.text) == (400, False)
            assert made.get("/healthz", headers={"Host": host}).status_code == 200
        assert made.get("/api/watches", headers={"Host": "MAPS.example.org:443"}).status_code == 200


@pytest.mark.parametrize(
    ("settings", "host", "elsewhere"),
    [
        ({}, "127.0.0.1", False),
        ({}, "localhost", False),
        ({}, "::1", False),
        ({}, "0.0.0.0", True),
        ({}, "10.0.0.7", True),
        ({"public_url": "https://maps.example.org"}, "127.0.0.1", True),
        ({"trusted_proxies": ["127.0.0.1"]}, "127.0.0.1", True),
    ],
)
def test_who_is_reached_from_elsewhere(settings: dict[str, Any], host: str, elsewhere: bool) -> None:
    assert is_reached_from_elsewhere(WebSettings(**settings), host) is elsewhere


def test_a_spreadsheet_computes_nothing(database: Database, ledger: Ledger) -> None:
    formula = '=HYPERLINK("https://evil.example","x")'
    with ledger.engine.begin() as conn:
        conn.execute(
            text("UPDATE segwatch.rejected_item SET item_id = :f, reason = '@SUM(1)'"), {"f": formula}
        )
    with serving(database) as anyone:
        answer = anyone.get("/ogc/collections/watch.rejected_items/items?f=csv")
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["item_id"], row["reason"]) == (f"'{formula}", "'@SUM(1)")
