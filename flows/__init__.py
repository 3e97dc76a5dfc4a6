"""Orchestration and I/O edges; the only package that imports prefect."""
