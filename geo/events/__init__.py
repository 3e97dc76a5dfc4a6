"""Events of the world, read from what feeds publish. Pure: bytes in, value types out."""
