"""The steps of observing a watch that need no model: discovery, tracking, and running steps in order. No prefect."""
