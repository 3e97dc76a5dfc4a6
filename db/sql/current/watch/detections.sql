CREATE OR REPLACE VIEW watch.detections AS
SELECT d.id AS detection_id, p.watch, d.target, o.acquired_at, d.geom, d.area_m2, d.score, d.evidence, d.shadow_share,
       d.shadow_iou, d.track_id, p.observation_id, p.scene_id, p.item_hrefs, p.model, p.instruction_revision,
       o.acquired_at AS valid_from, o.acquired_at + interval '1 microsecond' AS valid_to
FROM segwatch.detection d
JOIN segwatch.observation o ON o.id = d.observation_id
JOIN segwatch.provenance p ON p.observation_id = d.observation_id
WHERE o.state = 'observed' AND o.superseded_at IS NULL;

GRANT SELECT ON watch.detections TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.detections IS
    'Polygons of published observations as the model found them, with independent spectral evidence and the agreement of the shadow segmenter. Objects and changes are derived from them; reviews do not apply.';
COMMENT ON COLUMN watch.detections.detection_id IS
    'Id of the detection.';
COMMENT ON COLUMN watch.detections.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.detections.target IS
    'Target of the instruction that the detection is, such as water.';
COMMENT ON COLUMN watch.detections.acquired_at IS
    'Acquisition time of the scene, UTC.';
COMMENT ON COLUMN watch.detections.geom IS
    'Polygon of the detection, EPSG:4326.';
COMMENT ON COLUMN watch.detections.area_m2 IS
    'Geodesic area, square metres.';
COMMENT ON COLUMN watch.detections.score IS
    'Mean probability that the model gave to the pixels of the detection, 0 to 1; not calibrated.';
COMMENT ON COLUMN watch.detections.evidence IS
    'Means of spectral indices inside (ndwi, mndwi, nbr, ndvi; vv, vh in decibels) and in a ring of three pixels around (ndwi_ring and so on), with pixels and ring_pixels; null where the source has no bands for them.';
COMMENT ON COLUMN watch.detections.shadow_share IS
    'Share of the detection that the shadow segmenter found, too, 0 to 1; null if they were not compared.';
COMMENT ON COLUMN watch.detections.shadow_iou IS
    'Intersection over union with the detections of the shadow segmenter that it meets, 0 to 1; null if they were not compared.';
COMMENT ON COLUMN watch.detections.track_id IS
    'Id of the object on the ground that the detection belongs to.';
COMMENT ON COLUMN watch.detections.observation_id IS
    'Id of the observation that the row comes from.';
COMMENT ON COLUMN watch.detections.scene_id IS
    'Id of the scene that the row comes from.';
COMMENT ON COLUMN watch.detections.item_hrefs IS
    'Links to the STAC items of the scene.';
COMMENT ON COLUMN watch.detections.model IS
    'Name and version of the model.';
COMMENT ON COLUMN watch.detections.instruction_revision IS
    'Id of the instruction revision.';
COMMENT ON COLUMN watch.detections.valid_from IS
    'acquired_at, as the start of the shortest range that holds it, UTC; for tools that ask for a start and an end.';
COMMENT ON COLUMN watch.detections.valid_to IS
    'End of that range, exclusive, UTC: acquired_at and a microsecond.';
