#!/usr/bin/env bash
# Reads schemas/asyncapi.yaml with the parser of the AsyncAPI initiative; status 1 when it finds an error or a warning.
# Not part of compose/test: it needs node and npm, which nothing else here does.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
mkdir -p build/lint
cd build/lint
[ -d node_modules/@asyncapi/parser ] || npm install --no-audit --no-fund --silent @asyncapi/parser@3
cat >lint.mjs <<'END'
import { readFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';
const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], 'utf8'));
const bad = diagnostics.filter((d) => d.severity <= 1); // 0 error, 1 warning, 2 information
for (const d of bad) console.log(`${d.code}: ${d.message} at ${d.path.join('/')}`);
if (document) console.log(`AsyncAPI ${document.version()}: ${document.channels().length} channels, ${document.messages().length} messages`);
console.log(`${bad.length} errors and warnings`);
process.exit(document && !bad.length ? 0 : 1);
END
node lint.mjs "$root/schemas/asyncapi.yaml"
