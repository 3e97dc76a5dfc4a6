"""Prefect: deployments, schedules, work pools, the server, and the life of runs."""
