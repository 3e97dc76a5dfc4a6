-- segwatch.held_state has taken its place
DROP VIEW segwatch.drawn;
