-- Whom a session answers. segwatch.watches names the watches whose rows it may read, with commas between them; unset, as
-- in a session of a person who writes SQL, or *: all of them. segwatch.names = hidden leaves out who reviewed and marked.
--
-- segwatch's web server begins every session with segwatch.watches = - (none) and segwatch.names = hidden, and sets for
-- each request what its reader may see: a request that forgets it sees nothing. The settings are no barrier for those who
-- may write SQL of their own.
CREATE FUNCTION segwatch.reads_all_watches() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(current_setting('segwatch.watches', true), '') IN ('', '*')
$$;

CREATE FUNCTION segwatch.readable_watches() RETURNS text[] LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT string_to_array(coalesce(current_setting('segwatch.watches', true), ''), ',')
$$;

CREATE FUNCTION segwatch.shown_name(name text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN current_setting('segwatch.names', true) IS DISTINCT FROM 'hidden' THEN name END
$$;
