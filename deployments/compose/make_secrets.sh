#!/bin/sh
# Write the settings of each service with new random passwords into secrets/, readable by its owner only. What is there
# stays: a service never gets another password than the one its database was created with.
set -eu
cd "$(dirname "$0")"
if [ -e secrets ]; then
  echo "secrets/ is there already and is left as it is" >&2
  exit 0
fi
umask 077
mkdir secrets.new
make_password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
admin=$(make_password) owner=$(make_password) worker=$(make_password) map=$(make_password)
prefect_database=$(make_password) prefect_api="segwatch:$(make_password)" webhook=whsec_$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n' | base64 | tr -d '\n')

cat >secrets.new/database.env <<END
POSTGRES_PASSWORD=$admin
OWNER_PASSWORD=$owner
WORKER_PASSWORD=$worker
MAP_PASSWORD=$map
PREFECT_PASSWORD=$prefect_database
END
cat >secrets.new/owner.env <<END
SEGWATCH_DATABASE_URL=postgresql+psycopg://segwatch_owner:$owner@database/segwatch
END
cat >secrets.new/worker.env <<END
SEGWATCH_DATABASE_URL=postgresql+psycopg://segwatch_worker:$worker@database/segwatch
SEGWATCH_EVIDENCE=/var/lib/segwatch/evidence
SEGWATCH_WEBHOOK_SECRET=$webhook
PREFECT_API_URL=http://prefect:4200/api
PREFECT_API_AUTH_STRING=$prefect_api
END
cat >secrets.new/web.env <<END
SEGWATCH_ANALYST_URL=postgresql+psycopg://segwatch_map:$map@database/segwatch
END
cat >secrets.new/prefect.env <<END
PREFECT_SERVER_DATABASE_CONNECTION_URL=postgresql+asyncpg://prefect:$prefect_database@database/prefect
PREFECT_SERVER_API_AUTH_STRING=$prefect_api
PREFECT_SERVER_ANALYTICS_ENABLED=false
END
mv secrets.new secrets
echo "wrote secrets/"
