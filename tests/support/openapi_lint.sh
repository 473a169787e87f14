#!/usr/bin/env bash
# Reads the /openapi.json of a running shop with Redocly's linter; status 1 when it finds an error.
#   tests/support/openapi_lint.sh [URL, default http://127.0.0.1:8000]
# Not part of compose/test: it needs node and npm, which nothing else here does. Rules that are a matter of taste (a 4XX
# for every operation, a licence) are off.
set -euo pipefail
cd "$(dirname "$0")/../.."
url=${1:-http://127.0.0.1:${PORT:-8000}}
mkdir -p build/lint
cd build/lint
curl -sf "$url/openapi.json" >openapi.json
[ -d node_modules/@redocly/cli ] || npm install --no-audit --no-fund --silent @redocly/cli@1
cat >redocly.yaml <<'END'
extends: [spec]
END
REDOCLY_TELEMETRY=off node_modules/.bin/redocly lint --config redocly.yaml openapi.json
