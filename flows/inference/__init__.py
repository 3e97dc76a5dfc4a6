"""Predict instructions on scenes: drain, read, tile, segment, store results and quicklooks. Does not import Prefect."""
