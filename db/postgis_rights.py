"""Take functions of PostGIS from the public that show statistics and extents of tables their caller may not read.

PostGIS reads the statistics of the planner and the bounds of indexes without asking for rights on the table, for every
role by default. A login that may read one watch could draw a map of all others from them. PostgreSQL's planner, tipg,
GDAL and QGIS do not need them: they fall back to reading what the login may read.
"""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
from psycopg import sql

#: ST_EstimatedExtent runs with the rights of its owner; the others read the catalog in C, by the table's number.
_NAMES = (
    "st_estimatedextent",
    "_postgis_stats",
    "_postgis_selectivity",
    "_postgis_join_selectivity",
    "_postgis_index_extent",
)
_OPEN: LiteralString = """
    SELECT p.oid::regprocedure::text, pg_has_role(p.proowner, 'MEMBER')
    FROM pg_proc p
    JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
    WHERE e.extname = 'postgis' AND p.proname = ANY (%s)
      AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                  WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')
    ORDER BY 1
"""


def revoke_statistics(conn: psycopg.Connection[Any]) -> list[str]:
    """Revoke the functions from the public.

    Parameters
    ----------
    conn
        Connection to the ledger's database, of a superuser or of the owner of the extension PostGIS.

    Returns
    -------
    list of str
        Statements that another role has to run, because this one does not own the functions.
    """
    left = []
    for signature, owned in conn.execute(_OPEN, (list(_NAMES),)).fetchall():
        # the signature is the catalog's own text, quoted where it has to be
        statement = f"REVOKE EXECUTE ON FUNCTION {signature} FROM PUBLIC"
        if owned:
            conn.execute(sql.SQL(statement))
        else:
            left.append(f"{statement};")
    return left
