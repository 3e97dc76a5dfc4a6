"""Text from outside: free of secrets, printable on one line, storable in PostgreSQL, and matched to known names."""
