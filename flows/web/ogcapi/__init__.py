"""OGC API Features and Tiles of the analyst views."""
