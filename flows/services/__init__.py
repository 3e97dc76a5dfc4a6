"""Local background services of the embedded stack and the demo. No prefect here."""
