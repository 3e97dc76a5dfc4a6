-- Any role can send notifications on any channel, so a payload is only a hint; what counts is the row in the ledger.
CREATE OR REPLACE FUNCTION watch.notified(payload text) RETURNS SETOF watch.alerts
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    hint jsonb;
BEGIN
    hint := CAST(payload AS jsonb);
    RETURN QUERY SELECT a.* FROM watch.alerts a
    WHERE a.alert_id = CAST(hint ->> 'alert_id' AS uuid)
      AND a.change_id = CAST(hint ->> 'change_id' AS uuid) AND a.track_id = CAST(hint ->> 'track_id' AS uuid)
      AND a.valid_at = CAST(hint ->> 'valid_at' AS timestamptz)
      AND (a.watch, a.rule, a.kind, a.target)
          = (hint ->> 'watch', hint ->> 'rule', hint ->> 'kind', hint ->> 'target')
      AND (hint ->> 'type' = 'segwatch.alert'
           OR EXISTS (SELECT FROM watch.alert_corrections k
                      WHERE k.alert_id = a.alert_id AND hint ->> 'type' = 'segwatch.alert.' || k.kind));
EXCEPTION WHEN data_exception THEN
    RETURN;
END $$;

REVOKE ALL ON FUNCTION watch.notified FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.notified TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.notified IS
    'The alert that a notification on channel segwatch_alert announces, as it is now. No row means that the notification is forged or outdated.';
