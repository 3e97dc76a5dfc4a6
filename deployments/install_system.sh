#!/usr/bin/env bash
# Install system packages that pip cannot provide, unless they are present: install_system.sh postgis|chromium
set -euo pipefail

have_postgis() {
  local control
  for control in /usr/share/postgresql/*/extension/postgis.control /usr/pgsql-*/share/extension/postgis.control; do
    [ -e "$control" ] && return 0
  done
  return 1
}
have_chromium() { command -v chromium >/dev/null || command -v chromium-browser >/dev/null; }

case "${1:-}" in
  postgis) have_postgis && exit 0; packages=(postgresql postgis "postgresql-PG-postgis-3") ;;
  chromium) have_chromium && exit 0; packages=(chromium) ;;
  *) echo "usage: $0 postgis|chromium" >&2; exit 2 ;;
esac

if ! command -v apt-get >/dev/null; then
  echo "missing: $1. Install it with your system's package manager (on Debian or Ubuntu: ${packages[*]})." >&2
  exit 1
fi
if [ "$(id -u)" = 0 ]; then
  sudo=()
elif sudo -n true 2>/dev/null; then
  sudo=(sudo -n)
else
  echo "missing: $1, and installing it needs root. Run:  sudo $0 $1" >&2
  exit 1
fi

echo "installing $1 with apt-get"
progress="$(dirname "$0")/with_progress.sh"
"$progress" "package lists" "${sudo[@]}" apt-get update -qq
if [ "$1" = postgis ]; then
  # the distribution's own PostgreSQL major version names the PostGIS package
  major=$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]\+\)$/\1/p' | head -n 1)
  packages=("postgresql-$major" "postgresql-$major-postgis-3")
fi
"$progress" "${packages[*]}" "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}"
