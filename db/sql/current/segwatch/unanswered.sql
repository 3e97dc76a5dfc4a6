-- Observations that a series waits for: later scenes are tracked once these are final. A scene that is observed again does
-- not hold up the series; its last good result stays in force meanwhile.
CREATE OR REPLACE VIEW segwatch.unanswered AS
SELECT o.id, o.series_id, o.scene_id, o.acquired_at
FROM segwatch.observation o
WHERE o.state IN ('pending', 'leased')
  AND NOT EXISTS (
      SELECT 1 FROM segwatch.observation p
      WHERE p.series_id = o.series_id AND p.scene_id = o.scene_id AND p.version < o.version
        AND p.state IN ('inferred', 'observed'));
GRANT SELECT ON segwatch.unanswered TO segwatch_worker;
