"""Events of the world: fetched, stored, and what a playbook does about each. No prefect."""
