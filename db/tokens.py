"""Access tokens for reading, writing and announcing over HTTP: 256 random bits, stored as SHA-256 digest.

A token is ``segwatch_ID_SECRET``: it is looked up by its id and verified by the digest.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from segwatch.db import tables, watches
from segwatch.db.errors import NotFound, TokenRefused
from segwatch.geo.text.spelling import find_nearest

PREFIX = "segwatch_"
MAX_TOKEN = 200
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._@-]{0,62}")
_TOKEN = re.compile(rf"{PREFIX}([0-9a-f]{{16}})_([A-Za-z0-9_-]{{43}})")
_FIND = text("SELECT name, digest, watches, scopes, expires_at FROM watch.access_token(:id)")
_USE = text("SELECT watch.use_access_token(:id, :digest)")
_NOW = text("SELECT clock_timestamp()")


class Scope(StrEnum):
    """What a token may do."""

    READ = "read"
    ACKNOWLEDGE = "acknowledge"
    """Mark alerts: acknowledge, snooze, resolve and reopen them."""
    REVIEW = "review"
    """Review objects, label samples, mark alerts, and see the names of people who did."""
    EVENTS = "events"
    """Send events such as earthquakes and floods."""
    ANNOUNCE = "announce"
    """Announce new items of catalogs, which requests searches."""

    OPERATE = "operate"
    """Retry, pause and resume watches, and send test messages."""
    METRICS = "metrics"
    """Read /metrics: numbers about watches, and nothing else."""

    @property
    def implied(self) -> frozenset[Scope]:
        """The scope itself, and those that go with it: people read what they decide about."""
        more = {
            Scope.ACKNOWLEDGE: {Scope.READ},
            Scope.REVIEW: {Scope.READ, Scope.ACKNOWLEDGE},
            Scope.OPERATE: {Scope.READ},
        }
        return frozenset({self, *more.get(self, ())})


def complete_scopes(scopes: Collection[Scope]) -> frozenset[Scope]:
    """Add the scopes that go with others."""
    return frozenset().union(*(one.implied for one in scopes))


@dataclass(frozen=True, slots=True)
class Token:
    """A valid token, without its secret."""

    name: str
    watches: frozenset[str] | None
    """None = all, also future ones."""
    scopes: frozenset[Scope]
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Created:
    """A new token; the secret is shown once and not stored."""

    id: str
    secret: str = field(repr=False)


def create(
    conn: Connection,
    name: str,
    *,
    watch_names: Collection[str] | None,
    scopes: Collection[Scope],
    expires_at: datetime | None,
) -> Created:
    """Create a token.

    Parameters
    ----------
    watch_names
        Watches that it may see; None = all, also future ones.

    Raises
    ------
    TokenRefused
        The name is invalid or taken, the token has no scope or watch, or its end is past.
    NotFound
        A watch does not exist.
    """
    _check(conn, name, watch_names, scopes, expires_at)
    identity, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    made = Created(identity, f"{PREFIX}{identity}_{secret}")
    row = {
        "id": identity,
        "name": name,
        "digest": _digest(made.secret),
        "watches": None if watch_names is None else sorted(set(watch_names)),
        "scopes": sorted(set(scopes)),
        "expires_at": expires_at,
    }
    try:
        conn.execute(insert(tables.access_token).values(row))
    except IntegrityError as error:
        raise TokenRefused(
            f"there is a token named {name!r}; revoke it first: segwatch token revoke {name}"
        ) from error
    return made


def _check(
    conn: Connection,
    name: str,
    watch_names: Collection[str] | None,
    scopes: Collection[Scope],
    expires_at: datetime | None,
) -> None:
    if not _NAME.fullmatch(name):
        raise TokenRefused(f"{name!r} cannot name a token; use letters, digits and . _ @ - (at most 63)")
    if not scopes or (watch_names is not None and not watch_names):
        raise TokenRefused("a token needs a scope, and a watch or all of them")
    if expires_at is not None and expires_at <= conn.execute(_NOW).scalar_one():
        raise TokenRefused(f"{expires_at:%Y-%m-%d %H:%M} UTC has passed; choose a later end")
    for one in watch_names or ():
        watches.require(conn, one)


def list_tokens(conn: Connection) -> list[dict[str, Any]]:
    """List the tokens that are not revoked by name, without secrets."""
    table = tables.access_token
    names = ("id", "name", "watches", "scopes", "created_at", "expires_at", "last_used_at")
    columns = (table.c[name] for name in names)
    query = select(*columns).where(table.c.revoked_at.is_(None)).order_by(table.c.name)
    return [dict(row) for row in conn.execute(query).mappings()]


def revoke(conn: Connection, name: str) -> None:
    """Revoke a token.

    Raises
    ------
    NotFound
        No token has this name.
    """
    table = tables.access_token
    ended = update(table).where(table.c.name == name, table.c.revoked_at.is_(None))
    if conn.execute(ended.values(revoked_at=text("clock_timestamp()"))).rowcount == 0:
        near = find_nearest(name, [row["name"] for row in list_tokens(conn)])
        hint = f"did you mean {near}? " if near else ""
        raise NotFound(f"no token named {name!r}; {hint}see: segwatch token list")


def find_token(conn: Connection, given: str) -> Token | None:
    """Find and verify a token; None if it is invalid. The rights of the analyst are enough."""
    match = _TOKEN.fullmatch(given)
    if match is None:
        return None
    row = conn.execute(_FIND, {"id": match[1]}).first()
    # in constant time, so that timing does not reveal parts of the digest
    if row is None or not hmac.compare_digest(bytes(row.digest), _digest(given)):
        return None
    watches = None if row.watches is None else frozenset(row.watches)
    scopes = complete_scopes([one for one in Scope if one.value in row.scopes])
    return Token(row.name, watches, scopes, row.expires_at)


def record_use(conn: Connection, given: str) -> None:
    """Record that a valid token is used now; at most once a minute. The rights of the analyst are enough."""
    match = _TOKEN.fullmatch(given)
    if match is not None:
        conn.execute(_USE, {"id": match[1], "digest": _digest(given)})


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
