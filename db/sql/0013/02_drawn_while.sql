-- The part of a recorded range during which a drawn outline takes the place of an observed one: the state lies at or after
-- the observation that the outline was drawn for, and no change between the two was known.
CREATE FUNCTION segwatch.drawn_while(verdict text, looked_at timestamptz, track_id uuid, valid tstzrange,
                                     recorded tstzrange)
RETURNS tstzmultirange
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = segwatch, public, pg_temp AS $$
    SELECT CASE
        WHEN drawn_while.verdict IS DISTINCT FROM 'edited'
             OR NOT drawn_while.valid && tstzrange(drawn_while.looked_at, NULL) THEN '{}'::tstzmultirange
        ELSE tstzmultirange(drawn_while.recorded) - coalesce(
            (SELECT range_agg(tstzrange(c.recorded_at, CASE WHEN c.retracted_at IS NOT NULL
                                                            THEN greatest(c.retracted_at, c.recorded_at) END))
             FROM segwatch.change c
             WHERE c.track_id = drawn_while.track_id AND c.valid_at > drawn_while.looked_at
               AND c.valid_at <= lower(drawn_while.valid)),
            '{}'::tstzmultirange)
        END
$$;
