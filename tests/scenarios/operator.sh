#!/usr/bin/env bash
# A game day: what goes wrong in a shop's life, one thing after the other in one home, each solved with the verbs that
# docs/operating.md names and nothing else, while customers buy. At the end the log is checked whole, and the read model
# must be, hash for hash, what the log says. Uses the programs of DAYDREAM_PRESET (default dev): only test builds can
# be given a message that they do not digest, and the wrong deploy is built with that preset's own commands.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
export DAYDREAM_HOME=$work/home DAYDREAM_PRESET=${DAYDREAM_PRESET:-dev} RATE_LIMIT=off LEASE_MS=1000
export FAULT_POISON=$work/poison
unset REDIS_URL DATABASE_URL CONSUMER_GROUPS
PORT=$(. compose/lib.sh && free_port)
export PORT
wrong= # the process of the wrong deploy, while there is one
leave() {
    [ -z "$wrong" ] || kill "$wrong" 2>/dev/null || true
    compose/down >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap leave EXIT

# --- what the steps are said with ------------------------------------------------------------------------------------

fail() {
    echo "FAILED: $*"
    [ ! -s "$work/said" ] || { echo "the last verb said:"; cat "$work/said"; }
    tail -n 5 "$DAYDREAM_HOME"/log/*.log
    exit 1
}
ok() { echo "ok $*"; }
until_within() { # until_within SECONDS command…: a deadline instead of a sleep
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || fail "not within its time: $*"
        sleep 0.05
    done
}
ctl() { # ctl STATUS VERB…: must end so; what it said is in $work/said
    local wanted=$1 status=0
    shift
    compose/ctl "$@" >"$work/said" 2>&1 || status=$?
    [ $status = "$wanted" ] || fail "$* ended with $status, not $wanted"
}
said() { grep -qE -- "$1" "$work/said" || fail "nothing was said of: $1"; }
level() { compose/ctl bus lag | awk 'NR > 1 && ($5 != 0 || $7 != 0) {exit 1}'; } # no events behind, no commands waiting
clean() { ctl 0 bus fsck && said '^0 findings'; }

url=http://127.0.0.1:$PORT/api/v1
# http STATUS TOKEN PATH [curl's…]: the answer is in $work/body; 1 when the status is another one.
http() {
    local got
    got=$(curl -s -o "$work/body" -w '%{http_code}' -H 'Content-Type: application/json' -H "Authorization: Bearer $2" \
        "$url$3" "${@:4}") || true
    [ "$got" = "$1" ] || return 1
}
must() { http "$@" || fail "$3 was not answered with $1: $(cat "$work/body" 2>/dev/null)"; }
field() { sed -n 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p' "$work/body"; }
log_in() { # log_in EMAIL PASSWORD: the token
    until_within 20 http 200 '' /auth/login -d '{"email":"'"$1"'","password":"'"$2"'"}'
    field access_token
}

keys=0
confirmed() { http 200 "$1" "/orders/$2" && grep -q '"status":"confirmed"' "$work/body"; }
# buy TOKEN PRODUCT: an order of two, repeated under its key until it has a result, as clients do; its id is in $order.
buy() {
    keys=$((keys + 1))
    until_within 60 http 201 "$1" /orders -H "Idempotency-Key: operator-$keys" -H 'Prefer: wait=5' \
        -d '{"items":[{"product_id":"'"$2"'","quantity":2}],
        "shipping_address":{"street":"Alameda 1","city":"Santiago","postal_code":"8320000","country":"CL"},
        "payment_method":"test","payment_token":"tok_ok"}'
    order=$(field id)
}
buy_and_get() { buy "$@" && until_within 60 confirmed "$1" "$order"; }

restart() { # restart [NAME=VALUE…]: with these settings beside the home's
    compose/down >/dev/null 2>&1 || fail "down"
    env "$@" compose/up --detach >"$work/said" 2>&1 || fail "up with the settings '$*'"
}
units() { # units sold of $cup, as the shop says
    must 200 "$boss" "/sales/stats"
    grep -o "\"product_id\":\"$cup\"[^}]*" "$work/body" | sed -n 's/.*"units":\([0-9]*\).*/\1/p'
}
sold() { [ "$(units)" = "$1" ]; }
effects() { # what the provider has, what we know of it (hashed), and all that was ever emitted or asked of outside
    compose/psql -Atc "SELECT count(*) || ' charges of ' || sum(amount), (SELECT md5(string_agg(format('%s %s %s %s', order_id, status,
        amount, reference), ',' ORDER BY order_id)) FROM payment), (SELECT count(*) FROM event_log), (SELECT count(*) FROM job)
        FROM payment_test_charge WHERE state = 'captured'"
}

