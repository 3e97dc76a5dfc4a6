"""Local background services and the demo."""
