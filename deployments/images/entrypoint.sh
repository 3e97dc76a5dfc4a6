#!/bin/sh
# Read settings from a file of KEY=VALUE lines (a secret that Docker or Podman mounts), then run the command in this
# process. A value is taken as it is: nothing in it is executed or expanded. Variables that are set already stay.
set -eu
file=${SEGWATCH_ENV_FILE:-/run/secrets/segwatch.env}
if [ -e "$file" ]; then
  while IFS= read -r line || [ -n "$line" ]; do
    case "$line" in
      '' | '#'*) continue ;;
      [A-Z]*=*) ;;
      *) echo "segwatch: $file holds a line that is not KEY=VALUE" >&2; exit 64 ;;
    esac
    key=${line%%=*}
    case "$key" in
      *[!A-Z0-9_]*) echo "segwatch: $file names a variable with other characters than A-Z, 0-9 and _" >&2; exit 64 ;;
    esac
    if ! printenv "$key" >/dev/null; then
      export "$key=${line#*=}"
    fi
  done <"$file"
fi
exec "$@"
