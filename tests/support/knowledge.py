"""What a ledger knows now, without what depends on when or in which order it was learned."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, text

_QUERIES = {
    "history": (
        "SELECT t.track_id, t.observation_id, t.valid, t.geom, t.area_m2, t.score, t.first_seen, t.last_seen,"
        " t.last_looked, t.misses, t.missed_since, t.visible_share, t.alive, t.merged_into, t.change,"
        " t.confidence, t.status, t.observations_for, t.observations_against"
        " FROM segwatch.track_state t WHERE upper_inf(t.recorded) ORDER BY t.track_id, lower(t.valid)"
    ),
    "changes": (
        "SELECT id, track_id, observation_id, kind, target, valid_at, before_m2, after_m2, gained, lost, geom,"
        " score, baseline, is_open FROM segwatch.change WHERE retracted_at IS NULL ORDER BY id"
    ),
    "judgements": (
        "SELECT change_id, observation_id, acquired_at, scene_id, confidence, status, observations_for,"
        " observations_against, earliest, latest, views, evidence_id FROM segwatch.change_judgement"
        " WHERE upper_inf(recorded) ORDER BY change_id, acquired_at, scene_id"
    ),
    "counts": (
        "SELECT c.observation_id, c.target, c.counts FROM segwatch.series_counts c"
        " JOIN segwatch.observation o ON o.id = c.observation_id WHERE o.superseded_at IS NULL"
        " ORDER BY c.observation_id, c.target"
    ),
    "shifts": (
        "SELECT id, shift_east_m, shift_north_m, shift_quality, shift_source FROM segwatch.observation"
        " WHERE state = 'observed' AND superseded_at IS NULL ORDER BY id"
    ),
    "lineage": (
        "SELECT parent, child, kind, valid_at, observation_id FROM segwatch.track_lineage"
        " WHERE retracted_at IS NULL ORDER BY parent, child, kind"
    ),
    "detections": (
        "SELECT d.observation_id, d.ordinal, d.track_id FROM segwatch.detection d"
        " JOIN segwatch.observation o ON o.id = d.observation_id WHERE o.superseded_at IS NULL"
        " ORDER BY d.observation_id, d.ordinal"
    ),
    "ground": (
        "SELECT observation_id, inherited, geom FROM segwatch.seen_ground WHERE NOT ST_IsEmpty(geom)"
        " ORDER BY observation_id"
    ),
    "objects": ("SELECT track_id, geom, last_change FROM watch.objects_now ORDER BY track_id"),
}


def read_knowledge(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Read objects, history, changes, beliefs, lineage, links of detections and observed ground."""
    with engine.connect() as conn:
        return {
            name: [dict(row) for row in conn.execute(text(query)).mappings()]
            for name, query in _QUERIES.items()
        }
