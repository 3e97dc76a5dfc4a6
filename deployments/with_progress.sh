#!/usr/bin/env bash
# with_progress.sh WHAT COMMAND...: run a command quietly, print what it does and every ten seconds that it still runs;
# print its output if it fails.
set -uo pipefail
what=$1
shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "  $what"
"$@" >"$log" 2>&1 &
command=$!
trap 'kill "$command" 2>/dev/null; exit 130' INT TERM
begun=$SECONDS
next=10
while kill -0 "$command" 2>/dev/null; do
  sleep 0.2
  if [ $((SECONDS - begun)) -ge "$next" ]; then
    echo "  $what: $((SECONDS - begun)) s so far"
    next=$((next + 10))
  fi
done
wait "$command"
status=$?
[ "$status" = 0 ] || cat "$log" >&2
exit "$status"
