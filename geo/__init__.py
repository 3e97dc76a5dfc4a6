"""Geometry, pixels and tracking: values in, values out. I/O only in ``sources``."""
