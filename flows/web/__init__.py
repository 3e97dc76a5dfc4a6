"""A first look for people: map, OGC API Features and tiles of the analyst views, and the scenes' imagery."""
