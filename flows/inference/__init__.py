"""Predict instructions on scenes: drain the queue, read, tile, segment, store results and quicklooks. No prefect."""
