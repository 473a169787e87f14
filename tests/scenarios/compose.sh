#!/usr/bin/env bash
# A stranger's day with compose/: a home with a space in its path and somebody's files in it is brought up, loses each
# of its processes and its supervisor to kill -9, comes back each time, goes down and is cleaned away.
# Uses the programs of DAYDREAM_PRESET (default dev).
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
export DAYDREAM_HOME="$work/my home" DAYDREAM_PRESET=${DAYDREAM_PRESET:-dev}
unset REDIS_URL DATABASE_URL

fail() { echo "FAILED: $*"; tail -n 5 "$DAYDREAM_HOME"/log/*.log; exit 1; }
trap 'compose/down; rm -rf "$work"' EXIT

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
for link in /proc/[0-9]*/environ; do
    if { tr "\0" "\n" <"$link"; } 2>/dev/null | grep -qxF "DAYDREAM_HOME=$DAYDREAM_HOME"; then
        pid=${link#/proc/} pid=${pid%/environ}
        case $(cat "/proc/$pid/comm") in daydream-* | redis-server | postgres) fail "process $pid is left" ;; esac
    fi
done
# shellcheck source=/dev/null
(. compose/lib.sh && home_clean)
[ "$(cd "$DAYDREAM_HOME" && find . -type f | sort | tr '\n' ' ')" = './log/notes.txt ./photo.txt ' ] ||
    fail "clean left or took too much: $(find "$DAYDREAM_HOME")"
