CREATE VIEW segwatch.alert_status AS
SELECT m.alert_id, m.track_id, m.ordinal, m.mark, m.person, m.note, m.until, m.marked_at
FROM segwatch.alert_mark m
WHERE NOT EXISTS (SELECT 1 FROM segwatch.alert_mark n WHERE n.alert_id = m.alert_id AND n.ordinal > m.ordinal);

GRANT SELECT, INSERT ON segwatch.alert_mark TO segwatch_worker;
GRANT SELECT, INSERT, UPDATE ON segwatch.channel TO segwatch_worker;
GRANT SELECT ON segwatch.alert_status TO segwatch_worker;

CREATE OR REPLACE VIEW watch.alerts AS
SELECT a.id AS alert_id, a.change_id, c.track_id, p.watch, a.rule, c.kind, c.target, c.valid_at, a.created_at,
       c.before_m2, c.after_m2, c.geom, d.delivered_at, coalesce(d.pending, 0) AS deliveries_pending,
       coalesce(d.dead, 0) AS deliveries_failed, p.observation_id, p.scene_id, p.item_hrefs, p.model,
       p.instruction_revision, c.retracted_at,
       CASE WHEN s.mark IS NULL OR s.mark = 'reopened' OR s.until <= now() THEN 'open' ELSE s.mark END AS status,
       s.person AS status_by, s.note AS status_note, s.marked_at AS status_at, s.until AS snoozed_until
FROM segwatch.alert a
JOIN segwatch.change c ON c.id = a.change_id
JOIN segwatch.provenance p ON p.observation_id = c.observation_id
LEFT JOIN segwatch.alert_status s ON s.alert_id = a.id
LEFT JOIN LATERAL (
    SELECT CASE WHEN count(*) = count(d.delivered_at) THEN max(d.delivered_at) END AS delivered_at,
           count(*) FILTER (WHERE d.state = 'pending') AS pending,
           count(*) FILTER (WHERE d.state = 'dead') AS dead
    FROM segwatch.delivery d WHERE d.alert_id = a.id) d ON true;
COMMENT ON COLUMN watch.alerts.status IS 'open, acknowledged, snoozed or resolved.';
COMMENT ON COLUMN watch.alerts.status_by IS 'Who marked it last; null where nobody did.';
COMMENT ON COLUMN watch.alerts.status_note IS 'What they wrote.';
COMMENT ON COLUMN watch.alerts.status_at IS 'When they did.';
COMMENT ON COLUMN watch.alerts.snoozed_until IS 'Messages about the object wait until then; null unless it was snoozed last.';
