#!/bin/sh
# Runs once, when the database's volume is new: roles with the passwords of secrets/database.env, and two databases.
set -eu
psql --no-psqlrc --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres \
  --set=owner="$OWNER_PASSWORD" --set=worker="$WORKER_PASSWORD" --set=map="$MAP_PASSWORD" --set=prefect="$PREFECT_PASSWORD" <<'SQL'
CREATE ROLE segwatch_owner LOGIN PASSWORD :'owner';
CREATE ROLE segwatch_worker LOGIN PASSWORD :'worker';
CREATE ROLE segwatch_analyst NOLOGIN;
CREATE ROLE segwatch_map LOGIN PASSWORD :'map' IN ROLE segwatch_analyst;
CREATE ROLE prefect LOGIN PASSWORD :'prefect';
CREATE DATABASE segwatch OWNER segwatch_owner;
CREATE DATABASE prefect OWNER prefect;
REVOKE CONNECT ON DATABASE prefect FROM PUBLIC;
REVOKE CONNECT ON DATABASE segwatch FROM PUBLIC;
GRANT CONNECT ON DATABASE segwatch TO segwatch_owner, segwatch_worker, segwatch_analyst;
\connect segwatch
CREATE EXTENSION IF NOT EXISTS postgis;
CREATE EXTENSION IF NOT EXISTS btree_gist;
\connect prefect
CREATE EXTENSION IF NOT EXISTS pg_trgm;
SQL
