"""The ledger: PostgreSQL + PostGIS tables, reads and idempotent writes."""
