-- What the session may read. `segwatch.watches` lists names of watches separated by commas; unset (a person who writes SQL)
-- or * means all. `segwatch.names` = hidden hides the names of reviewers and of people who mark alerts.
--
-- The web server starts every session with segwatch.watches = - (none) and segwatch.names = hidden, and sets both for each
-- request: a request that forgets to sees nothing. People who can write SQL of their own can also set both. What binds them
-- is segwatch.database_user: it narrows what a login may read, whatever the settings say. A login is the one that the
-- session began with (session_user), which SET ROLE does not change.
CREATE OR REPLACE FUNCTION segwatch.reads_all_watches() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    SELECT coalesce(current_setting('segwatch.watches', true), '') IN ('', '*')
       AND NOT EXISTS (SELECT 1 FROM segwatch.database_user u WHERE u.name = session_user AND u.watches IS NOT NULL)
$$;

CREATE OR REPLACE FUNCTION segwatch.readable_watches() RETURNS text[]
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    SELECT CASE
        WHEN u.watches IS NULL THEN s.watches
        WHEN s.watches && ARRAY['', '*'] OR s.watches = '{}' THEN u.watches
        ELSE ARRAY(SELECT unnest(s.watches) INTERSECT SELECT unnest(u.watches)) END
    FROM (SELECT string_to_array(coalesce(current_setting('segwatch.watches', true), ''), ',') AS watches) s
    LEFT JOIN segwatch.database_user u ON u.name = session_user
$$;

CREATE OR REPLACE FUNCTION segwatch.shown_name(name text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    SELECT CASE WHEN current_setting('segwatch.names', true) IS DISTINCT FROM 'hidden'
                 AND NOT EXISTS (SELECT 1 FROM segwatch.database_user u
                                 WHERE u.name = session_user AND NOT u.shows_names) THEN shown_name.name END
$$;
