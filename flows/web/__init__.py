"""Web server: map, OGC API Features and tiles of the analyst views, imagery, alert feeds, reviews and events."""
