#!/bin/sh
# Asks Prometheus' own linter about /metrics of a running shop: tests/support/promtool.sh [URL]. promtool is in
# Debian's package prometheus. Exit 0: it has nothing to say.
set -eu
url=${1:-http://127.0.0.1:${PORT:-8000}/metrics}
page=$(mktemp)
trap 'rm -f "$page"' EXIT
curl -fsS "$url" >"$page"
printf '%s values in %s families\n' "$(grep -vc '^#' "$page")" "$(grep -c '^# TYPE' "$page")"
promtool check metrics <"$page" && echo "promtool $(promtool --version 2>&1 | sed -n '1s/.*version \([^ ]*\).*/\1/p') accepts it"
