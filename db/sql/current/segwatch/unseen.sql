-- The newest observation of some series up to a time, as known at a time, whatever came of it.
CREATE OR REPLACE FUNCTION segwatch.find_observation(series_ids uuid[], at timestamptz, known_at timestamptz)
RETURNS SETOF segwatch.observation
LANGUAGE sql STABLE SECURITY DEFINER ROWS 1 SET search_path = segwatch, public, pg_temp AS $$
    SELECT o.* FROM segwatch.observation o
    WHERE o.series_id = ANY(find_observation.series_ids) AND o.state IN ('observed', 'skipped', 'failed')
      AND o.acquired_at <= find_observation.at AND coalesce(o.committed_at, o.discovered_at) <= find_observation.known_at
      AND (o.superseded_at IS NULL OR o.superseded_at > find_observation.known_at)
    ORDER BY o.acquired_at DESC, o.scene_id DESC LIMIT 1
$$;

-- Ground of the AOI in a bounding box that the newest observation up to a time did not observe, EPSG:4326; null = all of
-- it was observed, or there is no observation. Both outlines are generalised to the grid before they are overlaid: clouds have many vertices.
CREATE OR REPLACE FUNCTION segwatch.find_unseen(series_ids uuid[], at timestamptz, known_at timestamptz, searched geometry,
                                                grid float8)
RETURNS geometry
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    SELECT u.geom
    FROM segwatch.find_observation(find_unseen.series_ids, find_unseen.at, find_unseen.known_at) o
    JOIN segwatch.watch w ON w.id = o.revision_id
    JOIN segwatch.area a ON a.id = w.area_id AND a.geom && find_unseen.searched
    CROSS JOIN LATERAL (
        SELECT ST_MakeValid(ST_SnapToGrid(ST_ClipByBox2D(a.geom, CAST(find_unseen.searched AS box2d)), find_unseen.grid)) AS aoi,
               ST_MakeValid(ST_SnapToGrid(ST_ClipByBox2D(o.footprint, CAST(find_unseen.searched AS box2d)), find_unseen.grid)) AS seen) p
    CROSS JOIN LATERAL (
        SELECT CASE WHEN p.seen IS NULL OR ST_IsEmpty(p.seen) THEN p.aoi
                    ELSE ST_Difference(p.aoi, p.seen, find_unseen.grid) END AS geom) u
    WHERE NOT ST_IsEmpty(u.geom)
$$;

-- Milliseconds since 1970, rounded down: what a vector tile holds exactly, and a browser's clock counts in.
CREATE OR REPLACE FUNCTION segwatch.to_milliseconds(at timestamptz) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    -- a float holds microseconds of today exactly, and numbers of type numeric take ten times as long
    SELECT CAST(round(date_part('epoch', to_milliseconds.at) * 1000000) AS bigint) / 1000
$$;

-- Layer `unseen` of a vector tile: for each moment a feature with the state and reason of the observation. `valids` says when
-- each series is in force. With `until`, the end of the last moment, features hold from `begin` until `end` (exclusive), in
-- milliseconds.
CREATE OR REPLACE FUNCTION segwatch.encode_unseen(series_ids uuid[], valids tstzrange[], moments timestamptz[],
                                                  known_at timestamptz, searched geometry, bounds geometry, pixel float8,
                                                  until timestamptz)
RETURNS bytea
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    SELECT coalesce((
        SELECT ST_AsMVT(u.*, 'unseen', 4096, 'geom')
        FROM (
            SELECT o.state, o.reason, CAST(o.acquired_at AS text) AS acquired_at,
                   CASE WHEN encode_unseen.until IS NOT NULL THEN segwatch.to_milliseconds(m.at) END AS begin,
                   CASE WHEN encode_unseen.until IS NOT NULL
                        THEN segwatch.to_milliseconds(coalesce(m.next, encode_unseen.until + interval '1 ms')) END AS "end",
                   ST_AsMVTGeom(ST_Transform(segwatch.find_unseen(
                       p.series_ids, m.at, encode_unseen.known_at,
                       encode_unseen.searched, encode_unseen.pixel), 3857), encode_unseen.bounds, 4096, 64, true) AS geom
            FROM (SELECT n.at, lead(n.at) OVER (ORDER BY n.at) AS next FROM unnest(encode_unseen.moments) n(at)) m
            CROSS JOIN LATERAL (
                SELECT array_agg(s.id) AS series_ids FROM unnest(encode_unseen.series_ids, encode_unseen.valids) s(id, valid)
                WHERE s.valid @> m.at) p
            CROSS JOIN LATERAL segwatch.find_observation(p.series_ids, m.at, encode_unseen.known_at) o) u
        WHERE u.geom IS NOT NULL), '')
$$;
