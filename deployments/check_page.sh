#!/usr/bin/env bash
# Check the map's sources (types) and that the committed files in flows/web/static are built from them.
# Without Node this says that nothing was checked; it is no reason to fail on a machine that only runs Python.
set -euo pipefail
cd "$(dirname "$0")/../flows/web/page"
if ! command -v npm >/dev/null; then
  echo "map: not checked, because npm was not found; install Node 20 or newer to check flows/web/page"
  exit 0
fi
# not `npm ci`, which refuses a lock file without optional packages of other systems that a registry does not have
[ -d node_modules ] || npm install --no-save --no-audit --no-fund --silent
npm run --silent check
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
npx vite build --logLevel error --outDir "$built"
if ! diff -rq "$built/page" ../static/page || ! cmp "$built/index.html" ../static/index.html; then
  echo "map: flows/web/static differs from its sources; run: make page, and commit the result"
  exit 1
fi
echo "map: the built files are those of the sources"
