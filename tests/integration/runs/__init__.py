"""Runs on a real Prefect server. A package, so that the server stops with its last test."""
