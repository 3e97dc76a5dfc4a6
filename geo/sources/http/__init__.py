"""HTTP requests to foreign servers: which are allowed, how they are signed and retried, and byte ranges of files."""
