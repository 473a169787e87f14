# Sourced by the scripts beside it. Where things are, and how a home is made.
#
# A home (DAYDREAM_HOME, default var/ of this tree) holds all state of one running shop:
#   env               KEY=VALUE, secrets and addresses, mode 600; lines of others in it stay
#   redis/            url (only if this home runs its own Redis), redis.conf, the append-only file
#   postgres/         url (only if it runs its own PostgreSQL), data/
#   log/ run/         a log and a pid file per process
# It may exist before and hold other files: nothing here touches what it did not make.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
preset=${DAYDREAM_PRESET:-release}
bin=$root/build/$preset/bin
home=${DAYDREAM_HOME:-$root/var}

say() { echo "compose: $*" >&2; }
die() { say "$*"; exit 1; }

# --- the environment -------------------------------------------------------------------------------------------------

# Makes the home's folders; afterwards $home and DAYDREAM_HOME are absolute.
home_open() {
    mkdir -p "$home"
    home=$(cd "$home" && pwd)
    export DAYDREAM_HOME=$home
    mkdir -p "$home/log" "$home/run"
}

# Quotes around a value are no part of it.
unquoted() { case $1 in \"*\" | \'*\') printf '%s\n' "${1:1:-1}" ;; *) printf '%s\n' "$1" ;; esac; }

# The value of a key in the home's env file; empty when it is not there.
env_get() { [ ! -f "$home/env" ] || unquoted "$(sed -n "/^$1=/{s///p;q}" "$home/env")"; }

# Sets a key in the home's env file; all other lines stay. A crash leaves the old or the new file, whole.
env_set() {
    [ "$(env_get "$1")" != "$2" ] || return 0
    (umask 077
     { [ ! -f "$home/env" ] || sed "/^$1=/d" "$home/env"; echo "$1=$2"; } >"$home/run/env.new")
    mv "$home/run/env.new" "$home/env"
}

# Exports what the env file says and the environment leaves open.
env_load() {
    local line key
    [ -f "$home/env" ] || return 0
    while IFS= read -r line; do
        [[ $line =~ ^[A-Z][A-Z0-9_]*= ]] || continue
        key=${line%%=*}
        [ -n "${!key+x}" ] || export "$key=$(unquoted "${line#*=}")"
    done <"$home/env"
}

# random N: N letters and digits.
random() { local s; s=$(head -c $(($1 * 4 + 64)) /dev/urandom | base64 -w 0 | tr -dc A-Za-z0-9); echo "${s:0:$1}"; }

in_production() { [ "${ENVIRONMENT:-$(env_get ENVIRONMENT)}" = production ]; }

# A secret: from the environment, from the env file, or made by "$@" (never in production) and kept.
secret() {
    local key=$1 value
    shift
    value=${!key:-$(env_get "$key")}
    if [ -z "$value" ]; then
        ! in_production || die "$key must be given when ENVIRONMENT=production"
        value=$("$@")
    fi
    env_set "$key" "$value"
}

# --- own servers -----------------------------------------------------------------------------------------------------

# A loopback port nobody listens on, below the range the kernel gives to outgoing connections.
free_port() {
    local port
    while port=$((15000 + (RANDOM * 32768 + RANDOM) % 17000)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# server_url KEY FOLDER make…: settles the address. Given from outside, it is kept in env and we start nothing; else it
# is made once, together with the mark FOLDER/url that says the server is ours.
server_url() {
    local key=$1 mark=$home/$2/url value
    shift 2
    value=${!key:-$(env_get "$key")}
    if [ -z "$value" ]; then
        mkdir -p "${mark%/url}"
        [ -s "$mark" ] || (umask 077 && "$@" >"$mark.new" && mv "$mark.new" "$mark")
        value=$(cat "$mark")
    fi
    env_set "$key" "$value"
    export "$key=$value"
}
make_redis_url() {
    [ ! -e "$home/redis/redis.conf" ] || die "$home/redis is somebody else's: give another DAYDREAM_HOME"
    echo "redis://127.0.0.1:$(free_port)/0"
}
make_postgres_url() {
    [ ! -e "$home/postgres/data" ] || die "$home/postgres is somebody else's: give another DAYDREAM_HOME"
    echo "postgresql://daydream:$(random 24)@127.0.0.1:$(free_port)/daydream"
}

# True when the address in use is the one of the server this home runs itself; that of Redis with or without its password.
address_of() { local rest=${1#*://}; echo "${rest##*@}"; }
own_redis() {
    [ -f "$home/redis/url" ] && [ "$(address_of "$(cat "$home/redis/url")")" = "$(address_of "${REDIS_URL:-}")" ]
}
own_postgres() { [ -f "$home/postgres/url" ] && [ "$(cat "$home/postgres/url")" = "${DATABASE_URL:-}" ]; }
port_of() { local rest=${1##*@}; rest=${rest##*//}; rest=${rest#*:}; echo "${rest%%/*}"; }

# An acknowledged command must be on disk: every write is synced before the reply, and nothing is ever evicted.
write_redis_conf() {
    cat >"$home/redis/redis.conf" <<END
# Written by compose/up at every start.
bind 127.0.0.1
port $(port_of "$REDIS_URL")
unixsocket redis.sock
unixsocketperm 700
dir .
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
auto-aof-rewrite-min-size 128mb
aof-load-truncated yes
maxmemory-policy noeviction
save ""
aclfile users.acl
END
}

# In production Redis has to ask who speaks. From the first such start on this home's own one has a password, which
# redis/url carries and env repeats; while it runs, it has what it has.
guard_redis() {
    local url new=$home/redis/url.new
    url=$(cat "$home/redis/url")
    if in_production && [[ $url != *@* ]] && home_runs; then
        say "$home runs without a password for its Redis: compose/down, and up again, for production"
    elif in_production && [[ $url != *@* ]]; then
        url="redis://:$(random 48)@${url#redis://}"
        (umask 077 && echo "$url" >"$new" && mv "$new" "$home/redis/url")
    fi
    env_set REDIS_URL "$url"
    export REDIS_URL=$url
}

# Who may use Redis: the default user, by the password in REDIS_URL if it has one, and whom somebody granted access
# (docs/subscribing.md). Redis writes this file too.
write_users() {
    local users=$home/redis/users.acl hash
    [ -e "$users" ] || (umask 077 && : >"$users")
    [[ $REDIS_URL == redis://:*@* ]] && ! home_runs || return 0
    hash=${REDIS_URL#redis://:}
    hash=$(printf %s "${hash%@*}" | sha256sum | cut -d ' ' -f 1)
    ! grep -q "^user default on .*#$hash " "$users" || return 0
    (umask 077
     { grep -v '^user default ' "$users" || true; echo "user default on #$hash ~* &* +@all"; } >"$users.new")
    mv "$users.new" "$users"
}

# PostgreSQL refuses root: then its files belong to, and it runs as, the user postgres.
as_postgres() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
    else
        "$@"
    fi
}

find_postgres() {
    local wanted='*'
    [ ! -f "$home/postgres/data/PG_VERSION" ] || wanted=$(cat "$home/postgres/data/PG_VERSION")
    DAYDREAM_PGBIN=$(find /usr/lib/postgresql -path "*/$wanted/bin/postgres" 2>/dev/null | sort -V | tail -n 1)
    [ -n "$DAYDREAM_PGBIN" ] || die "no PostgreSQL $wanted below /usr/lib/postgresql: compose/install brings 15"
    export DAYDREAM_PGBIN=${DAYDREAM_PGBIN%/postgres}
}

# Makes the cluster in a folder beside and renames it: data/ is whole or absent. The user postgres may not be allowed to
# walk down to the home, hence the folder is handed over as an open descriptor.
make_cluster() {
    local new=$home/postgres/data.new password=${DATABASE_URL#*:*:}
    [ ! -e "$home/postgres/data" ] || return 0
    say "making the database cluster"
    rm -rf "$new"
    mkdir -m 700 "$new"
    [ "$(id -u)" != 0 ] || chown postgres:postgres "$new"
    (exec 7<"$new"
     cd /
     as_postgres "$DAYDREAM_PGBIN/initdb" -D /proc/self/fd/7 -U daydream --auth=trust --encoding=UTF8 \
         --locale=C.UTF-8 --lc-collate=C >"$home/log/initdb.log" 2>&1 || die "initdb failed: $(cat "$home/log/initdb.log")"
     printf '%s\n' "CREATE DATABASE daydream" "ALTER ROLE daydream PASSWORD '${password%%@*}'" |
         as_postgres "$DAYDREAM_PGBIN/postgres" --single -D /proc/self/fd/7 postgres >>"$home/log/initdb.log" 2>&1
     cd "$new"
     printf '%s\n' "local all all scram-sha-256" "host all all 127.0.0.1/32 scram-sha-256" >pg_hba.conf
     cat >>postgresql.conf <<END

# --- DaydreamShop ---
listen_addresses = '127.0.0.1'
port = $(port_of "$DATABASE_URL")
unix_socket_directories = '.'
unix_socket_permissions = 0700
max_connections = 200
shared_buffers = 32MB         # new pages are written soon: docs/decisions/0021
max_wal_size = 256MB          # a crash recovers in seconds
checkpoint_timeout = 1min
wal_compression = lz4         # pages written whole after each of those checkpoints
backend_flush_after = 256kB   # written out as it goes: nothing piles up that a checkpoint would have to wait for
bgwriter_delay = 50ms
bgwriter_lru_maxpages = 1000
bgwriter_lru_multiplier = 4
bgwriter_flush_after = 256kB
random_page_cost = 1.1
jit = off                     # short statements only
timezone = 'UTC'
log_timezone = 'UTC'
cluster_name = 'daydream'
END
    )
    mv -T "$new" "$home/postgres/data"
}

# Everything compose/up needs before it can start: secrets, addresses, the cluster. Safe to repeat, and to be killed.
# Sets $supervise_args.
home_prepare() {
    exec 8>"$home/run/prepare.lock"
    flock 8
    [ ! -f "$home/env" ] || chmod 600 "$home/env"
    secret JWT_SECRET_KEY random 48
    secret ENCRYPTION_KEY sh -c 'head -c 32 /dev/urandom | base64 -w 0'
    secret SUPERUSER_EMAIL echo admin@example.com
    secret SUPERUSER_PASSWORD eval 'echo "Aa1-$(random 20)"'
    server_url REDIS_URL redis make_redis_url
    server_url DATABASE_URL postgres make_postgres_url
    env_load
    supervise_args=()
    if own_redis; then
        guard_redis
        write_redis_conf
        write_users
        supervise_args+=(--redis "$(port_of "$REDIS_URL")")
    fi
    if own_postgres; then
        find_postgres
        make_cluster
        supervise_args+=(--postgres)
    fi
    exec 8>&-
}

# --- what runs -------------------------------------------------------------------------------------------------------

# The supervisor's program, which alone can stop a home: made when a build was cleaned away, or of another preset.
need_supervisor() { [ -x "$bin/daydream-supervise" ] || TARGET=daydream-supervise "$root/compose/build" "$preset"; }

# programs_of DAYDREAM_HOME HOME, programs_of exe FOLDER: our programs that work in that home, or are of that folder, a
# line each.
programs_of() {
    local process exe of
    for process in /proc/[0-9]*; do
        exe=$(readlink "$process/exe" 2>/dev/null) || continue
        [[ $exe == */daydream* ]] || continue
        of=$(tr '\0' '\n' <"$process/environ" 2>/dev/null | sed -n 's/^DAYDREAM_HOME=//p') || continue
        case $1 in
        exe) [[ $exe == "$2"/* ]] || continue ;;
        *) [ "$of" = "$2" ] || continue ;;
        esac
        echo "  ${process#/proc/} $exe (home ${of:-not given})"
    done
}

# Does a supervisor work in this home?
home_runs() { [[ $(programs_of DAYDREAM_HOME "$home") == */daydream-supervise* ]]; }

# Removes what home_prepare and the processes have made, and nothing else. The home must be down.
home_clean() (
    cd "$home"
    if [ -f redis/url ]; then
        rm -rf redis/{url,url.new,redis.conf,users.acl,users.acl.new,redis.sock,appendonlydir,dump.rdb}
    fi
    if [ -f postgres/url ]; then
        rm -rf postgres/{data,data.new,url,url.new}
    fi
    for name in postgres redis migrate consumers producers api superuser seed announce supervise; do
        rm -f "log/$name.log" "run/$name.pid"
    done
    rm -f run/metrics/daydream-*
    rm -f archive/*.[0-9][0-9]*/*-*.jsonl.zst{,.tmp}
    rm -f run/{api,consumers,producers}-*.lock log/initdb.log run/{supervise.lock,prepare.lock,address,up,env.new}
    if [ -f env ]; then
        sed -i -E '/^(JWT_SECRET_KEY|ENCRYPTION_KEY|SUPERUSER_EMAIL|SUPERUSER_PASSWORD|REDIS_URL|DATABASE_URL)=/d' env
        [ -s env ] || rm env
    fi
    for folder in run/metrics archive/*.[0-9][0-9]* archive log run redis postgres; do
        [ ! -d $folder ] || rmdir --ignore-fail-on-non-empty $folder
    done
)
