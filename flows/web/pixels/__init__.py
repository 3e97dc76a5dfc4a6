"""Imagery tiles: rendered as the model sees them, decoded in processes of their own."""
