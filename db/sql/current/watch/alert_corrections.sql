CREATE OR REPLACE VIEW watch.alert_corrections AS
SELECT k.alert_id, p.watch, k.ordinal, k.kind, k.recorded_at,
       concat_ws('/', k.alert_id, k.ordinal) AS correction_id
FROM segwatch.alert_correction k
JOIN segwatch.alert a ON a.id = k.alert_id
JOIN segwatch.change c ON c.id = a.change_id
JOIN segwatch.provenance p ON p.observation_id = c.observation_id;

GRANT SELECT ON watch.alert_corrections TO segwatch_analyst, segwatch_worker;

COMMENT ON VIEW watch.alert_corrections IS
    'Corrections of alerts after they were raised.';
COMMENT ON COLUMN watch.alert_corrections.alert_id IS
    'Id of the alert.';
COMMENT ON COLUMN watch.alert_corrections.watch IS
    'Name of the watch.';
COMMENT ON COLUMN watch.alert_corrections.ordinal IS
    'Number of the correction among those of its alert, from 1 on.';
COMMENT ON COLUMN watch.alert_corrections.kind IS
    'confirmed, refuted: further observations decided the change; provisional: they leave it uncertain again after it was confirmed or refuted; retracted: it does not hold; reinstated: it holds again; updated: its geometry changed.';
COMMENT ON COLUMN watch.alert_corrections.recorded_at IS
    'When the correction was recorded, UTC.';
COMMENT ON COLUMN watch.alert_corrections.correction_id IS
    'Key of the row.';
