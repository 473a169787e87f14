#!/usr/bin/env bash
# The README's tour, line by line, as a stranger would paste it, in a fresh home; then what it must have led to.
# Uses the programs of DAYDREAM_PRESET (default dev).
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
export DAYDREAM_HOME=$work/home DAYDREAM_PRESET=${DAYDREAM_PRESET:-dev}
unset REDIS_URL DATABASE_URL
PORT=$(. compose/lib.sh && free_port)
export PORT
trap 'compose/down >/dev/null; rm -rf "$work"' EXIT

compose/up --detach
awk '/^```sh/ {inside = 1; next} /^```/ {inside = 0} inside' README.md >"$work/tour"
[ "$(wc -l <"$work/tour")" -ge 15 ] || { echo "FAILED: the README has no tour"; exit 1; }
bash -eo pipefail "$work/tour" 2>&1 | tee "$work/printed"

for words in '194 accepted, 0 refused' '"status":"confirmed"' 'order.place-requested.v1' 'order.confirmed.v1' '0 findings'; do
    grep -qF "$words" "$work/printed" || { echo "FAILED: the tour did not print: $words"; exit 1; }
done
echo "the tour leads where the README says"
