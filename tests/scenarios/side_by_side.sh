#!/usr/bin/env bash
# Two builds of the consumers side by side: side_by_side.sh OLD_REVISION [ORDERS]. The consumers of an older revision,
# built beside, share the groups of a shop of today while orders come in; then the old ones leave. Nothing may be lost:
# every order placed ends, nothing is parked, and what the read model counts is what the log says over all majors. Then
# again with EMIT_PINNED, where the old build must not even notice. By hand: it builds another revision. Writers and
# readers are killed meanwhile.
set -euo pipefail
cd "$(dirname "$0")/../.."
old=${1:?OLD_REVISION} orders=${2:-60}
work=$(mktemp -d)
export DAYDREAM_HOME=$work/home DAYDREAM_PRESET=${DAYDREAM_PRESET:-dev} RATE_LIMIT=off LEASE_MS=1000
unset REDIS_URL DATABASE_URL
PORT=$(. compose/lib.sh && free_port)
export PORT
pids=()
leave() {
    [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true
    compose/down >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap leave EXIT
fail() { echo "FAILED: $*"; tail -n 5 "$work"/*.log; exit 1; }

mkdir "$work/old"
git archive "$old" | tar -x -C "$work/old"
cmake -S "$work/old" -B "$work/old/build" >"$work/build.log" 2>&1
cmake --build "$work/old/build" --target daydream-consumers -j2 >>"$work/build.log" 2>&1 || fail "the old revision does not build"

url=http://127.0.0.1:$PORT/api/v1 json='Content-Type: application/json'
sql() { compose/psql -Atc "$1"; }
until_sql() { # until_sql SECONDS VALUE QUERY
    local deadline=$((SECONDS + $1))
    until [ "$(sql "$3")" = "$2" ]; do
        [ $SECONDS -lt $deadline ] || fail "$3 is $(sql "$3"), not $2"
        sleep 0.1
    done
}

start_old() { # start_old N: N processes of the old build in the same home
    local i
    for ((i = 0; i < $1; i++)); do
        "$work/old/build/bin/daydream-consumers" >>"$work/old.log" 2>&1 & # addresses and secrets are in the home
        pids+=($!)
    done
    until_sql 20 t "SELECT count(*) >= 2 + 2 * $1 FROM member WHERE grp = 'reports' AND until > now()"
}
stop_old() {
    kill "${pids[@]}"
    wait "${pids[@]}" 2>/dev/null || true
    pids=()
}

product() {
    compose/ctl import "$work/products.json" --currency CLP >/dev/null
    sql "SELECT id FROM product WHERE sku = 'C-1'"
}
place() { # place N PRODUCT: N orders, each with a key of its own, one after the other
    local i
    for ((i = 0; i < $1; i++)); do
        curl -sf "$url/orders" -H "$auth" -H "$json" -H "Idempotency-Key: $RANDOM-$RANDOM-$i" -o /dev/null -d \
            '{"items":[{"product_id":"'"$2"'","quantity":2}],"shipping_address":{"street":"a","city":"b","postal_code":"1","country":"CL"},"payment_method":"test","payment_token":"tok_ok"}'
    done
}

# Over all majors: lines stand under the same names in v1 and v2.
in_log="SELECT coalesce(sum((l->>'line_total')::bigint), 0) FROM event_log e, json_array_elements(e.data::json->'lines') l
    WHERE e.type LIKE 'order.placed.v%' AND partitionkey IN (SELECT partitionkey FROM event_log WHERE type = 'order.confirmed.v1')"
check() { # check WORDS ORDERS: all have ended, and nothing is lost
    until_sql 120 "$2" "SELECT count(*) FROM orders WHERE status = 'confirmed'"
    until_sql 60 0 "SELECT count(*) FROM report_line"
    until_sql 60 "$(sql "$in_log")" "SELECT sum(revenue) FROM product_sales"
    [ "$(sql "SELECT count(*) FROM dead_letter")" = 0 ] || fail "something is parked"
    [ "$(sql "SELECT count(DISTINCT partitionkey) FROM event_log WHERE type LIKE 'order.placed.v%'")" = "$2" ] || fail "orders"
    compose/ctl bus fsck | tail -n 1
    echo "$1: $2 orders, revenue $(sql "SELECT sum(revenue) FROM product_sales") in the read model and in the log;" \
        "$(sql "SELECT string_agg(n || ' ' || type, ', ') FROM (SELECT type, count(*) n FROM event_log WHERE type LIKE 'order.placed.v%' GROUP BY 1 ORDER BY 1) x");" \
        "old members that stood down so far: $(grep -c 'too old for its group' "$work/old.log" || true)"
}

cat >"$work/products.json" <<'END'
{"products": [{"title": "Chair", "sku": "C-1", "price": 1990, "stock": 100000, "category": "chairs"}]}
END
compose/up --detach
curl -sf "$url/auth/register" -H "$json" -o /dev/null -d '{"email":"ana@example.com","password":"Secr3t-pass","name":"Ana"}'
until token=$(curl -sf "$url/auth/login" -H "$json" -d '{"email":"ana@example.com","password":"Secr3t-pass"}'); do sleep 0.1; done
auth="Authorization: Bearer $(sed 's/.*"access_token":"\([^"]*\)".*/\1/' <<<"$token")"
chair=$(product)
[ -n "$chair" ] || fail "no product"

# Members of both groups mostly own the same partitions, so that an old reader meets only what an old writer wrote: the
# new ones are killed until shares are mixed and an old reader has met v2.
start_old 2
placed=0
for ((round = 0; round < 10; round++)); do
    place "$orders" "$chair"
    placed=$((placed + orders))
    ! grep -q 'too old for its group' "$work/old.log" || break
    kill -9 "$(cat "$DAYDREAM_HOME/run/consumers.pid" 2>/dev/null)" 2>/dev/null || true # none: it is being started again
done
check "side by side" $placed
[ "$(sql "SELECT count(DISTINCT type) FROM event_log WHERE type LIKE 'order.placed.v%'")" = 2 ] || fail "only one major was written"
grep -q 'too old for its group' "$work/old.log" || fail "no old member met v2"
stop_old
place "$orders" "$chair"
check "the new build alone" $((placed += orders))

stood_down=$(grep -c 'too old for its group' "$work/old.log")
newest=$(sql "SELECT count(*) FROM event_log WHERE type = 'order.placed.v2'")
until_sql 60 t "SELECT bool_and(o.seq = h.seq) FROM consumer_offset o JOIN stream_head h USING (topic, part)"
compose/down >/dev/null
EMIT_PINNED=order.placed.v1 compose/up --detach
start_old 2
place "$orders" "$chair"
check "side by side, pinned to v1" $((placed += orders))
[ "$(sql "SELECT count(*) FROM event_log WHERE type = 'order.placed.v2'")" = "$newest" ] || fail "v2 was written in spite of the pin"
[ "$(grep -c 'too old for its group' "$work/old.log")" = "$stood_down" ] || fail "an old member stood down in spite of the pin"
echo "nothing was lost"
