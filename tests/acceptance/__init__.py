"""The whole system with real parts. A package, so that its stack stops with its last test."""
