-- An alert is closed while its change does not hold, unless somebody has marked it since.
CREATE OR REPLACE VIEW watch.alerts AS
SELECT a.id AS alert_id, a.change_id, c.track_id, p.watch, a.rule, c.kind, c.target, c.valid_at, a.created_at,
       c.before_m2, c.after_m2, c.geom, d.delivered_at, coalesce(d.pending, 0) AS deliveries_pending,
       coalesce(d.dead, 0) AS deliveries_failed, p.observation_id, p.scene_id, p.item_hrefs, p.model,
       p.instruction_revision, c.retracted_at,
       CASE WHEN closed.by_itself THEN 'resolved'
            WHEN s.mark IS NULL OR s.mark = 'reopened' OR s.until <= now() THEN 'open' ELSE s.mark END AS status,
       CASE WHEN closed.by_itself THEN coalesce(CASE WHEN c.verdict = 'rejected' THEN c.reviewer END, 'segwatch')
            ELSE s.person END AS status_by,
       CASE WHEN closed.by_itself THEN c.retracted_because ELSE s.note END AS status_note,
       CASE WHEN closed.by_itself THEN c.retracted_at ELSE s.marked_at END AS status_at,
       CASE WHEN NOT closed.by_itself THEN s.until END AS snoozed_until, c.retracted_because
FROM segwatch.alert a
JOIN segwatch.held_change c ON c.id = a.change_id
JOIN segwatch.provenance p ON p.observation_id = c.observation_id
LEFT JOIN segwatch.alert_status s ON s.alert_id = a.id
CROSS JOIN LATERAL (
    SELECT c.retracted_at IS NOT NULL
           AND (s.mark IS NULL OR s.marked_at <= c.retracted_at AND s.mark <> 'resolved') AS by_itself) closed
LEFT JOIN LATERAL (
    SELECT CASE WHEN count(*) = count(d.delivered_at) THEN max(d.delivered_at) END AS delivered_at,
           count(*) FILTER (WHERE d.state = 'pending') AS pending,
           count(*) FILTER (WHERE d.state = 'dead') AS dead
    FROM segwatch.delivery d WHERE d.alert_id = a.id) d ON true;
COMMENT ON COLUMN watch.alerts.retracted_at IS 'When a later scene showed that the change does not hold, or a review rejected its object; null while it holds.';
COMMENT ON COLUMN watch.alerts.retracted_because IS 'Why it does not hold; null while it does.';
COMMENT ON COLUMN watch.alerts.status IS 'open, acknowledged, snoozed or resolved; resolved while the change does not hold, unless somebody marked it since.';
COMMENT ON COLUMN watch.alerts.status_by IS 'Who marked it last, or rejected its object; segwatch where a later scene retracted the change; null where nobody did.';
COMMENT ON COLUMN watch.alerts.status_note IS 'What they wrote, or why the change does not hold.';
COMMENT ON COLUMN watch.alerts.status_at IS 'When they did.';
