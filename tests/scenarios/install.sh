#!/usr/bin/env bash
# compose/install without a network and without packages: dpkg-query and apt-get are stand-ins, and what it writes lies
# below a folder of the test (INSTALL_BELOW). Two at once, one that is killed in the middle, locks of others: each time
# everything is installed once, servers are kept from starting meanwhile, and afterwards policy-rc.d is what it was.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
export WORK=$work INSTALL_BELOW=$work/root PATH=$work/bin:$PATH
policy=$INSTALL_BELOW/usr/sbin/policy-rc.d
own=$'#!/bin/sh\n# the administrator\'s own\nexit 0'
pids=()
leave() {
    touch "$work/go" # a stand-in that waits for it ends by itself
    [ ${#pids[@]} = 0 ] || wait "${pids[@]}" 2>/dev/null || true
    rm -rf "$work"
}
trap leave EXIT
fail() { echo "FAILED: $*"; cat "$work"/*.said 2>/dev/null; exit 1; }

until_within() { # SECONDS command…
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || fail "not within its time: $*"
        sleep 0.02
    done
}

mkdir -p "$work"/{bin,installed} "$INSTALL_BELOW"/usr/{sbin,share/llhttp,share/include/llhttp}
touch "$INSTALL_BELOW"/usr/share/llhttp/{llhttp,api,http}.c "$INSTALL_BELOW/usr/share/include/llhttp/llhttp.h"
cat >"$work/bin/id" <<'END'
#!/bin/sh
echo 0
END
cat >"$work/bin/dpkg-query" <<'END'
#!/bin/bash
[ ! -e "$WORK/installed/${*: -1}" ] || printf installed
END
# Refuses as often as there are lines in "busy"; "install" stays in the middle until there is "go".
cat >"$work/bin/apt-get" <<'END'
#!/bin/bash
echo "$*" >>"$WORK/asked"
if [ -s "$WORK/busy" ]; then
    sed -i 1d "$WORK/busy"
    echo 'E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt-get)'
    exit 100
fi
[[ " $* " == *' install '* ]] || exit 0
mkdir "$WORK/in-apt" || echo 'two at once' >>"$WORK/wrong"
grep -qx 'exit 101' "$INSTALL_BELOW/usr/sbin/policy-rc.d" && [ -x "$INSTALL_BELOW/usr/sbin/policy-rc.d" ] ||
    echo 'servers may start' >>"$WORK/wrong"
until [ -e "$WORK/go" ]; do sleep 0.02; done
for package in "${@:2}"; do [[ $package == -* ]] || touch "$WORK/installed/$package"; done
rmdir "$WORK/in-apt" 2>/dev/null || true
END
chmod 755 "$work"/bin/*

anew() { rm -rf "$work"/{installed,go,wrong,asked,busy,in-apt} "$work"/*.said; mkdir "$work/installed"; }
start() { compose/install >"$work/$1.said" 2>&1 & pids+=($!); }
in_apt() { [ -d "$work/in-apt" ]; }
# The second one has come to where it waits for the first, or, which is wrong, to apt-get.
met() { [ "$(grep -c ' install ' "$work/asked")" -gt 1 ] || grep -q 'waiting' "$work/second.said"; }
nothing_wrong() { [ ! -e "$work/wrong" ] || fail "$1: $(cat "$work/wrong")"; }

start first
until_within 10 in_apt
start second
until_within 10 met
touch "$work/go"
wait "${pids[0]}" || fail "the first of two"
wait "${pids[1]}" || fail "the second of two"
pids=()
[ ! -e "$policy" ] || fail "two at once left policy-rc.d: $(cat "$policy")"
nothing_wrong "two at once"
[ "$(grep -c ' install ' "$work/asked")" = 1 ] || fail "two at once installed twice"
[ -z "$(find "$INSTALL_BELOW" -name '*daydream*' ! -name '*.lock')" ] || fail "left: $(find "$INSTALL_BELOW" -name '*daydream*')"
compose/install || fail "again, when all is there"
echo "two at once install once"

for before in none own; do
    anew
    [ $before = none ] || { echo "$own" >"$policy" && chmod 700 "$policy"; }
    start killed
    until_within 10 in_apt
    kill -9 "${pids[0]}"
    wait "${pids[0]}" 2>/dev/null || true
    pids=()
    touch "$work/go"
    compose/install >"$work/later.said" 2>&1 || fail "after one that was killed ($before)"
    nothing_wrong "after one that was killed ($before)"
    if [ $before = none ]; then
        [ ! -e "$policy" ] || fail "one that was killed left policy-rc.d: $(cat "$policy")"
    else
        [ "$(cat "$policy")" = "$own" ] && [ "$(stat -c %a "$policy")" = 700 ] || fail "the administrator's policy-rc.d is lost"
    fi
done
[ -z "$(find "$INSTALL_BELOW" -name '*daydream*' ! -name '*.lock')" ] || fail "left: $(find "$INSTALL_BELOW" -name '*daydream*')"
echo "one that was killed leaves nothing for good"

anew
touch "$work/go"
printf '1\n2\n' >"$work/busy"
compose/install >"$work/busy.said" 2>&1 || fail "while others have apt's lock"
grep -q 'DPkg::Lock::Timeout=[1-9].* install ' "$work/asked" || fail "dpkg's lock is not waited for: $(cat "$work/asked")"
[ "$(cat "$policy")" = "$own" ] || fail "the administrator's policy-rc.d is lost"
echo "locks of others are waited for"
