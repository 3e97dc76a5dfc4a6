"""Runs in Prefect: deployments and schedules, the gpu pool, heartbeats of runs, and runs that were lost."""
