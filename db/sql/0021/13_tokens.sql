GRANT SELECT, INSERT, UPDATE ON segwatch.access_token TO segwatch_worker;

-- The web server, which reads the schema watch alone, asks what a token may do. Who knows the id of one, which is random,
-- learns nothing that opens anything: of the secret there is a digest only.
CREATE FUNCTION watch.access_token(id text)
RETURNS TABLE (name text, digest bytea, watches text[], scopes text[], expires_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    SELECT t.name, t.digest, t.watches, t.scopes, t.expires_at FROM segwatch.access_token t
    WHERE t.id = access_token.id AND t.revoked_at IS NULL
      AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp())
$$;
REVOKE ALL ON FUNCTION watch.access_token FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watch.access_token TO segwatch_analyst, segwatch_worker;
COMMENT ON FUNCTION watch.access_token IS 'What the token with this id may do, for the web server; nothing where there is none, or it was revoked or has expired.';
