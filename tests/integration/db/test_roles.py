"""Least rights: what each role may not do."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DataError, DBAPIError

#: What people decided, and what was said of it, is only added; so is what judgements are made from.
ADDED_ONLY = {
    "alert_correction", "alert_mark", "assessment", "assessment_label", "assessment_sample", "assessment_stratum",
    "calibration", "judgement_evidence", "review", "series_reference", "watch_action",
}  # fmt: skip
#: Summed from other rows, or kept for some time only.
REPLACED = {
    "admin_area", "admin_area_part", "announcement", "area_by_week", "discovery_request", "fallback_scene",
    "index_cells", "observed_by_week", "reviewed_area", "revisit", "run", "trial",
}  # fmt: skip
#: Rights of workers on further tables.
OTHERS = {
    "alembic_version": {"SELECT"},
    "observation_chip": {"SELECT", "INSERT", "DELETE"},
    "series_counts": {"SELECT", "INSERT", "DELETE"},
    # who may read which watch is decided by the owner, and triggers note which watch was touched
    "database_user": set(),
    "watch_touch": set(),
}
_RIGHTS = text(
    """
    SELECT n.nspname AS schema, c.relname AS name, c.relkind IN ('v', 'm') AS is_view,
           pg_get_userbyid(c.relowner) AS owner, r.role,
           array_remove(array_agg(DISTINCT a.privilege_type), NULL) AS rights,
           count(*) FILTER (WHERE a.is_grantable) AS may_grant
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN (SELECT 0 AS id, 'public' AS role UNION ALL SELECT oid, rolname FROM pg_roles WHERE NOT rolsuper) r
    LEFT JOIN LATERAL (
        SELECT * FROM aclexplode(c.relacl) UNION ALL
        SELECT e.* FROM pg_attribute t CROSS JOIN aclexplode(t.attacl) e WHERE t.attrelid = c.oid
    ) a ON a.grantee = r.id AND a.grantee <> c.relowner
    WHERE n.nspname IN ('segwatch', 'watch') AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    GROUP BY c.oid, n.nspname, c.relname, c.relkind, c.relowner, r.role
    """
)
_FUNCTIONS = text(
    """
    SELECT n.nspname AS schema, p.proname AS name, oidvectortypes(p.proargtypes) AS types, p.prosecdef AS is_definer,
           coalesce((SELECT one FROM unnest(p.proconfig) AS one WHERE one LIKE 'search_path=%'), '') AS path,
           pg_get_userbyid(p.proowner) AS owner, has_function_privilege('public', p.oid, 'EXECUTE') AS is_public
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname IN ('segwatch', 'watch')
    """
)


def test_each_role_has_the_rights_that_it_needs_and_no_others(engine: Engine) -> None:
    """Every table and view of every migration is looked at; a new one is added to and changed, or listed above."""
    with engine.connect() as conn:
        rows = conn.execute(_RIGHTS).all()
    assert {row.owner for row in rows} == {"segwatch_owner"}
    assert not any(row.may_grant for row in rows)
    wrong = {
        f"{row.schema}.{row.name} for {row.role}": (row.rights, _get_rights(row))
        for row in rows
        if row.role != "segwatch_owner" and set(row.rights) != _get_rights(row)
    }
    assert not wrong


def _get_rights(row: Any) -> set[str]:
    if row.role == "segwatch_analyst":
        return {"SELECT"} if row.schema == "watch" else set()
    if row.role != "segwatch_worker" or row.name.endswith("_seq"):
        return set()
    if row.is_view:
        return {"SELECT"}
    if row.name in ADDED_ONLY:
        return {"SELECT", "INSERT"}
    if row.name in REPLACED:
        return {"SELECT", "INSERT", "UPDATE", "DELETE"}
    return OTHERS.get(row.name, {"SELECT", "INSERT", "UPDATE"})


def test_the_analyst_reads_every_view_and_calls_every_function(analyst_engine: Engine) -> None:
    with analyst_engine.connect() as conn:
        views = conn.execute(text("SELECT viewname FROM pg_views WHERE schemaname = 'watch'")).scalars().all()
        for view in views:
            conn.execute(text(f"SELECT * FROM watch.{view} LIMIT 1")).all()
        functions = conn.execute(_FUNCTIONS).all()
    assert len(views) > 20
    for one in functions:
        nothing = ", ".join(f"CAST(NULL AS {kind})" for kind in one.types.split(", ") if kind)
        call = f"SELECT * FROM {one.schema}.{one.name}({nothing})"
        if one.schema == "segwatch":
            if one.types or one.name != "touch_watch_of_row":
                _refused(analyst_engine, call)
            continue
        with analyst_engine.connect() as conn, suppress(DataError):  # of no place or tile
            conn.execute(text(call)).all()


def test_functions_run_what_their_owner_meant(engine: Engine) -> None:
    """A function with its owner's rights finds its tables and operators where it says, never in a caller's schemas."""
    with engine.connect() as conn:
        functions = conn.execute(_FUNCTIONS).all()
    assert {one.owner for one in functions} == {"segwatch_owner"}
    assert [one.name for one in functions if one.is_definer and not one.path.endswith(", pg_temp")] == []
    assert [one.name for one in functions if one.schema == "watch" and one.is_public] == []


def _refused(engine: Engine, statement: str) -> None:
    refused = "permission denied|must be owner|cannot (delete from|update) view"
    with pytest.raises(DBAPIError, match=refused), engine.begin() as conn:
        conn.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM segwatch.observation",
        "SELECT * FROM segwatch.delivery",
        "DELETE FROM watch.objects_now",
        "UPDATE watch.coverage SET reason = 'x'",
        "CREATE TABLE watch.mine (n int)",
        "CREATE TABLE public.mine (n int)",
        "CREATE SCHEMA mine",
        "DROP VIEW watch.coverage",
    ],
)
def test_the_analyst_may_not(analyst_engine: Engine, statement: str) -> None:
    _refused(analyst_engine, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE segwatch.mine (n int)",
        "CREATE SCHEMA mine",
        "ALTER TABLE segwatch.observation ADD COLUMN n int",
        "DROP TABLE segwatch.observation",
        "TRUNCATE segwatch.observation",
        "DELETE FROM segwatch.observation",
        "UPDATE segwatch.alembic_version SET version_num = 'x'",
    ],
)
def test_the_worker_may_not(engine: Engine, statement: str) -> None:
    _refused(engine, statement)


def test_every_session_is_on_utc_with_timeouts(engine: Engine, world: Any) -> None:
    with engine.connect() as conn:
        shown = [
            conn.execute(text(f"SHOW {name}")).scalar_one() for name in ("timezone", "statement_timeout")
        ]
    assert shown == ["UTC", "5min"]
