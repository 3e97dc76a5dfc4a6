"""Imagery tiles, rendered as the model sees them, in decoder processes with limits."""
