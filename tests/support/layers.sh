#!/usr/bin/env bash
# Prints every line that breaks the layers of the design, and unfinished work; status 1 when there is one.
#   api, consumers, producers -> messages.h, bus;  never each other
#   bus -> bus/redis, bus/pg -> bus/base;          hiredis, libpq and libuv each have their only place
cd "$(dirname "$0")/../.." || exit 2
found=0

# forbid "why" 'pattern of an #include' path…: no source below these paths may include that.
forbid() {
    local why=$1 pattern=$2
    shift 2
    local hits
    hits=$(grep -rnE "^#include [<\"]($pattern)" --include='*.[ch]' "$@" 2>/dev/null) || return 0
    printf '%s:\n%s\n' "$why" "$hits"
    found=1
}

forbid 'api includes consumers or producers' '(consumers|producers)/' api
forbid 'consumers includes api or producers' '(api|producers)/' consumers
forbid 'producers includes api or consumers' '(api|consumers)/' producers
forbid 'bus includes what is above it' '(api|consumers|producers|tests|compose)/' bus
forbid 'a pump includes more than bus/base' 'messages.h|bus/[^/]*\.h|bus/(ctl|pg)/' bus/redis
forbid 'a pump includes more than bus/base' 'messages.h|bus/[^/]*\.h|bus/(ctl|redis)/' bus/pg
forbid 'bus/base includes what is above it' 'messages.h|bus/[^/]*\.h|bus/(ctl|pg|redis)/' bus/base
forbid 'tests are included' 'tests/' api consumers producers bus compose
forbid 'libpq outside bus/pg' 'libpq|pgtypes|postgres' api consumers producers compose bus/base bus/redis bus/ctl bus/subscriber bus/*.[ch]
forbid 'hiredis outside bus/redis' 'hiredis' api consumers producers compose bus/base bus/pg bus/ctl bus/subscriber bus/*.[ch]
forbid 'libuv outside api and producers' 'uv(/|\.h)' consumers bus compose

if grep -rnE '\b(TODO|FIXME)\b' --include='*.[ch]' --include='*.sql' --include='*.py' api bus consumers producers \
    schemas migrations compose tests; then
    found=1
fi
exit $found
