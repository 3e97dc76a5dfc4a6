"""Every view describes itself: comments, a unique key, times as begin and end, geometries with type and SRID."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from segwatch.db import reviews
from segwatch.db.analyst.keys import VIEW_KEYS
from tests.invariants.conftest import SceneContent, cells, merged

_COLUMNS = """
    SELECT c.relname AS view, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, d.description
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = a.attnum
    WHERE c.relnamespace = 'watch'::regnamespace AND c.relkind IN ('v', 'm') ORDER BY 1, a.attnum
"""


def test_every_view_and_function_says_what_it_is(engine: Any) -> None:
    with engine.connect() as conn:
        columns = conn.execute(text(_COLUMNS)).all()
        nameless = conn.execute(
            text(
                "SELECT relname FROM pg_class WHERE relnamespace = 'watch'::regnamespace AND relkind IN ('v', 'm')"
                " AND obj_description(oid, 'pg_class') IS NULL UNION ALL SELECT proname FROM pg_proc"
                " WHERE pronamespace = 'watch'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL"
            )
        ).all()
        shapes = conn.execute(
            text(
                "SELECT f_table_name, f_geometry_column, srid, type, coord_dimension FROM geometry_columns"
                " WHERE f_table_schema = 'watch'"
            )
        ).all()
    assert nameless == []
    assert {row.view for row in columns} == set(VIEW_KEYS), "add the view to db.analyst.keys"
    by_view = {(row.view, row.name): row for row in columns}
    for row in columns:
        said = row.description or ""
        assert said.endswith("."), (row.view, row.name)
        if row.type.startswith("timestamp"):
            assert row.type == "timestamp with time zone", (row.view, row.name)
            assert "UTC" in said, (row.view, row.name)
        if row.name.endswith("_m2"):
            assert "square metres" in said, (row.view, row.name)
        if row.name.endswith(("_m",)):
            assert "metres" in said, (row.view, row.name)
    for view, key in VIEW_KEYS.items():
        assert by_view[view, key.column].type in {"uuid", "text"}
        for name in filter(None, (key.begin, key.end)):
            assert by_view[view, name].type == "timestamp with time zone"
    # QGIS reads geometry_columns
    geometries = {(row.view, row.name) for row in columns if row.type.startswith("geometry")}
    assert {(row.f_table_name, row.f_geometry_column) for row in shapes} == geometries
    assert {(row.srid, row.coord_dimension, row.type) for row in shapes} == {(4326, 2, "GEOMETRY")}


def test_keys_are_unique_and_stay_as_long_as_their_rows(ledgers: Any) -> None:
    """Late and reprocessed scenes, verdicts and a second model's series leave the keys of rows that hold alone."""
    ledger = ledgers()
    lake, pond = merged([(1, 1, 3, 3)]), merged([(1, 1, 4, 3), (5, 5, 7, 7)])
    world = [SceneContent(()), SceneContent(lake), SceneContent(pond), SceneContent(pond, cells(0, 0, 4, 8))]
    ledger.arrive(world, [0, 1, 3])
    (before,) = ledger.rows("SELECT array_agg(state_id) AS ids FROM watch.object_history WHERE in_force")
    assert before["ids"]
    ledger.track()
    assert ledger.rows("SELECT array_agg(state_id) AS ids FROM watch.object_history WHERE in_force") == [
        before
    ]
    ledger.arrive(world, [2])
    track = ledger.rows("SELECT track_id, geom FROM watch.objects_now ORDER BY area_m2 LIMIT 1")[0][
        "track_id"
    ]
    kept = {
        row["state_id"]: (row["valid_from"], row["recorded_from"])
        for row in ledger.rows("SELECT * FROM watch.object_history")
    }
    for verdict in (reviews.Verdict.CONFIRMED, reviews.Verdict.REJECTED, reviews.Verdict.CONFIRMED):
        with ledger.engine.begin() as conn:
            reviews.decide(conn, track, verdict, reviewer="ada", reason="seen")
    after = {row["state_id"]: row for row in ledger.rows("SELECT * FROM watch.object_history")}
    # verdicts split rows in recorded time; the part before keeps the key, and what else it says of the ground
    assert kept.keys() <= after.keys()
    assert len(after) > len(kept)
    for state_id, (valid_from, recorded_from) in kept.items():
        assert (after[state_id]["valid_from"], after[state_id]["recorded_from"]) == (
            valid_from,
            recorded_from,
        )
    (one,) = ledger.rows("SELECT count(*) AS n FROM watch.object_history WHERE state_id = :id", id=max(kept))
    assert one["n"] == 1
    ledger.reject(9)
    ledger.instruct("segment the lakes and ponds")
    ledger.arrive(world, [3])
    for view, key in VIEW_KEYS.items():
        (counted,) = ledger.rows(
            f"SELECT count(*) AS rows, count(DISTINCT {key.column}) AS keys FROM watch.{view}"
        )
        assert counted["rows"] == counted["keys"], view
        if key.begin and key.end:
            # half-open ranges that are not empty; no end means that it still holds
            wrong = f"SELECT count(*) AS n FROM watch.{view} WHERE {key.end} <= {key.begin}"
            assert ledger.rows(wrong) == [{"n": 0}], view
    assert ledger.rows("SELECT count(*) AS n FROM watch.imagery")[0]["n"] > 4


def test_coverage_counts_detections_only_where_they_are_asked_for(engine: Any) -> None:
    """With parts of different types the planner would compute every column of every row, whatever is asked."""
    with engine.connect() as conn:
        asked, other = (
            "\n".join(
                conn.execute(
                    text(f"EXPLAIN SELECT {one} FROM watch.coverage WHERE watch = 'lakes'")
                ).scalars()
            )
            for one in ("observation_id, detections", "observation_id, acquired_at")
        )
    assert "on detection" in asked
    assert "on detection" not in other


def test_objects_of_the_past_are_found_by_place(ledgers: Any) -> None:
    ledger = ledgers()
    world = [SceneContent(merged([(1, 1, 3, 3), (5, 5, 7, 7)]))] * 2
    ledger.arrive(world, [0, 1])
    query = "SELECT track_id FROM watch.objects_as_of('2024-01-02T12:00Z', 'infinity', {}) ORDER BY 1"
    box = "ST_MakeEnvelope(10.009, 50.009, 10.015, 50.015, 4326)"
    every = ledger.rows(query.format("NULL"))
    some = ledger.rows(query.format(box))
    assert len(every) == 2
    assert len(some) == 1
    assert some == ledger.rows(
        f"SELECT track_id FROM watch.objects_as_of('2024-01-02T12:00Z', 'infinity') WHERE geom && {box}"
    )
