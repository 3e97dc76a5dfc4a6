-- What the session may read. `segwatch.watches` lists names of watches separated by commas; unset (a person who writes SQL)
-- or * means all. `segwatch.names` = hidden hides the names of reviewers and of people who mark alerts.
--
-- The web server starts every session with segwatch.watches = - (none) and segwatch.names = hidden, and sets both for each
-- request: a request that forgets to sees nothing. The settings do not restrict people who can write SQL of their own.
CREATE OR REPLACE FUNCTION segwatch.reads_all_watches() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(current_setting('segwatch.watches', true), '') IN ('', '*')
$$;

CREATE OR REPLACE FUNCTION segwatch.readable_watches() RETURNS text[] LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT string_to_array(coalesce(current_setting('segwatch.watches', true), ''), ',')
$$;

CREATE OR REPLACE FUNCTION segwatch.shown_name(name text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN current_setting('segwatch.names', true) IS DISTINCT FROM 'hidden' THEN name END
$$;
