"""Decide which part failed and what that costs, and report it. Does not import Prefect."""
