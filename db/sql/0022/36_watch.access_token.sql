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