# --- 1. a shop that works --------------------------------------------------------------------------------------------

open_shop() {
    compose/up --detach >"$work/said" 2>&1 || fail "up"
    local name
    for name in ana luis; do
        must 201 '' /auth/register -d '{"email":"'$name'@example.com","password":"Secr3t-pass","name":"'$name'"}' -H 'Prefer: wait=5'
    done
    ana=$(log_in ana@example.com Secr3t-pass) luis=$(log_in luis@example.com Secr3t-pass)
    boss=$(log_in "$(sed -n 's/^SUPERUSER_EMAIL=//p' "$DAYDREAM_HOME/env")" "$(sed -n 's/^SUPERUSER_PASSWORD=//p' "$DAYDREAM_HOME/env")")
    ctl 0 import ../shared/data/dummyjson-products.json --currency USD
    said '194 accepted, 0 refused'
    must 200 '' '/products?category=smartphones&sort=price_asc&in_stock=true&limit=1'
    cup=$(sed 's/{"data":\[{"id":"\([^"]*\)".*/\1/' "$work/body")
    for _ in 1 2 3; do buy_and_get "$ana" "$cup"; done
    until_within 20 sold 6
    clean
    ok "a shop of 194 products, 3 orders are confirmed, fsck is clean"
}

# --- 2. a message that its handler cannot digest ---------------------------------------------------------------------

state_of() { http "$1" "$ana" "/commands/$command" && [ "$(field status)" = "$2" ]; }
poison_message() {
    must 200 "$ana" /auth/me
    local cart
    cart=$(field id)
    echo "$cart bad" >"$FAULT_POISON"
    must 202 "$ana" /cart/items -d '{"product_id":"'"$cup"'","quantity":1}'
    command=$(field command_id)
    until_within 20 state_of 202 parked
    ctl 0 bus dlq ls
    said "^cart +carts +$cart +1 +1 +poison .*cart.add-item.v1"
    ctl 0 bus dlq show cart carts "$cart"
    said "$command"
    buy_and_get "$luis" "$cup"
    ctl 1 bus dlq retry cart carts "$cart"
    said '0 handled, 1 stay'
    : >"$FAULT_POISON"
    ctl 0 bus dlq retry cart carts "$cart" --actor game-day --why 'the handler is mended'
    said '1 handled'
    until_within 20 state_of 200 succeeded
    clean
    ok "a poison message: its client saw it parked, others bought; retried after the fix it succeeded"
}

# --- 3. a group that lags --------------------------------------------------------------------------------------------

all_but_reports() { compose/ctl bus lag | awk 'NR > 1 && $2 != "reports" {print $2}' | sort -u | paste -sd,; }
lagging_group() {
    restart CONSUMER_GROUPS="$(all_but_reports)"
    for _ in 1 2 3; do buy_and_get "$luis" "$cup"; done
    ctl 0 bus lag
    awk '$2 == "reports" {behind += $5} END {exit behind < 3}' "$work/said" || fail "bus lag does not show that reports lags"
    ctl 0 bus top --once
    said '^lag [1-9][0-9]* events'
    sold 8 || fail "somebody counted $(units) units though reports stood still"
    restart
    until_within 30 level
    until_within 20 sold 14
    clean
    ok "a lagging group: bus lag and top name it, orders went on, started again it is level"
}

# --- 4. a Redis that lost its data -----------------------------------------------------------------------------------

remade() { curl -s "${url%/api/v1}/metrics" >"$work/said" && grep -qE '^(daydream_)?relay_rebuilt_total(\{.*\})? [1-9]' "$work/said"; }
lost_redis() {
    (for _ in 1 2 3 4 5 6; do buy "$luis" "$cup"; done) &
    local buyer=$! events word
    events=$(compose/psql -Atc 'SELECT count(*) FROM event_log')
    more_events() { [ "$(compose/psql -Atc 'SELECT count(*) FROM event_log')" -gt $((events + 5)) ]; }
    until_within 30 more_events
    compose/redis-cli FLUSHALL >/dev/null
    wait $buyer || fail "a customer could not buy after FLUSHALL"
    compose/redis-cli --scan --pattern 'evt:{orders.*' | head -n 3 | while read -r stream; do compose/redis-cli DEL "$stream"; done >/dev/null
    keys=$((keys + 6))
    buy_and_get "$ana" "$cup"
    until_within 60 level
    until_within 30 sold 28
    until_within 30 remade
    ctl 0 bus fsck --full
    said '^0 findings'
    ctl 0 bus show "$order"
    for word in order.placed order.stock-held order.payment-captured order.confirmed; do said "$word"; done
    ok "a Redis that lost its data: FLUSHALL and DEL under way, 7 orders all the same, streams are equal to the log"
}

