-- The web server has the analyst's rights and looks tokens up here. The id is random and public; of the secret only a
-- digest is stored.
CREATE OR REPLACE FUNCTION watch.access_token(id text)
RETURNS TABLE (name text, digest bytea, watches text[], scopes text[], expires_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    SELECT t.name, t.digest, t.watches, t.scopes, t.expires_at FROM segwatch.access_token t
    WHERE t.id = access_token.id AND t.revoked_at IS NULL
      AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp())
$$;

REVOKE ALL ON FUNCTION watch.access_token FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.access_token TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.access_token IS
    'Name, digest, watches and scopes of the access token with this id, for the web server; no row if it does not exist, was revoked or has expired.';

-- The only write of the web server as the analyst: it records that a token was used, at most once a minute. Whoever calls it
-- has to know the digest of the token, which no view shows.
CREATE OR REPLACE FUNCTION watch.use_access_token(id text, digest bytea) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    UPDATE segwatch.access_token t SET last_used_at = clock_timestamp()
    WHERE t.id = use_access_token.id AND t.digest = use_access_token.digest
      AND (t.last_used_at IS NULL OR t.last_used_at < clock_timestamp() - interval '1 minute')
$$;

REVOKE ALL ON FUNCTION watch.use_access_token FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.use_access_token TO segwatch_analyst, segwatch_worker;

COMMENT ON FUNCTION watch.use_access_token IS
    'Records that the access token with this id and digest was used now; at most once a minute.';
