"""Spectral indices: formulas, means over detections and cells, thresholds, and what they say about a target."""
