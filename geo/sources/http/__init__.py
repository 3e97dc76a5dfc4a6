"""Requests to machines of others: which may be made, how they are repeated, and byte ranges of remote files."""
