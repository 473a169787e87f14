#!/usr/bin/env bash
# A stranger's day with compose/: a home with a space in its path and somebody's files in it is brought up, loses each
# of its processes and its supervisor to kill -9, comes back each time, goes down and is cleaned away; others go
# to production, and one is cleaned away while it runs, from a tree whose programs are gone.
# Uses the programs of DAYDREAM_PRESET (default dev).
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
export DAYDREAM_HOME="$work/my home" DAYDREAM_PRESET=${DAYDREAM_PRESET:-dev}
unset REDIS_URL DATABASE_URL

fail() { echo "FAILED: $*"; tail -n 5 "$DAYDREAM_HOME"/log/*.log; exit 1; }
leave() { # the programs of a home are ended also when its tree cannot do it any more
    local h
    for h in "$work"/*/; do
        [ ! -d "$h/run" ] || DAYDREAM_HOME=${h%/} "build/$DAYDREAM_PRESET/bin/daydream-supervise" stop
    done
    rm -rf "$work"
}
trap leave EXIT

free_port() { (. compose/lib.sh && free_port); }
ready() { curl -sf -o "$work/body" "http://127.0.0.1:$PORT/health/detailed"; }
pid_of() { cat "$DAYDREAM_HOME/run/$1.pid" 2>/dev/null; }

