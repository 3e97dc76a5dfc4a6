-- The latest mark of each alert.
CREATE OR REPLACE VIEW segwatch.alert_status AS
SELECT m.alert_id, m.track_id, m.ordinal, m.mark, segwatch.shown_name(m.person) AS person, m.note, m.until, m.marked_at
FROM segwatch.alert_mark m
WHERE NOT EXISTS (SELECT 1 FROM segwatch.alert_mark n WHERE n.alert_id = m.alert_id AND n.ordinal > m.ordinal);
GRANT SELECT ON segwatch.alert_status TO segwatch_worker;
