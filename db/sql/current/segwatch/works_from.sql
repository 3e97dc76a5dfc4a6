-- Newest migration of the oldest code that works with this schema: workers of that version go on while others are
-- upgraded. A migration that takes away what earlier code uses sets it to the release before.
CREATE OR REPLACE FUNCTION segwatch.works_from() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = segwatch, public, pg_temp AS $$ SELECT '0042' $$;

REVOKE ALL ON FUNCTION segwatch.works_from FROM PUBLIC;
GRANT EXECUTE ON FUNCTION segwatch.works_from TO segwatch_analyst, segwatch_worker;
