-- Rejected items, until the same item is rejected for another reason or becomes usable.
CREATE OR REPLACE VIEW segwatch.rejection AS
SELECT r.id, r.revision_id, w.name AS watch_name, r.collection, r.item_id, r.href, r.reason, r.recorded_at,
       r.acquired_at, r.footprint,
       least(
           (SELECT min(n.recorded_at) FROM segwatch.rejected_item n JOIN segwatch.watch v ON v.id = n.revision_id
             WHERE n.item_id = r.item_id AND n.collection = r.collection AND v.name = w.name
               AND (n.recorded_at, n.id) > (r.recorded_at, r.id)),
           (SELECT min(o.discovered_at)
            FROM segwatch.scene_item i
            JOIN segwatch.scene s ON s.id = i.scene_id
            JOIN segwatch.observation o ON o.scene_id = i.scene_id AND i.id = ANY(o.items)
            JOIN segwatch.watch v ON v.id = o.revision_id
            WHERE i.item_id = r.item_id AND r.collection IN (s.collection, '*') AND v.name = w.name
              AND o.discovered_at > r.recorded_at)) AS superseded_at
FROM segwatch.rejected_item r JOIN segwatch.watch w ON w.id = r.revision_id
WHERE ((SELECT segwatch.reads_all_watches()) OR w.name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])));
GRANT SELECT ON segwatch.rejection TO segwatch_worker;
