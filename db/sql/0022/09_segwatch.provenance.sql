-- Where an observation comes from. Every view of objects, changes, alerts, observations and quicklooks joins this one, which
-- filters the watches that the session may read.
CREATE OR REPLACE VIEW segwatch.provenance AS
SELECT o.id AS observation_id, o.scene_id, o.series_id, o.model_version AS model, w.name AS watch,
       w.id AS watch_revision, w.instruction_id AS instruction_revision, i.text AS instruction,
       s.key AS scene_key, o.acquired_at,
       (SELECT array_agg(si.href ORDER BY si.item_id) FROM segwatch.scene_item si
         WHERE si.id = ANY(o.items)) AS item_hrefs,
       s.catalog
FROM segwatch.observation o
JOIN segwatch.watch w ON w.id = o.revision_id
JOIN segwatch.instruction i ON i.id = w.instruction_id
JOIN segwatch.scene s ON s.id = o.scene_id
WHERE ((SELECT segwatch.reads_all_watches()) OR w.name = ANY (CAST((SELECT segwatch.readable_watches()) AS text[])));
GRANT SELECT ON segwatch.provenance TO segwatch_worker;
