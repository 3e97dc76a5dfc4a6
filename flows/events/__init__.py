"""Event feeds, playbooks, and the disaster runs that events start. No prefect."""
