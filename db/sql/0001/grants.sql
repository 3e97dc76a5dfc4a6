REVOKE ALL ON ALL FUNCTIONS IN SCHEMA watch FROM PUBLIC;
GRANT USAGE ON SCHEMA watch TO segwatch_analyst, segwatch_worker;
GRANT SELECT ON ALL TABLES IN SCHEMA watch TO segwatch_analyst, segwatch_worker;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA watch TO segwatch_analyst, segwatch_worker;
GRANT USAGE ON SCHEMA segwatch TO segwatch_worker;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA segwatch TO segwatch_worker;
REVOKE INSERT, UPDATE ON segwatch.provenance, segwatch.current_series, segwatch.alembic_version FROM segwatch_worker;
