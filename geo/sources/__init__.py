"""geo's one I/O edge: STAC search, windowed range reads, source profiles."""
