"""The tracking core: a pure fold of observations into tracks."""
