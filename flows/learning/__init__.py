"""Learning from use: evaluate a watch on what people judged, adapt its model, and measure what words change."""
