"""Rasters of an item: what reading a file will cost, whether it fits its profile, and its pixels on a grid."""
