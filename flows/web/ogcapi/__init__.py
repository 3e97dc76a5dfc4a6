"""OGC API Features and Tiles over the analyst views."""
