-- Messages that were withdrawn are neither delivered nor missing.
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
       CASE WHEN NOT closed.by_itself THEN s.until END AS snoozed_until, c.retracted_because,
       coalesce(d.withdrawn, 0) AS deliveries_withdrawn
FROM segwatch.alert a
JOIN segwatch.held_change c ON c.id = a.change_id
JOIN segwatch.provenance p ON p.observation_id = c.observation_id
LEFT JOIN segwatch.alert_status s ON s.alert_id = a.id
CROSS JOIN LATERAL (
    SELECT c.retracted_at IS NOT NULL
           AND (s.mark IS NULL OR s.marked_at <= c.retracted_at AND s.mark <> 'resolved') AS by_itself) closed
LEFT JOIN LATERAL (
    SELECT CASE WHEN count(*) FILTER (WHERE d.state <> 'withdrawn') = count(d.delivered_at) THEN max(d.delivered_at) END AS delivered_at,
           count(*) FILTER (WHERE d.state = 'pending') AS pending,
           count(*) FILTER (WHERE d.state = 'dead') AS dead,
           count(*) FILTER (WHERE d.state = 'withdrawn') AS withdrawn
    FROM segwatch.delivery d WHERE d.alert_id = a.id) d ON true;
COMMENT ON COLUMN watch.alerts.deliveries_withdrawn IS 'Messages that are not sent: the channel was taken out of the rule, or the alert left its digest, before they were.';
