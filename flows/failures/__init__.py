"""Which part failed, what that costs, and how it is reported. No prefect."""