# until_within SECONDS command…: a deadline instead of a sleep.
until_within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || fail "not within its time: $*"
        sleep 0.02
    done
}
# Nobody works in this home any more. Servers write their title over their environment, but stay in their folder.
nobody_in() {
    local link pid
    for link in /proc/[0-9]*; do
        pid=${link#/proc/}
        case $(cat "$link/comm" 2>/dev/null) in
        daydream*) ! grep -qzxF "DAYDREAM_HOME=$1" "$link/environ" 2>/dev/null || fail "process $pid is left in $1" ;;
        redis-server | postgres) [[ $(readlink "$link/cwd") != "$1"/* ]] || fail "server $pid is left in $1" ;;
        esac
    done
}
# A shop in production: its Redis lets nobody in without the password that compose/redis-cli knows.
guarded() {
    local url
    url=$(cat "$DAYDREAM_HOME/redis/url")
    [[ $url =~ ^redis://:[A-Za-z0-9]{32,}@127\.0\.0\.1:[0-9]+/0$ ]] || fail "no password in production: $url"
    grep -qxF "REDIS_URL=$url" "$DAYDREAM_HOME/env" || fail "env has another REDIS_URL than redis/url"
    [ "$(stat -c %a "$DAYDREAM_HOME/redis/url" "$DAYDREAM_HOME/redis/users.acl" | tr '\n' ' ')" = '600 600 ' ] ||
        fail "others can read who may use Redis"
    [[ $(redis-cli -p "$(. compose/lib.sh && port_of "$url")" ping 2>&1) == NOAUTH* ]] || fail "Redis lets everybody in"
    [ "$(compose/redis-cli ping 2>&1)" = PONG ] || fail "compose/redis-cli: $(compose/redis-cli ping 2>&1)"
    [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$PORT/health")" = 200 ] || fail "health"
    curl -sf "http://127.0.0.1:$PORT/api/v1/products?limit=3" | grep -q '"sku"' || fail "no products"
    compose/ctl bus lag >/dev/null || fail "bus lag"
}
came_back() { local now; now=$(pid_of "$1") && [ -n "$now" ] && [ "$now" != "$2" ]; }

PORT=$(free_port)
export PORT
mkdir -p "$DAYDREAM_HOME/log"
echo mine >"$DAYDREAM_HOME/photo.txt"
echo mine >"$DAYDREAM_HOME/log/notes.txt"

compose/up --detach || fail "up"
ready || fail "up --detach returned before the shop was ready"
compose/up --detach || fail "a second up on a running home"
[ "$(stat -c %a "$DAYDREAM_HOME/env")" = 600 ] || fail "env can be read by others"
[ "$(compose/redis-cli ping)" = PONG ] || fail "compose/redis-cli"
[ "$(compose/psql -Atc 'SELECT 1')" = 1 ] || fail "compose/psql"
compose/ctl events grant partner --types 'order.*' >"$work/granted" || fail "events grant"
ENVIRONMENT=production compose/up --detach 2>"$work/said" || fail "up for production on a running home"
grep -q 'runs without a password' "$work/said" || fail "up for production on a running home says nothing"
[ "$(compose/redis-cli ping)" = PONG ] || fail "a password that the running Redis does not have"

for name in redis postgres consumers producers api; do
    old=$(pid_of $name)
    kill -9 "$old"
    until_within 5 came_back $name "$old"
    until_within 20 ready
    echo "$name came back"
done

kill -9 "$(pid_of supervise)"
compose/up --detach || fail "up after a kill -9 of the supervisor"
ready || fail "not ready after a kill -9 of the supervisor"
echo "the supervisor came back"

compose/down || fail "down"
if ready; then fail "somebody answers after down"; fi
nobody_in "$DAYDREAM_HOME"

# The same home goes to production: its Redis gets a password, who was granted access keeps it.
was=$(cat "$DAYDREAM_HOME/redis/url")
[[ $was != *@* ]] || fail "a password in development"
ENVIRONMENT=production compose/up --detach || fail "up in production"
guarded
[ "$(compose/redis-cli acl whoami)" = default ] && compose/redis-cli acl list | grep -q '^user sub:partner on ' ||
    fail "who was granted access lost it: $(compose/redis-cli acl list)"
now=$(cat "$DAYDREAM_HOME/redis/url")
[ "${now##*@}" = "${was#redis://}" ] || fail "another address: $was, $now"
compose/down || fail "down in production"
compose/up --detach || fail "up after production"
[ "$(cat "$DAYDREAM_HOME/redis/url")" = "$now" ] || fail "another password"
guarded
compose/down || fail "down after production"
echo "a home goes to production"

# shellcheck source=/dev/null
(. compose/lib.sh && home_clean)
[ "$(cd "$DAYDREAM_HOME" && find . -type f | sort | tr '\n' ' ')" = './log/notes.txt ./photo.txt ' ] ||
    fail "clean left or took too much: $(find "$DAYDREAM_HOME")"

# A shop that is in production from the first moment, by its env file, which is not only ours.
export DAYDREAM_HOME="$work/production"
mkdir "$DAYDREAM_HOME"
echo ENVIRONMENT=production >"$DAYDREAM_HOME/env"
said=$(compose/up --detach 2>&1) && fail "production without secrets"
[[ $said == *'JWT_SECRET_KEY must be given'* ]] || fail "production without secrets: $said"
JWT_SECRET_KEY=$(head -c 48 /dev/urandom | base64 -w 0) ENCRYPTION_KEY=$(head -c 32 /dev/urandom | base64 -w 0) \
    SUPERUSER_EMAIL=owner@example.com SUPERUSER_PASSWORD='a good one' compose/up --detach || fail "up of a new shop in production"
guarded
compose/down || fail "down of the new shop"
(. compose/lib.sh && home_clean)
[ "$(cd "$DAYDREAM_HOME" && find . -type f) $(cat "$DAYDREAM_HOME/env")" = './env ENVIRONMENT=production' ] ||
    fail "clean left or took too much: $(find "$DAYDREAM_HOME")"
echo "a new shop begins in production"

# A tree of its own, since cleaning takes its build along.
tree="$work/a tree" DAYDREAM_HOME="$work/second"
export DAYDREAM_HOME
mkdir -p "$tree/build/$DAYDREAM_PRESET/bin"
git ls-files -z | xargs -0 cp --parents -t "$tree"
cp "build/$DAYDREAM_PRESET/bin"/daydream{ctl,-api,-consumers,-producers,-supervise} "$tree/build/$DAYDREAM_PRESET/bin"
up_from_tree() (
    # shellcheck source=/dev/null
    . "$tree/compose/lib.sh"
    home_open
    home_prepare
    "$bin/daydream-supervise" run --detach "${supervise_args[@]}"
)

up_from_tree || fail "up from a tree of its own"
said=$(DAYDREAM_HOME=$work/third "$tree/compose/clean" 2>&1) && fail "clean of another home took the programs of $DAYDREAM_HOME"
[[ $said == *"$DAYDREAM_HOME"* ]] || fail "clean does not say who runs from build/: $said"
[ -x "$tree/build/$DAYDREAM_PRESET/bin/daydream-api" ] || fail "clean of another home removed the programs that run"
ready || fail "clean of another home stopped this one"
rm "$tree/build/$DAYDREAM_PRESET/bin/daydream-supervise"
"$tree/compose/clean" || fail "clean of a running home"
nobody_in "$DAYDREAM_HOME"
[ ! -e "$DAYDREAM_HOME" ] || fail "clean left $(find "$DAYDREAM_HOME")"
[ ! -e "$tree/build" ] || fail "clean left the build"
echo "a running home is stopped before it is cleaned away"
