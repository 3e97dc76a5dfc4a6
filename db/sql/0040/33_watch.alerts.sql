-- Withdrawn messages count neither as delivered nor as pending. Alerts that were retracted, or whose change was refuted, are
-- resolved by that.
CREATE OR REPLACE VIEW watch.alerts AS
SELECT a.id AS alert_id, a.change_id, c.track_id, p.watch, a.rule, c.kind, c.target, c.valid_at, a.created_at,
       c.before_m2, c.after_m2, c.geom, d.delivered_at, coalesce(d.pending, 0) AS deliveries_pending,
       coalesce(d.dead, 0) AS deliveries_failed, p.observation_id, p.scene_id, p.item_hrefs, p.model,
       p.instruction_revision, c.retracted_at,
       CASE WHEN closed.by_itself THEN 'resolved'
            WHEN s.mark IS NULL OR s.mark = 'reopened' OR s.until <= now() THEN 'open' ELSE s.mark END AS status,
       CASE WHEN closed.by_itself THEN coalesce(CASE WHEN c.verdict = 'rejected' THEN c.reviewer END, 'segwatch')
            ELSE s.person END AS status_by,
       CASE WHEN closed.by_itself THEN coalesce(c.retracted_because, 'further observations refute the change')
            ELSE s.note END AS status_note,
       CASE WHEN closed.by_itself THEN ended.at ELSE s.marked_at END AS status_at,
       CASE WHEN NOT closed.by_itself THEN s.until END AS snoozed_until, c.retracted_because,
       coalesce(d.withdrawn, 0) AS deliveries_withdrawn, c.confidence, c.status AS change_status,
       c.observations_for, c.observations_against,
       (SELECT e.evidence FROM segwatch.change_evidence e WHERE e.change_id = c.id) AS evidence,
       (SELECT d.shadow_share FROM segwatch.detection d
        WHERE d.track_id = c.track_id AND d.observation_id = c.observation_id AND d.shadow_share IS NOT NULL
        ORDER BY d.area_m2 DESC, d.ordinal LIMIT 1) AS shadow_share,
       (SELECT d.shadow_iou FROM segwatch.detection d
        WHERE d.track_id = c.track_id AND d.observation_id = c.observation_id AND d.shadow_share IS NOT NULL
        ORDER BY d.area_m2 DESC, d.ordinal LIMIT 1) AS shadow_iou,
       segwatch.describe_accuracy(segwatch.is_demonstration(p.model), (SELECT a.words FROM segwatch.current_accuracy a
                 WHERE a.series_id = p.series_id AND a.target = c.target)) AS accuracy,
       c.valid_at AS valid_from, c.valid_at + interval '1 microsecond' AS valid_to
FROM segwatch.alert a
JOIN segwatch.held_change c ON c.id = a.change_id
JOIN segwatch.provenance p ON p.observation_id = c.observation_id
LEFT JOIN segwatch.alert_status s ON s.alert_id = a.id
CROSS JOIN LATERAL (
    SELECT coalesce(c.retracted_at, CASE WHEN c.status = 'refuted' THEN (
        SELECT max(k.recorded_at) FROM segwatch.alert_correction k WHERE k.alert_id = a.id AND k.kind = 'refuted') END)
        AS at) ended
CROSS JOIN LATERAL (
    SELECT ended.at IS NOT NULL AND (s.mark IS NULL OR s.marked_at <= ended.at AND s.mark <> 'resolved') AS by_itself)
    closed
LEFT JOIN LATERAL (
    SELECT CASE WHEN count(*) FILTER (WHERE d.state <> 'withdrawn') = count(d.delivered_at) THEN max(d.delivered_at) END AS delivered_at,
           count(*) FILTER (WHERE d.state = 'pending') AS pending,
           count(*) FILTER (WHERE d.state = 'dead') AS dead,
           count(*) FILTER (WHERE d.state = 'withdrawn') AS withdrawn
    FROM segwatch.delivery d WHERE d.alert_id = a.id) d ON true;

GRANT SELECT ON watch.alerts TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.alerts IS
    'Changes that matched an alert rule, with their status and deliveries.';
COMMENT ON COLUMN watch.alerts.alert_id IS
    'Id of the alert.';
COMMENT ON COLUMN watch.alerts.change_id IS
    'Id of the change.';
COMMENT ON COLUMN watch.alerts.track_id IS
    'Id of the track: the object in one series, and the same in all of its observations. A new model or instruction starts a series with new ids; watch.object_history has the object_id that stays.';
COMMENT ON COLUMN watch.alerts.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.alerts.rule IS
    'Name of the rule that the change matched.';
COMMENT ON COLUMN watch.alerts.kind IS
    'appeared, grew, shrank, moved, split, merged, disappeared or reappeared.';
