"""Read and compute with untrusted geometry in bounded memory and time."""
