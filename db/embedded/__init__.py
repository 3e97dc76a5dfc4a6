"""An embedded PostgreSQL + PostGIS cluster: binaries, operating system account, ports."""
