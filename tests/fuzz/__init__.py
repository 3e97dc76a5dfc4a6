"""Fuzzing of everything that reads from outside; see docs/explanation/security.md."""
