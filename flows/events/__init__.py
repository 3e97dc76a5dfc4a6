"""Event feeds, playbooks, and the disaster runs that events start. Does not import Prefect."""