# --- 5. a wrong deploy -----------------------------------------------------------------------------------------------

# The consumers with a read model that counts lines, not units, made of this tree's own objects.
build_wrong() {
    local build=$PWD/build/$DAYDREAM_PRESET object=CMakeFiles/consumers_core.dir/consumers/reports.c.o
    mkdir -p "$work/wrong/consumers"
    sed 's/sales->units += line->quantity;/sales->units++;/' consumers/reports.c >"$work/wrong/consumers/reports.c"
    ! cmp -s consumers/reports.c "$work/wrong/consumers/reports.c" || fail "consumers/reports.c has no such line any more"
    (cd "$build" # an object that is named before the archive is linked in the place of the archive's
     compile=$(ninja -t commands $object | tail -n 1) link=$(ninja -t commands bin/daydream-consumers | tail -n 1)
     compile=${compile//"$OLDPWD/consumers/reports.c"/"$work/wrong/consumers/reports.c"}
     eval "${compile//$object/"$work/wrong/reports.o"}"
     eval "${link/-o bin\/daydream-consumers/"$work/wrong/reports.o -o $work/wrong/daydream-consumers"}") ||
        fail "the wrong consumers do not build"
}
wrong_deploy() {
    build_wrong
    restart CONSUMER_GROUPS="$(all_but_reports)"
    CONSUMER_GROUPS=reports "$work/wrong/daydream-consumers" >"$work/wrong.log" 2>&1 &
    wrong=$!
    for _ in 1 2 3; do buy_and_get "$ana" "$cup"; done
    until_within 30 level
    sold 31 || fail "the wrong deploy counted $(units), not one per line"
    kill $wrong
    wait $wrong || true
    wrong=
    restart # the mended handler is deployed
    ctl 1 bus rebuild reports --verify
    said '^product_sales +DIFFERS'
    said '^report_line +same'
    ask_all_the_while &
    local asker=$!
    ctl 0 bus rebuild reports
    touch "$work/rebuilt"
    wait $asker || fail "the statistics were not served during the rebuild: $(cat "$work/asked")"
    sold 34 || fail "rebuilt, the shop says $(units) units"
    buy_and_get "$ana" "$cup"
    until_within 20 sold 36
    ctl 0 bus rebuild reports --verify
    ! grep -q DIFFERS "$work/said" || fail "live and rebuilt differ"
    clean
    ok "a wrong deploy: --verify names product_sales, rebuilt under readers ($(cat "$work/asked") asked), hashes are equal"
}
ask_all_the_while() { # every answer must be there, and be the wrong number or the right one
    local n=0 answer
    until [ $n -gt 0 ] && [ -e "$work/rebuilt" ]; do
        answer=$(curl -sf -H "Authorization: Bearer $boss" "$url/sales/stats" | grep -o "\"product_id\":\"$cup\"[^}]*" |
            sed -n 's/.*"units":\([0-9]*\).*/\1/p')
        n=$((n + 1))
        echo "$n" >"$work/asked"
        [[ $answer = 31 || $answer = 34 ]] || { echo "answer $n was '$answer'" >"$work/asked"; return 1; }
    done
}

# --- 6. a day again --------------------------------------------------------------------------------------------------

replay_day() {
    local day before after
    day=$(compose/psql -Atc "SELECT to_char(to_timestamp(min(ms) / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD') FROM event_log")
    until_within 20 level
    before=$(effects)
    compose/psql -qc "UPDATE payment SET reference = 'nonsense'" # as a handler would that misread the provider's answers
    ctl 1 bus fsck
    said 'I10 charges'
    ctl 1 bus replay reports --from "$day"
    said 'bus rebuild reports'
    ctl 1 bus replay payments --from "$day"
    said 'allow-effects'
    ctl 0 bus replay payments --from "$day" --dry-run --allow-effects
    said 'payment.capture-answered'
    ctl 0 bus replay payments --from "$day" --allow-effects
    until_within 30 level
    after=$(effects)
    [ "$before" = "$after" ] || fail "effects were $before, and are $after after the replay"
    clean
    ok "a day again: reports refused with its way out, payments mended by a replay, still ${after%%|*} cents"
}

open_shop
poison_message
lagging_group
lost_redis
wrong_deploy
replay_day
ctl 0 bus fsck --full
said '^0 findings'
findings=$(tail -n 1 "$work/said")
ctl 0 bus rebuild reports --verify
hashes=$(sed -n 's/^product_sales *//p' "$work/said")
! grep -F WARNING "$DAYDREAM_HOME/log/postgres.log" >"$work/said" || fail "PostgreSQL warned of a statement"
ok "the end: fsck --full says $findings; sales are the $hashes"
