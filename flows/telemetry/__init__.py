"""What segwatch tells about itself: one line per scene, metrics and traces."""
