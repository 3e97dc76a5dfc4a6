-- Watches that are paused: no search, prediction or schedule until somebody resumes them.
CREATE OR REPLACE VIEW segwatch.paused_watch AS
SELECT l.watch_name AS watch, l.person AS paused_by, l.acted_at AS paused_at, l.note
FROM (SELECT DISTINCT ON (a.watch_name) a.* FROM segwatch.watch_action a ORDER BY a.watch_name, a.ordinal DESC) l
WHERE l.action = 'paused';
GRANT SELECT ON segwatch.paused_watch TO segwatch_worker;
