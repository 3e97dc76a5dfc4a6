-- Of changes of one moment the one that says most: whether the object is there before what became of it. The order in
-- which scenes arrive must not decide.
CREATE FUNCTION segwatch.change_rank(kind text) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_position(ARRAY['disappeared', 'reappeared', 'appeared', 'merged', 'split', 'moved', 'grew', 'shrank'],
                          kind)
$$;
