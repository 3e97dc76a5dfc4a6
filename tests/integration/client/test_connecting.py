"""Whom a session reaches, what it says when it does not, and what it never shows."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import segwatch
from segwatch.client.arguments import parse_box, parse_time
from segwatch.client.extras import require_analysis
from segwatch.db.engine import make_engine
from segwatch.db.tokens import Scope, create
from segwatch.flows.web.application import create_app
from segwatch.flows.web.options import ServerOptions
from tests.integration.client.conftest import Ground
from tests.support.live_web import live
from tests.support.serving import serving
from tests.support.shown_series import WATCH

errors = segwatch.errors
_HEAVY = (
    "pandas",
    "numpy",
    "sqlalchemy",
    "xarray",
    "matplotlib",
    "segwatch.client",
    "segwatch.flows",
    "pydantic",
)


def test_importing_is_cheap_and_offers_what_it_says() -> None:
    code = (
        "import sys, segwatch; print([one for one in sys.argv[1:] if one in sys.modules]);"
        "print(sorted(segwatch.__all__) == segwatch.__all__ or segwatch.__all__, segwatch.__version__);"
        "[getattr(segwatch, one) for one in segwatch.__all__]; print('matplotlib' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *_HEAVY], capture_output=True, text=True, check=True, timeout=120
    )
    loaded, version, drawn = done.stdout.splitlines()
    assert loaded == "[]"
    assert version == "True 0.1.0"
    assert drawn == "False", "plots import it when they draw"
    with pytest.raises(AttributeError, match="no attribute 'conect'"):
        segwatch.conect  # noqa: B018


def test_a_session_shows_no_secret_and_only_reads(ground: Ground, session: segwatch.Session) -> None:
    password = ground.database.cluster.info().passwords["segwatch_analyst"]
    assert password not in repr(session)
    assert "segwatch_analyst@127.0.0.1" in repr(session)
    assert password not in str(session.objects(WATCH).attrs)
    # the worker's rights are not used either: every transaction is read-only
    with segwatch.connect(ground.database.url()) as s:
        assert len(s.watches()) == 1


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (
            lambda g: segwatch.connect("lakes.gpkg"),
            errors.ConnectFailed,
            "postgresql://USER@HOST:PORT/DATABASE",
        ),
        (lambda g: segwatch.connect("http://127.0.0.1:9"), errors.ConnectFailed, "segwatch serve"),
        (
            lambda g: segwatch.connect("postgresql://a:SECRET@127.0.0.1:9/x"),
            errors.ConnectFailed,
            "start the server",
        ),
        (
            lambda g: segwatch.connect("postgresql://a:SECRET@h:port/x"),
            errors.ConnectFailed,
            "cannot be parsed",
        ),
        (
            lambda g: segwatch.connect(g.database.cluster.info().superuser_url("postgres")),
            errors.ConnectFailed,
            "segwatch db up",
        ),
        (lambda g: segwatch.connect(_with_password(g.url, "SECRET")), errors.AccessRefused, "authentication"),
        (lambda g: segwatch.connect(g.url, token="t"), errors.BadRequest, "a token is for servers"),
    ],
)
def test_what_is_wrong_with_a_target_is_said_with_what_to_do(
    ground: Ground, call: Callable[[Ground], object], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words) as raised:
        call(ground)
    assert "SECRET" not in str(raised.value)


def _with_password(url: str, password: str) -> str:
    head, _, tail = url.rpartition("@")
    return f"{head.rpartition(':')[0]}:{password}@{tail}"


def test_without_a_ledger_the_settings_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.ConnectFailed, match=r"segwatch db up.*SEGWATCH_HOME, SEGWATCH_ANALYST_URL"):
        segwatch.connect()
    monkeypatch.setenv("SEGWATCH_DATABASE_WAIT_SECONDS", "soon")
    with pytest.raises(errors.ConnectFailed, match="SEGWATCH_DATABASE_WAIT_SECONDS"):
        segwatch.connect()


def test_what_answers_otherwise_is_no_server_of_segwatch() -> None:
    answers = {
        "/a/api/watches": (200, {}, b"<html>"),
        "/b/api/watches": (302, {"location": "https://login.example/?token=SECRET"}, b""),
    }
    with serving(answers) as url:
        with pytest.raises(errors.ConnectFailed, match="no server of segwatch"):
            segwatch.connect(f"{url}/a")
        with pytest.raises(errors.ConnectFailed, match=r"redirects to https://login\.example") as raised:
            segwatch.connect(f"{url}/b")
        assert "SECRET" not in str(raised.value)
        with pytest.raises(errors.ConnectFailed, match="no server of segwatch"):
            segwatch.connect(url)


def test_a_closed_server_wants_a_token_and_shows_what_it_may(ground: Ground) -> None:
    engine = make_engine(ground.database.url())
    with engine.begin() as conn:
        made = create(conn, "reader", watch_names=[WATCH], scopes=[Scope.READ], expires_at=None)
    engine.dispose()
    with live(create_app(ground.url, ServerOptions(closed=True))) as url:
        with pytest.raises(errors.AccessRefused, match="segwatch token create"):
            segwatch.connect(url)
        with pytest.raises(errors.AccessRefused, match="valid token"):
            segwatch.connect(url, token="segwatch_wrong")
        with segwatch.connect(url, token=made.secret) as s:
            assert len(s.objects(WATCH)) == 3
            assert made.secret not in repr(s)
            assert len(s.objects(WATCH, at="2030-01-01")) == 3


def test_names_and_arguments_that_are_wrong_are_said_with_the_right_ones(
    session: segwatch.Session, web_session: segwatch.Session
) -> None:
    for s in (session, web_session):
        with pytest.raises(errors.UnknownWatch, match="did you mean 'prairie-lakes'"):
            s.objects("prairie_lake")
        with pytest.raises(errors.UnknownObject, match=r"s\.objects\(watch\)"):
            s.history("00000000-0000-0000-0000-000000000000")
        with pytest.raises(errors.BadRequest, match="no id of an object"):
            s.history("lake-7")
        with pytest.raises(errors.BadRequest, match="there are: objects"):
            next(s.pages("object", WATCH))
        with pytest.raises(
            errors.BadRequest, match="targets: 'snow'; those of watch prairie-lakes are: water"
        ):
            s.cube(WATCH, targets=["snow"])
        with pytest.raises(errors.BadRequest, match="no part of it"):
            s.scenes(WATCH, bbox=(0, 0, 1, 1))
        with pytest.raises(errors.BadRequest, match="before start"):
            s.changes(WATCH, start="2024-06-01", end="2024-05-01")
        with pytest.raises(errors.BadRequest, match="is no time"):
            s.changes(WATCH, start="yesterday")
        with pytest.raises(errors.BadRequest, match="in degrees"):
            s.objects(WATCH, bbox=(500000, 5100000, 501000, 5101000))
    with pytest.raises(errors.ExtraMissing, match=r"pip install 'segwatch\[analysis\]'"):
        require_analysis("s.cube()", "no_such_package")
    assert parse_time("2024-05-31T12:00:00+02:00", "at") == parse_time("2024-05-31T10:00:00Z", "at")
    assert parse_box((170, -20, -170, 20)) == ((170, -20, 180, 20), (-180, -20, -170, 20))


def test_errors_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(errors.UnknownWatch("there is no watch 'x'")))  # noqa: S301 - our own
    assert (type(error), str(error)) == (errors.UnknownWatch, "there is no watch 'x'")
