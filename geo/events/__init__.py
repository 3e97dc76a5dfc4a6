"""Read events from feeds. Pure: bytes in, value types out."""
