#!/usr/bin/env bash
# Holds the /openapi.json of a running shop against the schema of OpenAPI 3.1; status 1 when it does not fit.
#   tests/support/openapi_lint.sh [URL, default http://127.0.0.1:8000]
# Not part of compose/test: it needs node and npm, which nothing else here does.
set -euo pipefail
cd "$(dirname "$0")/../.."
url=${1:-http://127.0.0.1:${PORT:-8000}}
mkdir -p build/lint
cd build/lint
curl -sf "$url/openapi.json" >openapi.json
[ -d node_modules/@seriousme/openapi-schema-validator ] ||
    npm install --no-audit --no-fund --silent @seriousme/openapi-schema-validator@2
cat >openapi.mjs <<'END'
import { readFileSync } from 'node:fs';
import { Validator } from '@seriousme/openapi-schema-validator';
const document = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const validator = new Validator();
const { valid, errors } = await validator.validate(document);
if (!valid) console.log(JSON.stringify(errors, null, 1));
const operations = Object.values(document.paths).flatMap((path) => Object.keys(path));
console.log(`OpenAPI ${validator.version}: ${operations.length} operations, ${valid ? 'valid' : 'not valid'}`);
process.exit(valid ? 0 : 1);
END
node openapi.mjs openapi.json
