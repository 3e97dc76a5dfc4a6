"""Geometry from outside, at a bounded cost of memory and time."""
