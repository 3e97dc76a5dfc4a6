GRANT SELECT, INSERT ON segwatch.alert_correction TO segwatch_worker;

CREATE VIEW watch.alert_corrections AS
SELECT k.alert_id, p.watch, k.ordinal, k.kind, k.recorded_at
FROM segwatch.alert_correction k
JOIN segwatch.alert a ON a.id = k.alert_id
JOIN segwatch.change c ON c.id = a.change_id
JOIN segwatch.provenance p ON p.observation_id = c.observation_id;
COMMENT ON VIEW watch.alert_corrections IS 'What was said of an alert after it was raised.';
COMMENT ON COLUMN watch.alert_corrections.alert_id IS 'The alert.';
COMMENT ON COLUMN watch.alert_corrections.watch IS 'Name of the watch.';
COMMENT ON COLUMN watch.alert_corrections.ordinal IS 'Counts the corrections of one alert from 1 on.';
COMMENT ON COLUMN watch.alert_corrections.kind IS 'retracted: the change does not hold after all; reinstated: it does again; updated: its ground is another one.';
COMMENT ON COLUMN watch.alert_corrections.recorded_at IS 'When that became known.';
GRANT SELECT ON watch.alert_corrections TO segwatch_analyst, segwatch_worker;