COMMENT ON COLUMN watch.alerts.target IS
    'Target of the instruction that the object is, such as water.';
COMMENT ON COLUMN watch.alerts.valid_at IS
    'When the change happened on the ground, UTC: acquisition time of the scene; for disappeared, of the first scene without the object.';
COMMENT ON COLUMN watch.alerts.created_at IS
    'When the alert was raised, UTC.';
COMMENT ON COLUMN watch.alerts.before_m2 IS
    'Geodesic area before the change, square metres.';
COMMENT ON COLUMN watch.alerts.after_m2 IS
    'Geodesic area after the change, square metres.';
COMMENT ON COLUMN watch.alerts.geom IS
    'Area gained or lost; the whole object if neither is known. EPSG:4326.';
COMMENT ON COLUMN watch.alerts.delivered_at IS
    'When the last channel accepted the alert, UTC; null until every channel has.';
COMMENT ON COLUMN watch.alerts.deliveries_pending IS
    'Number of deliveries still to be made.';
COMMENT ON COLUMN watch.alerts.deliveries_failed IS
    'Number of deliveries that were given up.';
COMMENT ON COLUMN watch.alerts.observation_id IS
    'Id of the observation that the row comes from.';
COMMENT ON COLUMN watch.alerts.scene_id IS
    'Id of the scene that the row comes from.';
COMMENT ON COLUMN watch.alerts.item_hrefs IS
    'Links to the STAC items of the scene.';
COMMENT ON COLUMN watch.alerts.model IS
    'Name and version of the model.';
COMMENT ON COLUMN watch.alerts.instruction_revision IS
    'Id of the instruction revision.';
COMMENT ON COLUMN watch.alerts.retracted_at IS
    'When a later scene disproved the change or a review rejected the object, UTC; null while the alert holds.';
COMMENT ON COLUMN watch.alerts.status IS
    'open, acknowledged, snoozed or resolved. A retracted alert, and one whose change was refuted, is resolved unless somebody marked it afterwards.';
COMMENT ON COLUMN watch.alerts.status_by IS
    'Who set the status; null where nobody did or names are hidden: over HTTP only readers with the right to review see names.';
COMMENT ON COLUMN watch.alerts.status_note IS
    'Note given with the status, or why the change does not hold.';
COMMENT ON COLUMN watch.alerts.status_at IS
    'When the status was set, UTC.';
COMMENT ON COLUMN watch.alerts.snoozed_until IS
    'Messages about the object wait until then, UTC; null unless the alert is snoozed.';
COMMENT ON COLUMN watch.alerts.retracted_because IS
    'Why the alert was retracted; null while it holds.';
COMMENT ON COLUMN watch.alerts.deliveries_withdrawn IS
    'Number of deliveries withdrawn before they were sent: the rule no longer names the channel, or the alert left its digest.';
COMMENT ON COLUMN watch.alerts.confidence IS
    'Probability that the change happened, 0 to 1, given the observations so far; null: not judged, because it was recorded before segwatch judged.';
COMMENT ON COLUMN watch.alerts.change_status IS
    'provisional (too little evidence yet), confirmed or refuted; null: not judged.';
COMMENT ON COLUMN watch.alerts.observations_for IS
    'Number of observations so far that speak for it; null: not judged.';
COMMENT ON COLUMN watch.alerts.observations_against IS
    'Number of observations so far that speak against it; null: not judged.';
COMMENT ON COLUMN watch.alerts.evidence IS
    'Spectral evidence: before and after hold means of indices on the ground of the change, in the observation before that saw it clearly and in this one; detection holds those of the object as in watch.detections, null if it was not found. Null where the source has no bands for them.';
COMMENT ON COLUMN watch.alerts.shadow_share IS
    'Share of the object that the shadow segmenter found, too, in the observation that shows the change, 0 to 1; null if they were not compared there or the object was not found.';
COMMENT ON COLUMN watch.alerts.shadow_iou IS
    'Intersection over union of the object with the detections of the shadow segmenter that it meets, in the observation that shows the change, 0 to 1; null as shadow_share.';
COMMENT ON COLUMN watch.alerts.accuracy IS
    'How accurate the map of this target by this model and instruction is, with 95 % intervals, from the newest assessment of the series; not assessed: nobody labelled a sample. Begins with "demonstration model" where the shipped model was used.';
COMMENT ON COLUMN watch.alerts.valid_from IS
    'valid_at, as the start of the shortest range that holds it, UTC; for tools that ask for a start and an end.';
COMMENT ON COLUMN watch.alerts.valid_to IS
    'End of that range, exclusive, UTC: valid_at and a microsecond.';
