#!/usr/bin/env bash
# Prints what a person has to know and no page says: settings, codes of problems, pages nobody is sent to, and links that
# lead nowhere. Status 1 when there is one.
cd "$(dirname "$0")/../.." || exit 2
found=0
missing() {
    echo "$1"
    found=1
}

for setting in $(sed -n 's/^SETTING(\([A-Z_]*\),.*/\1/p' bus/base/settings.def); do
    grep -q "\`$setting\`" docs/settings.md || missing "docs/settings.md does not have $setting"
done
for slug in $(sed -n 's/^ERR([^"]*"\([a-z-]*\)".*/\1/p' bus/base/errors.def); do
    grep -q "\`$slug\`" docs/api.md || missing "docs/api.md does not have the problem $slug"
done
for page in docs/*.md; do
    grep -q "($page)" README.md || missing "README.md does not send anybody to $page"
done
for page in README.md docs/*.md docs/decisions/*.md; do
    for link in $(grep -oE '\]\([^)#]+' "$page" | cut -c3- | grep -v '^https:'); do
        [ -e "$(dirname "$page")/$link" ] || missing "$page: no such page: $link"
    done
done
exit $found
