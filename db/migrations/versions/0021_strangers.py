# mypy: disable-error-code="attr-defined"
"""Who may read what over HTTP; addresses in the ledger as strangers may see them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from segwatch.db.migrations import views
from segwatch.geo.text.redaction import to_public_url
from segwatch.geo.text.printable import sanitize

SQL = Path(__file__).parents[2] / "sql"

revision = '0021'
down_revision = '0018'
branch_labels = None
depends_on = None

_BATCH = 1000
#: Columns of reasons, each with the key of its table.
_REASONS = (
    ('observation', 'id', 'reason'), ('rejected_item', 'id', 'reason'), ('discovery', 'watch_name', 'error'),
    ('delivery', 'id', 'last_error'), ('channel', 'name', 'last_error'),
)
#: What no address without parameters and user information has.
_SUSPICIOUS = "{} ~* '[?@;=#]|token|key|secret|pass|auth|sas|jwt|session'"
_SUSPICIOUS_REASON = "{} ~* '[?&;=@[:cntrl:]]|bearer|basic|key|cookie|authorization|token'"


def upgrade() -> None:
    op.create_table(
        'access_token',
        sa.Column('id', sa.Text(), nullable=False),
        sa.Column('name', sa.Text(), nullable=False),
        sa.Column('digest', postgresql.BYTEA(), nullable=False),
        sa.Column('watches', postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column('scopes', postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('access_token_pk')),
        sa.CheckConstraint('octet_length(digest) = 32', name='access_token_digest'),
        schema='segwatch',
    )
    op.create_index(
        'access_token_name_ix', 'access_token', ['name'], unique=True, schema='segwatch',
        postgresql_where=sa.text('revoked_at IS NULL'),
    )
    op.add_column('watch', sa.Column('catalog', sa.Text(), server_default='', nullable=False), schema='segwatch')
    _clean_addresses()
    for part in sorted((SQL / "0021").glob("*.sql")):  # numbered: they need one another
        op.execute(sa.text(part.read_text(encoding="utf-8").replace(":", "\\:")))


def downgrade() -> None:
    views.drop()
    op.drop_column('watch', 'catalog', schema='segwatch')
    op.drop_index('access_token_name_ix', 'access_token', schema='segwatch')
    op.drop_table('access_token', schema='segwatch')
    views.restore(before=revision)


def _clean_addresses() -> None:
    conn = op.get_bind()
    for row in conn.execute(sa.text("SELECT id, definition->>'catalog' AS catalog FROM segwatch.watch")).all():
        shown = to_public_url(row.catalog or "", query=False)
        conn.execute(sa.text("UPDATE segwatch.watch SET catalog = :shown WHERE id = :id"), {"shown": shown, "id": row.id})
    _clean_catalogs_of_scenes(conn)
    for row in _rows(conn, "SELECT id, href FROM segwatch.rejected_item WHERE " + _SUSPICIOUS.format("href")):
        _put(conn, "UPDATE segwatch.rejected_item SET href = :new WHERE id = :key", row.id, row.href, to_public_url(row.href))
    _clean_items(conn)
    for table, key, column in _REASONS:
        query = f"SELECT {key} AS key, {column} AS said FROM segwatch.{table} WHERE " + _SUSPICIOUS_REASON.format(column)
        for row in _rows(conn, query):
            _put(conn, f"UPDATE segwatch.{table} SET {column} = :new WHERE {key} = :key", row.key, row.said, sanitize(row.said))


def _clean_catalogs_of_scenes(conn: Any) -> None:
    """A key begins with its catalog; what has an id keeps it."""
    for (catalog,) in conn.execute(sa.text("SELECT DISTINCT catalog FROM segwatch.scene WHERE catalog ~ '[=;/]'")).all():
        shown = to_public_url(catalog)
        if shown != catalog:
            conn.execute(sa.text(
                "UPDATE segwatch.scene SET catalog = :shown, key = CAST(:shown AS text) || substr(key, :length + 1)"
                " WHERE catalog = :catalog AND starts_with(key, :catalog)"
            ), {"shown": shown, "catalog": catalog, "length": len(catalog)})


def _clean_items(conn: Any) -> None:
    query = "SELECT id, href, assets, links FROM segwatch.scene_item WHERE " + " OR ".join(
        (_SUSPICIOUS.format("href"), _SUSPICIOUS.format("CAST(assets AS text)"))
    )
    update = sa.text(
        "UPDATE segwatch.scene_item SET href = :href, assets = :assets, links = :links WHERE id = :id"
    ).bindparams(sa.bindparam("assets", type_=postgresql.JSONB), sa.bindparam("links", type_=postgresql.JSONB))
    for row in _rows(conn, query):
        assets = {name: to_public_url(href) for name, href in row.assets.items()}
        # it is still read by the link that it had
        links = {name: href for name, href in row.assets.items() if assets[name] != href} | row.links
        values = {"href": to_public_url(row.href), "assets": assets, "links": links}
        if values != {"href": row.href, "assets": row.assets, "links": row.links}:
            conn.execute(update, {"id": row.id, **values})


def _rows(conn: Any, query: str) -> Iterator[Any]:
    """In bounded memory; what is updated meanwhile is not seen again."""
    statement = sa.text(query.replace(":", "\\:")).execution_options(stream_results=True, max_row_buffer=_BATCH)
    with conn.execute(statement) as rows:
        yield from rows


def _put(conn: Any, statement: str, key: object, old: str, new: str) -> None:
    if new != old:
        conn.execute(sa.text(statement), {"key": key, "new": new})
