-- Rejected items. A rejection also ends when the watch reads another catalog, or reads it with another profile.
CREATE OR REPLACE VIEW segwatch.rejection AS
SELECT r.id, r.revision_id, w.name AS watch_name, r.collection, r.item_id, r.href, r.reason, r.recorded_at,
       r.acquired_at, r.footprint,
       least(
           r.ended_at,
           CASE WHEN n.definition -> 'profile' <> w.definition -> 'profile'
                  OR coalesce(nullif(n.definition ->> 'catalog_name', ''), rtrim(n.catalog, '/'))
                     <> coalesce(nullif(w.definition ->> 'catalog_name', ''), rtrim(w.catalog, '/'))
                THEN greatest(h.applied_at, r.recorded_at) END) AS superseded_at
FROM segwatch.rejected_item r
JOIN segwatch.watch w ON w.id = r.revision_id
LEFT JOIN segwatch.watch_head h ON h.name = w.name
LEFT JOIN segwatch.watch n ON n.id = h.revision_id
WHERE ((SELECT segwatch.reads_all_watches()) OR w.name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])));
GRANT SELECT ON segwatch.rejection TO segwatch_worker;
